"""The figures of a group: which there are, what they show, and their PNG and PDF files."""

import functools
import hashlib
import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmark.drawing.figures import sample_strips
from benchmark.drawing.losses import loss_panels
from benchmark.machine import pause
from benchmark.report.charts import class_histograms, pareto
from benchmark.report.columns import HIGHER, column
from benchmark.report.frontier import frontier
from benchmark.report.groups import validation_samplers
from benchmark.report.learning import learning_curves
from benchmark.report.radar import radar
from benchmark.report.stored import NUM_SAMPLES_SHOWN, first_stored, shown_runs
from benchmark.report.sweeps import sweeps
from benchmark.stored_results import StoredRow

CAPTIONS = {
    "pareto": "Sampling time against quality. {} and to the left is better.",
    "frontier": "Steps against quality: {} by the number of network passes, of one checkpoint for "
    "each curve; lower is better.",
    "radar": "The trilemma: quality, speed and diversity, each from 0 (centre) to 1.",
    "samples": "The first samples of each model and sampler, not selected.",
    "class_histograms": "Fraction of each class among the generated and among the real images.",
    "learning": "How the models learn: {} of few samples against as many test images, by the time "
    "of training; lower is better. The samplers: {}.",
    "loss": "Losses of the training over the images seen.",
}
OF_ONE_SEED = ("samples", "class_histograms", "loss")
SWEEP = "sweep_"
KINDS = ("png", "pdf")  # for the page, and for papers
DIGEST = "Digest"  # the key in a PNG file of the digest of the numbers that it shows


def draw_group(results_dir, group, styles, histories, real_images, kinds):
    """Draws each figure of a group for which there is something to show.

    Args:
        results_dir: The results folder.
        group: The `Group`.
        styles: Result of `row_styles`.
        histories: Result of `histories_of`.
        real_images: uint8 NHWC test images to stand above the samples; `None` for those of the
            `test_images` row, if it has any.
        kinds: The kinds of files, some of `KINDS`.

    Returns:
        The bytes of the files, `<figure>.<kind>`, by name and in the page's order.
    """
    figures = {
        "pareto": pareto(group, styles=styles),
        "frontier": frontier(group),
        "radar": radar(group, styles=styles),
        "samples": _draw_samples(results_dir, group, styles, real_images),
        "class_histograms": _draw_histograms(results_dir, group, styles),
        "learning": learning_curves(histories, group, styles),
        "loss": _draw_losses(results_dir, group),
        **_draw_sweeps(results_dir, group),
    }
    digest = numbers_digest(group)
    return {
        f"{name}.{kind}": _rendered(figure, kind, digest)
        for name, figure in figures.items()
        if figure is not None
        for kind in kinds
    }


def caption(name, group):
    """What a figure shows; where it shows one seed of several, which."""
    if name.startswith(SWEEP):
        return (
            f"{column(group.headline).name} against {name.removeprefix(SWEEP)}, of runs that "
            "differ in nothing else but their seeds."
        )
    if name == "learning":
        samplers = validation_samplers(group.rows)
        return CAPTIONS[name].format(column(group.headline).name, samplers)
    if name == "frontier":
        return CAPTIONS[name].format(column(group.headline).name)
    if name == "pareto":
        return CAPTIONS[name].format("Up" if column(group.headline).better == HIGHER else "Down")
    several = [line for line in group.lines if line.num_seeds > 1]
    if name not in OF_ONE_SEED or not several:
        return CAPTIONS[name]
    seeds = {line.first["seed"] for line in several}
    which = f"seed {seeds.pop():g}" if len(seeds) == 1 else "the first seed of each"
    return f"{CAPTIONS[name]} Of {which}."


def numbers_digest(group):
    """Hash of the numbers of a group, by which a figure is known to be stale."""
    numbers = group.rows.drop(columns=["path", "notes"]).to_csv(index=False)
    return hashlib.sha256(numbers.encode()).hexdigest()[:16]


def read_digest(path):
    """The digest of the numbers that a figure was drawn from; empty if it has none."""
    with Image.open(path) as image:
        return image.info.get(DIGEST, "")


def _draw_samples(results_dir, group, styles, real_images):
    def read(row):
        return row.samples(NUM_SAMPLES_SHOWN)

    strips = _of_lines(results_dir, group, read)
    if not strips:
        return None
    if real_images is None:
        paths = group.rows.loc[group.rows["model"] == "test_images", "path"]
        real_images = next((read(StoredRow(results_dir, path)) for path in paths), None)
    if real_images is not None:
        strips = {"test images": np.asarray(real_images[:NUM_SAMPLES_SHOWN]), **strips}
    return sample_strips(
        strips, colors={label: style.model_color for label, style in styles.items()}
    )


def _draw_histograms(results_dir, group, styles):
    coverages = _of_lines(results_dir, group, lambda row: row.details("mode_coverage"))
    coverages = {label: found for label, found in coverages.items() if _has_histograms(found)}
    if not coverages:
        return None
    reference = next(iter(coverages.values()))
    real = reference["real_histogram"]
    histograms = {label: found["generated_histogram"] for label, found in coverages.items()}
    class_names = reference.get("class_names") or range(len(real))
    return class_histograms(histograms, real, class_names, styles=styles)


def _has_histograms(found):
    """Whether the details of mode coverage are what a figure can be drawn of."""
    histograms = [found.get(f"{kind}_histogram") for kind in ("real", "generated")]
    are_counts = all(
        isinstance(counts, list) and all(isinstance(count, int | float) for count in counts)
        for counts in histograms
    )
    return are_counts and len(histograms[0]) == len(histograms[1]) > 0


def _of_lines(results_dir, group, read):
    """What the files of the first seed of each line have, by the line's label."""
    found = {
        line.label: first_stored(results_dir, line, read)
        for line in group.lines
        if not line.is_check
    }
    return {label: content for label, content in found.items() if content is not None}


def _draw_losses(results_dir, group):
    histories = {title: run.history for title, (run, _) in shown_runs(results_dir, group).items()}
    histories = {
        title: history
        for title, history in histories.items()
        if history is not None and len(history)
    }
    return loss_panels(histories) if histories else None


def _draw_sweeps(results_dir, group):
    """Draws what the options that were varied do, by the figure's name."""

    @functools.cache
    def configuration_of(path):
        run = StoredRow(results_dir, path).run
        return run.config if run else None

    drawn = sweeps(group.rows, configuration_of)
    return {SWEEP + option: figure for option, figure in drawn.items()}


def _rendered(figure, kind, digest):
    pause()  # a run that measures its speed goes first
    buffer = io.BytesIO()
    metadata = {} if kind == "png" else {"CreationDate": None}
    figure.savefig(buffer, format=kind, bbox_inches="tight", pad_inches=0.08, metadata=metadata)
    return _with_palette(buffer, figure, digest) if kind == "png" else buffer.getvalue()


def _with_palette(buffer, figure, digest):
    """A PNG file of 256 colours, a third as large; of all colours where there are photographs."""
    picture = Image.open(buffer).convert("RGB")
    pictures = [image.get_array() for axes in figure.axes for image in axes.images]
    if not any(array.ndim == 3 for array in pictures):
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    text = PngInfo()
    text.add_text(DIGEST, digest)
    compressed = io.BytesIO()
    picture.save(compressed, "PNG", optimize=True, pnginfo=text)
    return compressed.getvalue()

"""The columns of the results: what each is called, how it is written, where it stands.

This is the one place that describes a column. A metric's number without an entry here stands under
its key at the end of the tables, and in the CSV like all others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from benchmark.report import formats
from benchmark.report.formats import Form, rounded

LOWER, HIGHER = "lower", "higher"
_TIMED = ("latency_ms", "images_per_second", "compile_seconds", "train_seconds")  # begin so
ARROWS = {LOWER: "↓", HIGHER: "↑", "": ""}
MODELS, SEEDS, TERMINAL = "models", "seeds", "terminal"  # the tables that show a column
IDENTITY, QUALITY, SPEED, DIVERSITY, COST, OTHER = (
    "identity", "quality", "speed", "diversity", "cost", "other",
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of a row of results.

    Attributes:
        key: Its name in `metrics.json` and in the CSV.
        title: Its heading; without one, its key is.
        group: The corner of the trilemma, or what else it belongs to.
        better: `lower`, `higher`, or empty where neither is better.
        tables: The tables that show it, a text with some of `models`, `seeds`, `terminal`; the
            CSV has it in any case.
        form: Function from a number to the `Form` it is written in; `None` for texts.
        whole: Whether the numbers are whole.
        error: Key of its standard error.
        interval: Whether there are columns `<key>_low` and `<key>_high`, the ends of its 95 %
            interval.
        beside: Key of a number that it is read against, and the word between the two: in the
            heading if all rows share it, else in the cells.
        meaning: What it means.
        paper: Where its definition comes from.
    """

    key: str
    title: str = ""
    group: str = OTHER
    better: str = ""
    tables: str = ""
    form: Callable[[float], Form] | None = formats.to_digits
    whole: bool = False
    error: str = ""
    interval: bool = False
    beside: tuple[str, str] | None = None
    meaning: str = ""
    paper: str = ""

    @property
    def is_ratio(self) -> bool:
        """Whether it is compared on a logarithmic scale, as times and rates are."""
        return self.group in (SPEED, COST)

    @property
    def depends_on_machine(self) -> bool:
        """Whether its numbers compare only on one machine: times, and rates of them."""
        return self.key.startswith(_TIMED)

    @property
    def scale(self) -> float:
        """What its numbers are multiplied by where they are shown."""
        return 1.0 if self.form is None else 1 / self.form(1.0).divisor

    @property
    def heading(self) -> str:
        """Its title with an arrow to the better side."""
        return f"{self.title or self.key} {ARROWS[self.better]}".strip()

    @property
    def name(self) -> str:
        """Its title without a unit, as sentences and axes call it."""
        return (self.title or self.key).removesuffix(" ×1000").removesuffix(" %")


def text(key: str) -> Column:
    """A column of texts, which identify a row."""
    return Column(key, group=IDENTITY, form=None)


def whole(key: str, title: str = "", **others) -> Column:
    return Column(key, title, form=rounded(0), whole=True, **others)


def distance(key: str, title: str, meaning: str = "", **others) -> Column:
    """A kernel distance, written × 1000, with its standard error."""
    return Column(
        key, f"{title} ×1000", QUALITY, LOWER, form=rounded(2, 1e3),
        error=key.replace("_mean", "_se"), meaning=meaning, **others,
    )  # fmt: skip


def percentage(key: str, title: str, **others) -> Column:
    return Column(key, f"{title} %", form=rounded(1, 100), **others)


def fraction(key: str, title: str, **others) -> Column:
    return Column(key, title, form=rounded(3), **others)


ALL = f"{MODELS} {SEEDS} {TERMINAL}"
BOTH = f"{MODELS} {SEEDS}"

COLUMNS = (
    text("dataset"),
    text("model"),
    text("sampler"),
    text("checkpoint"),
    text("preset"),
    whole("seed", group=IDENTITY),
    whole("sampling_seed", group=IDENTITY),
    text("status"),
    text("headline"),
    whole("num_samples", group=IDENTITY),
    text("protocol"),
    text("kid_encoder"),
    text("classifier"),
    text("run"),
    text("overrides"),
    text("validation_sampler"),
    distance(
        "kid_digits_mean", "classifier KID", tables=BOTH, paper="Bińkowski et al. 2018",
        meaning="KID in the features of the dataset's classifier, which separate its classes where "
        "ImageNet features hardly do.",
    ),
    Column("kid_digits_se", group=QUALITY),
    Column("kid_digits_std", group=QUALITY),
    distance(
        "kid_mean", "KID", tables=ALL, paper="Bińkowski et al. 2018",
        meaning="Kernel Inception distance: unbiased squared maximum mean discrepancy with a "
        "cubic polynomial kernel, from all samples against the reference. Small negative values "
        "are valid. In trilemma.csv, kid_se is its standard error; kid_std, the spread over "
        "overlapping subsets, is not one.",
    ),
    Column("kid_se", group=QUALITY),
    Column("kid_std", group=QUALITY),
    distance(
        "kid_rbf_mean", "RBF KID", tables=BOTH, paper="after Bińkowski et al. 2018",
        meaning="KID with a Gaussian kernel, which compares more than feature means.",
    ),
    Column("kid_rbf_se", group=QUALITY),
    Column(
        "fid", "FID", QUALITY, LOWER, BOTH, rounded(2), paper="Heusel et al. 2017",
        meaning="Fréchet distance between Gaussians fitted to the features of KID. Few samples "
        "bias it upwards: compare with the row of test images.",
    ),
    Column(
        "fid_digits", "classifier FID", QUALITY, LOWER, BOTH, rounded(2),
        paper="Heusel et al. 2017", error="fid_digits_se",
        meaning="Fréchet distance in the features of the dataset's classifier, which separate its "
        "classes where ImageNet features hardly do.",
    ),
    Column("fid_digits_se", group=QUALITY),
    fraction(
        "precision", "Precision", group=QUALITY, better=HIGHER, tables=SEEDS,
        paper="Kynkäänniemi et al. 2019",
        meaning="Fraction of generated images within the real manifold, estimated by balls around "
        "real images that reach to their k-th nearest neighbours.",
    ),
    fraction(
        "density", "Density", group=QUALITY, better=HIGHER, tables=BOTH, paper="Naeem et al. 2020",
        meaning="Number of these balls that a generated image lies in, divided by k: precision "
        "that is robust to outliers. Real images score 1; more is possible.",
    ),
    percentage(
        "rejected_fraction", "Rejected", group=QUALITY, better=LOWER, tables=ALL, interval=True,
        meaning="Fraction of the samples that the classifier is not sure of: its confidence (on "
        "Stacked MNIST, the product over the three channels) is below 90 %.",
    ),
    Column("rejected_fraction_low", group=QUALITY),
    Column("rejected_fraction_high", group=QUALITY),
    percentage(
        "human_error", "Human error", group=QUALITY, better=HIGHER, tables=BOTH, interval=True,
        paper="after Zhou et al. 2019",
        meaning="Mean of two rates of mistakes of people who see one image at a time: samples "
        "taken for real, and real images taken for generated. At 50 % nobody can tell.",
    ),
    Column("human_error_low", group=QUALITY),
    Column("human_error_high", group=QUALITY),
    whole("human_answers", "Human answers", group=QUALITY),
    fraction("confident_fraction", "Recognised", group=QUALITY, better=HIGHER),
    whole(
        "network_passes", "NFE", group=SPEED, better=LOWER, tables=ALL,
        meaning="Number of network passes that one image takes (number of function evaluations). "
        "Classifier-free guidance takes two a step, which run as one batch.",
    ),
    Column(
        "latency_ms_per_pass_p50", "ms/pass", SPEED, LOWER, ALL,
        meaning="Median milliseconds of one image end to end over NFE, at batch 1: what a pass "
        "costs inside the loop.",
    ),
    Column(
        "latency_ms_per_image_p50", "ms/image", SPEED, LOWER, ALL,
        meaning="Median milliseconds of one image end to end, at batch 1. Compiled and warmed up; "
        "the clock stops when the result lies in host memory.",
    ),
    Column("latency_ms_per_image_iqr", group=SPEED),
    Column("images_per_second_1", "images/s at 1", SPEED, HIGHER),
    Column(
        "images_per_second_64", "images/s at 64", SPEED, HIGHER, BOTH,
        meaning="Images per second, end to end, in batches of 64.",
    ),
    Column(
        "images_per_second", "images/s", SPEED, HIGHER, ALL,
        meaning="Images per second, end to end, in batches of 1, 64 or the largest size that "
        "still pays on the device, whichever is fastest; the table by seed says which.",
    ),
    whole("throughput_batch_size", "at batch", group=SPEED, tables=SEEDS,
          meaning="The batch of images/s."),
    text("latency_device"),
    text("latency_threads"),
    text("latency_precision"),
    Column(
        "compile_seconds", "", SPEED, LOWER, form=formats.in_time,
        meaning="Seconds that the sampler takes to compile, apart from all other times.",
    ),
    whole(
        "modes_covered", "Modes", group=DIVERSITY, better=HIGHER, tables=ALL,
        beside=("num_modes", "of"), paper="after Metz et al. 2017",
        meaning="Classes that hold at least a tenth of their real fraction among the samples of "
        "which the classifier is sure. On Stacked MNIST, where each channel is judged alone: "
        "classes of at least one sample.",
    ),
    whole("num_modes", group=DIVERSITY),
    Column(
        "mode_kl", "KL", DIVERSITY, LOWER, ALL, rounded(4), beside=("mode_kl_floor", "floor"),
        meaning="Kullback-Leibler divergence of the generated from the real class histogram (on "
        "Stacked MNIST: from the uniform distribution), in nats. The floor is what a perfect "
        "sampler would score at the same number of samples.",
    ),
    Column("mode_kl_floor", group=DIVERSITY),
    Column(
        "fractions_corrected", group=DIVERSITY,
        meaning="1 where the class fractions were corrected by the classifier's confusion matrix, "
        "as is done below 99.2 % of test accuracy.",
    ),
    percentage(
        "conditional_accuracy", "Right class", group=DIVERSITY, better=HIGHER, tables=ALL,
        meaning="Of a class-conditional model: fraction of the samples that show, to the "
        "classifier, the class that they were asked for.",
    ),
    Column("classifier_accuracy", group=DIVERSITY),
    fraction(
        "recall", "Recall", group=DIVERSITY, better=HIGHER, tables=SEEDS,
        paper="Kynkäänniemi et al. 2019",
        meaning="Fraction of real images within the generated manifold, estimated likewise.",
    ),
    fraction(
        "coverage", "Coverage", group=DIVERSITY, better=HIGHER, tables=ALL,
        paper="Naeem et al. 2020",
        meaning="Fraction of real images with a generated image in their ball: recall that is "
        "robust to outliers. Compare with the test images' row.",
    ),
    Column(
        "vendi", "Vendi", DIVERSITY, tables=SEEDS, paper="Friedman, Dieng 2023",
        meaning="Vendi score: the effective number of different images among the samples, by the "
        "cosine similarity of the classifier's features. Compare with the row of test images.",
    ),
    percentage(
        "authenticity", "Authentic", group=DIVERSITY, tables=BOTH, interval=True,
        paper="Alaa et al. 2022",
        meaning="Fraction of the samples that are farther from their nearest training image than "
        "that is from its own nearest other one, in pixels, over all training images. Even unseen "
        "real images are below 100: compare with their row.",
    ),
    Column("authenticity_low", group=DIVERSITY),
    Column("authenticity_high", group=DIVERSITY),
    percentage(
        "copied_fraction", "Copied", group=DIVERSITY, better=LOWER, tables=BOTH, interval=True,
        paper="Yoon et al. 2023",
        meaning="Fraction of the samples whose nearest training image is at less than a third of "
        "the distance of the second nearest: copies.",
    ),
    Column("copied_fraction_low", group=DIVERSITY),
    Column("copied_fraction_high", group=DIVERSITY),
    whole(
        "collapsed_latents", group=OTHER, paper="after Lucas et al. 2019",
        meaning="In trilemma.csv, of a VAE: latent dimensions that encode nothing of the "
        "image. Their KL divergence from the prior is below 0.01 nats, mean over test images.",
    ),
    Column(
        "bits_per_dim", "bits/dim", OTHER, LOWER, ALL, rounded(3), error="bits_per_dim_se",
        paper="Ho et al. 2020, eq. 5",
        meaning="Of a diffusion model with `bound_images`: variational bound on the negative log "
        "likelihood of test images, in bits for each pixel and channel, by all time steps of the "
        "model whatever the row's sampler. The variance is the learned one where there is one, "
        "else beta.",
    ),
    Column("bits_per_dim_se"),
    Column(
        "num_parameters", "Parameters", COST, tables=BOTH, form=formats.in_thousands, whole=True,
        meaning="Parameters of the networks that sampling uses.",
    ),
    Column(
        "gflops_per_pass", "GFLOPs/pass", COST, tables=BOTH,
        meaning="Billions of floating-point operations of one network pass for one image: "
        "convolutions, matrix products and attention, a multiplication and its addition as two; "
        "element-wise work is not counted.",
    ),
    Column(
        "peak_memory_mb", "Peak memory", COST, LOWER, BOTH, formats.in_megabytes,
        meaning="What a sampler adds to the memory of the idle process while it makes 64 images "
        "end to end: its weights, and the most that is allocated beyond them.",
    ),
    Column(
        "train_seconds", "Train time", COST, LOWER, ALL, formats.in_time,
        meaning="Wall-clock time of training.",
    ),
    Column(
        "images_seen", "Images seen", COST, tables=BOTH, form=formats.in_thousands, whole=True,
        meaning="Training images that all steps took together, each as often as it was taken. "
        "Where networks are updated in turns, a step is the turn of one.",
    ),
    Column(
        "train_pflops", "Training PFLOPs", COST, tables=BOTH,
        meaning="Floating-point operations of the whole training, in units of 10^15: those of a "
        "step, forward and backward, counted in its graph as for GFLOPs/pass. Not counted with the "
        "JAX backend, on several devices, and where networks are updated in turns.",
    ),
    Column("sample_seconds", "", COST, LOWER, form=formats.in_time),
    text("notes"),
    text("path"),
)  # fmt: skip

_BY_KEY = {column.key: column for column in COLUMNS}
KEYS = tuple(_BY_KEY)
TEXTS = tuple(column.key for column in COLUMNS if column.form is None)
WHOLE_NUMBERS = tuple(column.key for column in COLUMNS if column.whole)


def column(key: str) -> Column:
    """The description of a column; one without an entry stands in the tables under its key."""
    return _BY_KEY.get(key) or Column(key, tables=BOTH)


def shown_in(table: str, rows: pd.DataFrame, headline: str = "") -> list[Column]:
    """The columns of numbers that a table shows of rows, those that no row has left out.

    Args:
        table: `models`, `seeds` or `terminal`.
        rows: DataFrame of results, texts as `object`, numbers as floats.
        headline: Key of the column that stands first among those of quality.
    """
    described = [*COLUMNS, *(column(key) for key in rows.columns if key not in _BY_KEY)]
    chosen = [
        each
        for each in described
        if each.form is not None
        and (table in each.tables.split() or each.key == headline)
        and each.key in rows
        and rows[each.key].dtype.kind == "f"
        and rows[each.key].notna().any()
    ]
    order = (QUALITY, SPEED, DIVERSITY, COST, OTHER)
    return sorted(chosen, key=lambda each: (order.index(each.group), each.key != headline))

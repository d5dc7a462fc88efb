"""`python -m benchmark.report`: results -> tables, figures and one HTML page."""

import io
import json
import re
import sys
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import yaml
from matplotlib.colors import to_hex

from benchmark.drawing.figures import loss_panels, sample_strips
from benchmark.errors import UserError
from benchmark.report import published, tables
from benchmark.report.charts import class_histograms, pareto
from benchmark.report.definitions import DEFINITIONS
from benchmark.report.gallery import Gallery, data_uri
from benchmark.report.radar import radar
from benchmark.report.rows import is_sanity, row_labels, row_styles
from benchmark.report.stages import NOTE, stage_table
from benchmark.report.sweeps import sweeps
from benchmark.results import collect_rows, write_atomically

FIGURES = {
    "pareto": "Sampling time against quality. Down and to the left is better.",
    "radar": "The trilemma: quality, speed and diversity, each from 0 (centre) to 1.",
    "samples": "The first samples of each row, not selected.",
    "class_histograms": "Share of each class among the generated images and among the real ones.",
    "loss": "Losses of the training runs over the images seen.",
}
SWEEP = "sweep_"
_NUM_SAMPLES_SHOWN = 10
_PROVENANCE = (
    "source",
    "environment",
    "versions",
    "packages",
    "git",
    "device",
    "python",
    "platform",
)


def write_report(results_dir, rows, *, real_images=None):
    """Writes all that is derived from the run folders, each file atomically.

    Args:
        results_dir: Folder that holds the runs and receives the report.
        rows: DataFrame of results, as `benchmark.results.collect_rows` returns it.
        real_images: Optional mapping from a dataset's name to uint8 NHWC test images, shown above
            the samples. Without it, the samples of the `test_images` row are shown if it has any.

    Returns:
        List of the paths written: the CSV, Markdown and LaTeX tables, the figures, the HTML page.
    """
    results_dir = Path(results_dir)
    groups = tables.group_rows(rows)
    styles = row_styles(*(group.rows for group in groups))
    pictures = {
        group.stem: _draw_group(results_dir, group, styles, (real_images or {}).get(group.dataset))
        for group in groups
    }
    _remove_stale_figures(results_dir / "figures", groups, pictures)
    files = {
        "trilemma.csv": tables.to_csv(rows),
        "trilemma.md": _markdown(groups),
        "trilemma.tex": _latex(groups),
        **{
            f"figures/{stem}_{name}.png": content
            for stem, drawn in pictures.items()
            for name, content in drawn.items()
        },
        "report.html": _html(results_dir, groups, pictures, styles),
    }
    return [_write(results_dir / name, content) for name, content in files.items()]


def main(arguments=None):
    """Runs `python -m benchmark.report [results_dir]` and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        results_dir = _results_dir(arguments)
        rows = collect_rows(results_dir)
        if rows.empty:
            raise UserError(
                f"No results in '{results_dir}'. Make some first: "
                "python -m benchmark model=ddpm dataset=mnist"
            )
        for path in write_report(results_dir, rows):
            print(path)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _results_dir(arguments):
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        raise UserError("Usage: python -m benchmark.report [results_dir]")
    results_dir = Path(arguments[0] if arguments else "results")
    if not results_dir.is_dir():
        raise UserError(
            f"No results folder '{results_dir}'. Make results first: "
            "python -m benchmark model=ddpm dataset=mnist"
        )
    return results_dir


def _write(path, content):
    write_atomically(path, content.encode() if isinstance(content, str) else content)
    return path


def _remove_stale_figures(folder, groups, pictures):
    """Removes figures of these datasets and presets that this report no longer draws."""
    current = {f"{stem}_{name}.png" for stem, drawn in pictures.items() for name in drawn}
    for group in groups:
        start = re.escape(tables.figure_stem(group.dataset, group.preset))
        pattern = re.compile(rf"{start}(_[0-9a-f]{{4}})?_({'|'.join(FIGURES)}|{SWEEP}.+)\.png")
        for path in folder.glob("*.png"):
            if pattern.fullmatch(path.name) and path.name not in current:
                path.unlink()


def _draw_group(results_dir, group, styles, real_images):
    """Returns the PNG bytes of each figure of a group that can be drawn, in the page's order."""
    figures = {
        "pareto": pareto(group.rows, styles=styles),
        "radar": radar(group.rows, styles=styles),
        "samples": _draw_samples(results_dir, group, styles, real_images),
        "class_histograms": _draw_histograms(results_dir, group, styles),
        "loss": _draw_losses(results_dir, group),
        **_draw_sweeps(results_dir, group),
    }
    return {name: _png(figure) for name, figure in figures.items() if figure is not None}


def _draw_samples(results_dir, group, styles, real_images):
    rows = group.rows
    if real_images is None:
        checks = rows[rows["model"] == "test_images"]
        real_images = next((_samples(results_dir, path) for path in checks["path"]), None)
    strips = {label: _samples(results_dir, row["path"]) for label, row in _trained(rows)}
    strips = {label: images for label, images in strips.items() if images is not None}
    if not strips:
        return None
    if real_images is not None:
        strips = {"test images": np.asarray(real_images[:_NUM_SAMPLES_SHOWN]), **strips}
    return sample_strips(strips, colors={label: style.color for label, style in styles.items()})


def _draw_histograms(results_dir, group, styles):
    histograms, reference = {}, None
    for label, row in _trained(group.rows):
        details = _read_json(results_dir, row["path"], "metrics.json").get("details", {})
        coverage = details.get("mode_coverage", {})
        if "generated_histogram" in coverage:
            histograms[label] = coverage["generated_histogram"]
            reference = reference or coverage
    if not histograms:
        return None
    real = reference["real_histogram"]
    class_names = reference.get("class_names") or range(len(real))
    return class_histograms(histograms, real, class_names, styles=styles)


def _draw_losses(results_dir, group):
    histories = {}
    for title, folder in _distinct_runs(results_dir, group).items():
        if (folder / "history.csv").is_file():
            histories[title] = pd.read_csv(folder / "history.csv")
    histories = {title: history for title, history in histories.items() if len(history)}
    return loss_panels(histories) if histories else None


def _draw_sweeps(results_dir, group):
    """Draws what the options that were varied do, by the figure's name."""
    folders = {
        row["path"]: _run_folder(results_dir, row["path"]) for _, row in _trained(group.rows)
    }
    configurations = {
        path: yaml.safe_load((folder / "config.yaml").read_text())
        for path, folder in folders.items()
        if folder is not None and (folder / "config.yaml").is_file()
    }
    return {SWEEP + option: figure for option, figure in sweeps(group.rows, configurations).items()}


def _caption(name):
    if name.startswith(SWEEP):
        return (
            f"KID against {name.removeprefix(SWEEP)}, of runs that differ in nothing else but "
            "their seeds."
        )
    return FIGURES[name]


def _distinct_runs(results_dir, group):
    """Returns the folder of each training run of a group, by model, seed and overrides."""
    folders = {}
    for _, row in _trained(group.rows):
        folder = _run_folder(results_dir, row["path"])
        if folder is not None:
            folders.setdefault(folder, row)
    runs = pd.DataFrame([row.drop("sampler") for row in folders.values()])
    return dict(zip(row_labels(runs), folders, strict=True)) if len(runs) else {}


def _run_folder(results_dir, path):
    """Returns the run's folder above a sampler's folder (or the folder itself), or `None`."""
    if not path:
        return None
    folder = results_dir / path
    for candidate in (folder, folder.parent, folder.parent.parent):
        if (candidate / "run.json").is_file() or (candidate / "history.csv").is_file():
            return candidate
    return None


def _trained(rows):
    rows = rows[~is_sanity(rows)]
    return list(zip(row_labels(rows), (row for _, row in rows.iterrows()), strict=True))


def _samples(results_dir, path):
    file = results_dir / path / "samples.npy"
    if not path or not file.is_file():
        return None
    images = np.load(file, mmap_mode="r", allow_pickle=False)
    return np.array(images[:_NUM_SAMPLES_SHOWN]) if len(images) else None


def _read_json(results_dir, path, name):
    file = results_dir / path / name
    return json.loads(file.read_text()) if path and file.is_file() else {}


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", bbox_inches="tight", pad_inches=0.08, metadata={"Software": None}
    )
    return buffer.getvalue()


def _markdown(groups):
    return _environment().get_template("trilemma.md.j2").render(
        **_context(groups), definitions=DEFINITIONS, to_markdown=tables.to_markdown
    )  # fmt: skip


def _latex(groups):
    environment = _environment(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<",
        variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    environment.filters["tex"] = _tex
    environment.filters["tex_title"] = _tex_title
    return environment.get_template("trilemma.tex.j2").render(**_context(groups))


def _html(results_dir, groups, pictures, styles):
    context, gallery = _context(groups), Gallery(results_dir)
    for part in context["parts"]:
        group = part["group"]
        part["figures"] = [
            {"name": name, "caption": _caption(name), "uri": data_uri("png", content)}
            for name, content in pictures[group.stem].items()
        ]
        part["galleries"] = gallery.show(_pictured_runs(results_dir, group))
        part["colors"] = [to_hex(styles[label].color) for label, _ in _trained(group.rows)]
        part["provenance"] = _provenance(results_dir, group)
        part["stages"] = stage_table(
            {
                title: _read_json(folder, ".", "run.json").get("stage_seconds", {})
                for title, folder in _distinct_runs(results_dir, group).items()
            }
        )
    environment = _environment(autoescape=True)
    return environment.get_template("report.html.j2").render(
        **context, definitions=DEFINITIONS, stages_note=NOTE
    )  # fmt: skip


def _environment(**options):
    return jinja2.Environment(
        loader=jinja2.PackageLoader("benchmark.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


def _context(groups):
    built = [tables.build_table(group) for group in groups]
    parts = [
        {
            "group": group,
            "title": title,
            "description": tables.describe(group),
            "warnings": tables.warnings(group),
            "table": table,
            "panels": tables.split(table),
            "published": published.published_table(group.dataset),
        }
        for group, title, table in zip(groups, tables.titles(groups), built, strict=True)
    ]
    return {
        "parts": parts,
        "why_apart": tables.why_apart(groups),
        "published_title": published.TITLE,
        "published_note": published.NOTE,
    }


def _pictured_runs(results_dir, group):
    """Returns the folders whose pictures are shown; of seeds that trained alike, the first's."""
    rows = [row for _, row in _trained(group.rows) if row["path"]]
    first_runs = {}
    for row in rows:
        first_runs.setdefault((row["model"], row["overrides"]), row["run"])
    paths = [results_dir / row["path"] for row in rows if row["run"] in first_runs.values()]
    return {
        title: (folder, {path.name: path for path in paths if folder in path.parents})
        for title, folder in _distinct_runs(results_dir, group).items()
        if any(path == folder or folder in path.parents for path in paths)
    }


def _provenance(results_dir, group):
    """Returns, per run, its key and what `run.json` says about machine, versions and commit."""
    return [
        {"run": title, "key": folder.name, "facts": _facts(_read_json(folder, ".", "run.json"))}
        for title, folder in _distinct_runs(results_dir, group).items()
    ]


def _facts(value, name=""):
    """Flattens the parts of `run.json` that name the environment into (name, text) pairs."""
    if isinstance(value, dict):
        chosen = value if name else {
            key: part for key, part in value.items() if any(word in key for word in _PROVENANCE)
        }  # fmt: skip
        return [
            fact
            for key, part in chosen.items()
            for fact in _facts(part, f"{name} {key}".strip().replace("_", " "))
        ]
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return [(name, text)] if value not in (None, "", []) else []


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "×": r"$\times$", "–": "--", "−": "$-$",
}  # fmt: skip


def _tex(text):
    """Escapes text for LaTeX and sets a leading minus in mathematics."""
    text = re.sub(r"(?<![\w)])-(?=\d)", "−", text)
    return "".join(_TEX.get(letter, letter) for letter in text)


def _tex_title(title):
    """Sets a column's title in two lines of about equal length, to keep the column narrow."""
    words = title.split()
    if len(words) == 1:
        return _tex(title)
    halves = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    lines = min(halves, key=lambda pair: max(map(len, pair)))
    return rf"\shortstack[r]{{{_tex(lines[0])}\\{_tex(lines[1])}}}"

"""Results -> tables, figures and one HTML page."""

import re
from pathlib import Path

import jinja2
import pandas as pd
from matplotlib.colors import to_hex

from benchmark.report import groups as grouping
from benchmark.report import markup, panels, published, tables
from benchmark.report.cards import cards, facts
from benchmark.report.columns import COLUMNS
from benchmark.report.definitions import definitions
from benchmark.report.drawn import DrawnFigures, digest_of
from benchmark.report.explorer import explorer
from benchmark.report.gallery import Gallery, data_uri
from benchmark.report.group_figures import CAPTIONS, KINDS, SWEEP, caption, draw_group
from benchmark.report.learning import histories_of
from benchmark.report.rows import row_styles
from benchmark.report.speedrun import speedrun_table
from benchmark.report.stages import NOTE, stage_table
from benchmark.report.stored import stored_runs
from benchmark.report.verdict import seeds_table, verdict, why_headline, winners
from benchmark.results import write_atomically
from benchmark.stored_results import damages

_WIDE = ("samples", "class_histograms", "learning", "loss")


def write_report(results_dir, rows, *, real_images=None, kinds=("png",)):
    """Writes all that is derived from the run folders, each file atomically.

    Args:
        results_dir: Folder that holds the runs and receives the report.
        rows: DataFrame of results, as `benchmark.stored_results.collect_rows` returns it.
        real_images: Optional mapping from a dataset's name to uint8 NHWC test images, shown above
            the samples. Without it, the samples of the `test_images` row are shown if it has any.
        kinds: The kinds of files that figures are drawn as; the page needs png.

    Returns:
        List of the paths written: the CSV, Markdown and LaTeX tables, the figures, the HTML page.
    """
    results_dir = Path(results_dir)
    groups = grouping.group_rows(rows)
    styles = row_styles(*(group.rows for group in groups))
    histories = {group.stem: histories_of(results_dir, group) for group in groups}
    drawn, sources, pictures = DrawnFigures(results_dir / "figures"), {}, {}
    for group in groups:
        stem, real = group.stem, (real_images or {}).get(group.dataset)
        sources[stem] = digest_of(results_dir, group, styles, real)
        pictures[stem] = drawn.recall(stem, sources[stem], kinds)
        if pictures[stem] is None:
            pictures[stem] = draw_group(results_dir, group, styles, histories[stem], real, kinds)
    _remove_stale_figures(results_dir / "figures", groups, pictures)
    context = _context(groups, histories)
    html = _html(results_dir, context, pictures, styles, histories)
    files = {
        "trilemma.csv": tables.to_csv(rows),
        "trilemma_by_model.csv": tables.to_csv_by_model(groups),
        "trilemma.md": _markdown(context),
        "trilemma.tex": _latex(context),
        **{
            f"figures/{stem}_{name}": content
            for stem, drawn in pictures.items()
            for name, content in drawn.items()
        },
        "report.html": html,
    }
    paths = [_write(results_dir / name, content) for name, content in files.items()]
    if any(pictures.values()) and not damages:  # which drawing tells, and the page shows
        drawn.record(sources, pictures)
    return paths


def _write(path, content):
    write_atomically(path, content.encode() if isinstance(content, str) else content)
    return path


def _remove_stale_figures(folder, groups, pictures):
    """Removes figures of these datasets and presets that this report no longer draws."""
    current = {f"{stem}_{name}" for stem, drawn in pictures.items() for name in drawn}
    for group in groups:
        start = re.escape(grouping.figure_stem(group.dataset, group.preset))
        pattern = re.compile(
            rf"{start}(_[0-9a-f]{{4}})?_({'|'.join(CAPTIONS)}|{SWEEP}.+)\.({'|'.join(KINDS)})"
        )
        for path in folder.glob("*"):
            if pattern.fullmatch(path.name) and path.name not in current:
                path.unlink()


def _context(groups, histories):
    """What all documents show, group by group."""
    titles = grouping.titles(groups)
    parts = [
        _part(group, title, histories[group.stem])
        for group, title in zip(groups, titles, strict=True)
    ]
    rows = pd.concat([group.rows for group in groups]) if groups else pd.DataFrame()
    return {
        "parts": parts,
        "why_apart": grouping.why_apart(groups),
        "definitions": definitions(rows),
        "published_title": published.TITLE,
        "published_note": published.NOTE,
        "missing": "– means not measured; the notes say why.",
        "meanings": {each.key: each.meaning for each in COLUMNS},
        "corners": {each.key: each.group for each in COLUMNS},
    }


def _part(group, title, histories):
    by_model, by_row = tables.table_by_model(group), tables.build_table(group)
    has_seeds = len(by_row.body) > len(by_model.body)
    return {
        "group": group,
        "title": title,
        "description": grouping.describe(group),
        "warnings": grouping.warnings(group),
        "table": by_model,
        "panels": panels.split(by_model),
        "corners_apart": panels.split_by_corner(by_model),
        "corners": winners(group),
        "verdict": [why_headline(group), *verdict(group)],
        "components": seeds_table(group),
        "speedrun": speedrun_table(histories, group),
        "by_row": by_row if has_seeds else None,
        "row_panels": panels.split(by_row) if has_seeds else [],
        "published": published.published_table(group.dataset),
    }


def _markdown(context):
    environment = _environment()
    environment.filters["md"] = markup.markdown
    template = environment.get_template("trilemma.md.j2")
    return template.render(**context, to_markdown=markup.to_markdown)


def _latex(context):
    environment = _environment(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<",
        variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    filters = {"tex": markup.tex, "tex_title": markup.tex_title, "tex_body": markup.tex_body}
    environment.filters |= filters
    return environment.get_template("trilemma.tex.j2").render(**context)


def _png_files(pictures):
    files = ((Path(name), content) for name, content in pictures.items())
    return [(path.stem, content) for path, content in files if path.suffix == ".png"]


def _html(results_dir, context, pictures, styles, histories):
    drawn = [content for found in pictures.values() for _, content in _png_files(found)]
    gallery = Gallery(results_dir, len(context["parts"]), sum(map(len, drawn)))
    for part in context["parts"]:
        group = part["group"]
        part["figures"] = [
            {
                "name": name,
                "caption": caption(name, group),
                "uri": data_uri("png", content),
                "is_wide": name in _WIDE,
            }
            for name, content in _png_files(pictures[group.stem])
        ]
        part["cards"] = cards(results_dir, group, gallery)
        part["explorer"] = explorer(group, styles, histories[group.stem])
        lines = [line for line in group.lines if not line.is_check]
        part["colors"] = [to_hex(styles[line.label].color) for line in lines]
        keys = {card["key"] for card in part["cards"]}
        others = {
            title: run
            for title, run in stored_runs(results_dir, group).items()
            if run.key not in keys
        }
        part["other_runs"] = [
            {"title": title, "key": run.key, "facts": facts(run.state)}
            for title, run in others.items()
        ]
        part["stages"] = stage_table(
            {title: run.state.get("stage_seconds", {}) for title, run in others.items()}
        )
    context["damages"] = _damages(results_dir)  # here, as the page's files are the last ones read
    template = _environment(autoescape=True).get_template("report.html.j2")
    return template.render(**context, stages_note=NOTE, html_cells=markup.html_cells)


def _damages(results_dir):
    """The damaged files of a results folder, as `(path within it, what is wrong)`."""
    return [
        (path.relative_to(results_dir).as_posix(), reason)
        for path, reason in sorted(damages.items())
        if path.is_relative_to(results_dir)
    ]


def _environment(**options):
    return jinja2.Environment(
        loader=jinja2.PackageLoader("benchmark.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )

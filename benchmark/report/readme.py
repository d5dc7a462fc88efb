"""The part of README.md that shows results, derived from the published ones."""

import os
from pathlib import Path

from benchmark.errors import UserError
from benchmark.report import panels, tables
from benchmark.report.group_figures import caption, numbers_digest, read_digest
from benchmark.report.groups import describe, group_rows, titles, warnings
from benchmark.report.markup import to_markdown
from benchmark.report.publish import commands
from benchmark.report.verdict import verdict, why_headline
from benchmark.results import write_atomically
from benchmark.stored_results import collect_rows

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_SIDE_BY_SIDE = ("pareto", "radar")


def update(readme, results_dir):
    """Rewrites the block between the two markers of a README.

    Args:
        readme: Path of the file.
        results_dir: The published results.

    Raises:
        UserError: If the file has no markers.
    """
    path = Path(readme)
    start, _, end = _split(path)
    block = results_block(results_dir, path.parent)
    write_atomically(path, f"{start}{BEGIN}\n{block}{END}{end}".encode())


def stale(readme, results_dir):
    """Says what of a README is not what the published results give; empty if all is.

    Args:
        readme: Path of the file.
        results_dir: The published results.

    Returns:
        List of texts: the block, or names of figures whose digest differs.
    """
    path, found = Path(readme), []
    _, block, _ = _split(path)
    if block != "\n" + results_block(results_dir, path.parent):
        found.append("the block between the markers")
    for group in group_rows(collect_rows(results_dir)):
        digest = numbers_digest(group)
        files = sorted((Path(results_dir) / "figures").glob(f"{group.stem}_*.png"))
        names = [file.name for file in files if read_digest(file) != digest]
        found += names or ([] if files else [f"no figures of {group.stem}"])
    return found


def results_block(results_dir, root):
    """The Markdown of the results: tables by model, what follows from them, and figures.

    Args:
        results_dir: The published results.
        root: The folder that links are relative to.
    """
    results_dir = Path(results_dir)
    rows = tables.complete(collect_rows(results_dir))
    groups = group_rows(rows)
    folder = Path(os.path.relpath(results_dir, root)).as_posix()
    sections = [
        _section(group, title, folder, results_dir)
        for group, title in zip(groups, titles(groups), strict=True)
    ]
    made = "\n".join(commands(rows))
    return (
        f"\nMade by\n\n```\n{made}\n```\n\n"
        "and kept, with the machine and all columns, seed by seed, in "
        f"[{folder}]({folder}/README.md).\n\n" + "\n".join(sections)
    )


def _section(group, title, folder, results_dir):
    table = tables.table_by_model(group)
    parts = "\n\n".join(to_markdown(panel) for panel in panels.split(table))
    told = "\n".join(f"- {text}" for text in [why_headline(group), *verdict(group)])
    warned = "".join(f"**{sentence}**\n\n" for sentence in warnings(group))
    notes = "".join(f"[{index + 1}] {text}\n\n" for index, text in enumerate(table.footnotes))
    above = f"### {title}\n\n{describe(group)}.\n\n{warned}"
    below = f"{table.note}\n\n{notes}{told}\n\n"
    return f"{above}{parts}\n\n{below}" + _figures(group, folder, results_dir)


def _figures(group, folder, results_dir):
    def link(name):
        return f"![{caption(name, group)}]({folder}/figures/{group.stem}_{name}.png)"

    drawn = {
        name
        for name in ("samples", *_SIDE_BY_SIDE)
        if (results_dir / "figures" / f"{group.stem}_{name}.png").is_file()
    }
    text = f"{link('samples')}\n\n" if "samples" in drawn else ""
    beside = [link(name) for name in _SIDE_BY_SIDE if name in drawn]
    if beside:
        text += f"{'| ' * len(beside)}|\n{'|---' * len(beside)}|\n| {' | '.join(beside)} |\n"
    return text


def _split(path):
    text = path.read_text() if path.is_file() else ""
    start, begin, rest = text.partition(BEGIN)
    block, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"'{path}' needs the lines '{BEGIN}' and '{END}', between which results go")
    return start, block, after

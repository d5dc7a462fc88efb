"""The end of a run: the report of all runs, and this run's rows on the terminal."""

from pathlib import Path

import pandas as pd

from benchmark import console
from benchmark.files import Folder, sweep
from benchmark.report import groups, panels, tables
from benchmark.report.page import write_report
from benchmark.stored_results import collect_rows


def write(results_dir: str) -> tuple[pd.DataFrame, list[Path]]:
    """Derives the tables and figures from all run folders; one process at a time does.

    Returns:
        The rows of the results folder, and the paths of the tables and the page.
    """
    console.stage("Writing the report")
    with Folder(Path(results_dir)).waiting_lock("report"):
        for pattern in (".*", "figures/.*"):
            sweep(Path(results_dir), pattern, hours=1)
        rows = collect_rows(results_dir)
        paths = write_report(results_dir, rows)
    return rows, [path for path in paths if path.suffix in (".md", ".html", ".csv")]


def report(
    results_dir: str, *, dataset: str, protocol: str, run: str, draws: bool = True
) -> pd.DataFrame:
    """Derives the tables and figures from all run folders, and shows one run's rows.

    Args:
        results_dir: The results folder.
        dataset: The run's dataset.
        protocol: How the run was measured.
        run: What its rows have in the column `run`.
        draws: Whether tables and figures are written; a sweep does that once, at its end.

    Returns:
        The rows of the results folder.
    """
    rows, paths = write(results_dir) if draws else (collect_rows(results_dir), [])
    complete = groups.complete(rows)
    ours = complete[(complete["run"] == run) | (complete["status"] == "sanity")]
    ours = ours[(ours["dataset"] == dataset) & ours["protocol"].isin([protocol, ""])]
    for group in groups.group_rows(ours):
        for table in panels.summarize(tables.build_table(group), group.headline):
            console.table(table.titles, table.right, table.body, table.sanity)
    for path in paths:
        console.say(str(path))
    return rows

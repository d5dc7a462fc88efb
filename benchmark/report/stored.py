"""What the runs behind a group's rows have stored, as the figures and the page need it."""

import pandas as pd

from benchmark.report.lines import UNMEASURED, Line
from benchmark.report.rows import is_sanity, row_labels
from benchmark.stored_results import StoredRow, StoredRun

NUM_SAMPLES_SHOWN = 10  # of each line
_NAMING = [
    "model", "sampler", "checkpoint", "overrides", "seed", "sampling_seed", "run", "status", "path",
]  # fmt: skip


def stored_runs(results_dir, group) -> dict[str, StoredRun]:
    """Each training run, or set of samples made elsewhere, by model, seed and overrides."""
    return {title: run for title, run, _ in _runs(results_dir, group)}


def shown_runs(results_dir, group) -> dict[str, tuple[StoredRun, list[StoredRow]]]:
    """Of the runs that differ in their seeds only, the first, with its rows.

    A run that diverged or failed is shown beside the others of its model.
    """
    chosen: dict[tuple, tuple] = {}
    for title, run, rows in _runs(results_dir, group):
        first = rows[0]
        key = (first["model"], first["overrides"], first["status"] in UNMEASURED)
        chosen.setdefault(key, (title, run, rows))
    return {
        title: (run, [StoredRow(results_dir, row["path"]) for row in rows])
        for title, run, rows in chosen.values()
    }


def _runs(results_dir, group):
    """Returns `(title, StoredRun, rows)` of each run of a group."""
    found = {}
    for row in group.rows.loc[~is_sanity(group.rows), _NAMING].to_dict("records"):
        run = StoredRow(results_dir, row["path"]).run
        if run is not None and run.path.is_dir():
            found.setdefault(run.path, (run, []))[1].append(row)
    runs = pd.DataFrame([rows[0] for _, rows in found.values()])
    if len(runs):
        runs = runs.drop(columns=["sampler", "sampling_seed"]).assign(checkpoint="")
    titles = row_labels(runs) if len(runs) else []
    return [(title, *entry) for title, entry in zip(titles, found.values(), strict=True)]


def first_stored(results_dir, line: Line, read):
    """What `read` finds in the files of a line's first row that has it; `None` if none has."""
    for path in line.rows["path"]:
        found = read(StoredRow(results_dir, path))
        if found is not None and len(found):
            return found
    return None

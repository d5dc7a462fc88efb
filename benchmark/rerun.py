"""`python -m benchmark.rerun <run folder>`: repeats a run and compares the results.

It needs only the folder's config.yaml, so a run whose weights were never kept can be repeated too.
The new run goes into `rerun/` within the folder, or into `results_dir=`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark import cli, console, interruption
from benchmark import config as configuration
from benchmark.errors import UserError
from benchmark.report.columns import column
from benchmark.results import Folder, RunFolder
from benchmark.stored_results import StoredRun, collect_rows
from benchmark.tool import command

USAGE = "Usage: python -m benchmark.rerun <run folder> [results_dir=<folder>] [cache_dir=<folder>]"
RERUN = "rerun"
OPTIONS = ("results_dir", "cache_dir")
ALIKE = ("sampler", "checkpoint", "sampling_seed", "preset", "protocol", "headline")


@command(USAGE, resumes=True)
def main(arguments: list[str]) -> None:
    """Runs `python -m benchmark.rerun`."""
    configuration.register()
    with interruption.handled():
        rerun(*parse(arguments))


def parse(arguments: list[str]) -> tuple[StoredRun, dict[str, Any]]:
    """The run that the arguments name, and the settings of the new one.

    Raises:
        UserError: If they do not match `USAGE`, or the folder does not describe a run.
    """
    folders = [argument for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(folders) != 1 or options.keys() - set(OPTIONS):
        raise UserError(f"cannot read the arguments {' '.join(arguments)}\n{USAGE}")
    stored = StoredRun(Path(folders[0]).resolve())
    settings = stored.trusted_config()
    if not settings:
        raise UserError(f"'{folders[0]}' is not the folder of a run: it has no config.yaml to read")
    settings |= {
        "force": False,
        "results_dir": str(stored.path / RERUN),
        "cache_dir": configuration.user_cache_dir(),
        **options,
    }
    if settings.get("teacher"):
        settings["teacher"] = str(stored.path.parents[1] / "ddpm" / settings["teacher"])
    if settings.get("start_from"):
        settings["start_from"] = str(stored.path.parent / settings["start_from"])
    return stored, settings


def rerun(stored: StoredRun, settings: dict[str, Any]) -> None:
    """Repeats a run and says how its results differ from the stored ones."""
    folder = cli.run(cli.RunBuilder(settings, stored.state.get("overrides", [])))
    again = StoredRun(folder.path)
    console.stage(f"Compared with {stored.path}")
    for line in differences(stored, again):
        console.say(line)


def differences(stored: StoredRun, again: StoredRun) -> list[str]:
    """How much the weights and the headline numbers of two runs differ, one line each."""
    lines = []
    name = RunFolder.WEIGHTS["last"]
    before, after = (Folder(run.path).recall_arrays(name) for run in (stored, again))
    if before is not None and after is not None:
        lines.append(f"weights: {difference_of_weights(before, after)}")
    rows, new_rows = (headlines(run) for run in (stored, again))
    for row, value in rows.items():
        if row in new_rows:
            measure = column(row[ALIKE.index("headline")]).name
            lines.append(f"{row[0]}: {measure} {value:.6g} before, {new_rows[row]:.6g} now")
    return lines or ["there is nothing to compare with"]


def difference_of_weights(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> str:
    if before.keys() != after.keys():
        return "of different networks"
    if all(np.array_equal(before[name], after[name]) for name in before):
        return "the same, bit for bit"
    most = max(float(np.abs(before[name] - after[name]).max()) for name in before)
    return f"they differ by at most {most:.2g}"


def headlines(run: StoredRun) -> dict[tuple, float]:
    """The headline of quality of each row of a run."""
    rows = collect_rows(run.path.parents[3])
    own = rows[rows["path"].str.contains(f"/{run.key}/", regex=False)]
    return {
        tuple(str(row[name]) for name in ALIKE): row[row["headline"]]
        for row in own.to_dict("records")
        if row["status"] == "finished"
    }


if __name__ == "__main__":
    main()

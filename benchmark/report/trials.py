"""The log of trials that options were chosen by: each with its command and what came of it."""

import shlex
from pathlib import Path

import pandas as pd

from benchmark.errors import UserError
from benchmark.report.groups import complete
from benchmark.report.rows import headline_of, is_sanity
from benchmark.results import write_atomically

FIRST_SEED_OF_TRIALS, FIRST_SEED_OF_RESULTS = 100, 10
NUMBERS = ("rejected_fraction", "mode_kl", "train_seconds")


def write_trials(rows, path):
    """Writes a line for each row of a trained model, the best of the headline first.

    What the log already says of other trials stays.

    Args:
        rows: Result of `collect_rows`.
        path: CSV file: the command without folders and metrics, the sampler, the headline's
            number and others beside it.

    Returns:
        The path.

    Raises:
        UserError: If a seed is one that results are reported with.
    """
    rows = complete(rows)
    trials = rows[~is_sanity(rows)]
    reported = trials[trials["seed"].between(FIRST_SEED_OF_RESULTS, FIRST_SEED_OF_TRIALS - 1)]
    if len(reported):
        raise UserError(
            f"options are chosen with seeds from {FIRST_SEED_OF_TRIALS} on, as results are "
            f"reported with those from {FIRST_SEED_OF_RESULTS} on. "
            f"Received: seed={reported['seed'].iloc[0]:g}"
        )
    headline = headline_of(rows)
    log = pd.DataFrame(
        {
            "command": [command(row) for _, row in trials.iterrows()],
            **{name: trials[name].to_numpy() for name in ("sampler", "status", headline, *NUMBERS)},
        }
    )
    path = Path(path)
    if path.exists():
        log = pd.concat([log, pd.read_csv(path)]).drop_duplicates(["command", "sampler"])
    log = log.sort_values(["sampler", headline], kind="stable").round(5)
    write_atomically(path, log.to_csv(index=False).encode())
    return path


def command(row):
    """The command that trains a row's model, as a shell takes it."""
    options = [text for text in row["overrides"].split() if not text.startswith("model=")]
    choices = [f"{name}={row[name]}" for name in ("dataset", "preset", "model")]
    arguments = [*choices, f"seed={row['seed']:g}", *options]
    return f"python -m benchmark {shlex.join(arguments)}"

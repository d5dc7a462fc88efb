"""`python -m benchmark.report`: tables, figures and the page again, from the run folders."""

import sys
from pathlib import Path

from benchmark.errors import EnvironmentProblem, UserError
from benchmark.report.page import write_report
from benchmark.report.publish import publish
from benchmark.report.readme import update
from benchmark.report.trials import write_trials
from benchmark.stored_results import collect_rows

USAGE = """\
Usage: python -m benchmark.report [results_dir] [readme=README.md]
       python -m benchmark.report [results_dir] publish=results/reference [seed=10,11] [preset=...]
       python -m benchmark.report [results_dir] trials=results/tuning/trials.csv
The first derives tables, figures and the page again, and writes them into a README if one is named;
the second copies what they are derived from to where it is committed; the third lists the trials
that options were chosen by, each with its command."""


def main(arguments=None):
    """Runs `python -m benchmark.report` and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        for path in run(*parse(arguments)):
            print(path)
    except (UserError, EnvironmentProblem) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 3
    return 0


def run(results_dir, options):
    """Writes what was asked for; returns the paths of the tables and figures."""
    rows = collect_rows(results_dir)
    if rows.empty:
        raise UserError(
            f"no results in '{results_dir}'. Make some first: "
            "python -m benchmark model=ddpm dataset=mnist"
        )
    if "publish" in options:
        chosen = {name: text.split(",") for name, text in options.items() if name != "publish"}
        return publish(results_dir, options["publish"], chosen)
    if "trials" in options:
        return [write_trials(rows, options["trials"])]
    paths = write_report(results_dir, rows)
    if "readme" in options:
        update(options["readme"], results_dir)
        paths.append(Path(options["readme"]))
    return paths


def parse(arguments):
    """Splits arguments into the results folder and the options.

    Raises:
        UserError: If they are not as `USAGE` says, or there is no such folder.
    """
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    folders = [argument for argument in arguments if "=" not in argument]
    written = {"readme", "trials"}
    unknown = set(options) - written if "publish" not in options else written & set(options)
    if unknown or len(folders) > 1 or any(name.startswith("-") for name in arguments):
        raise UserError(f"cannot read the arguments {' '.join(arguments)}\n{USAGE}")
    results_dir = Path(folders[0] if folders else "results")
    if not results_dir.is_dir():
        raise UserError(
            f"no results folder '{results_dir}'. Make results first: "
            "python -m benchmark model=ddpm dataset=mnist"
        )
    return results_dir, options

"""`python -m benchmark.report`: tables, figures and the page again, from the run folders."""

from pathlib import Path

from benchmark.errors import UserError
from benchmark.report.choice import CHOICES, choose
from benchmark.report.group_figures import KINDS
from benchmark.report.groups import complete
from benchmark.report.page import write_report
from benchmark.report.publish import publish
from benchmark.report.readme import update
from benchmark.report.trials import write_trials
from benchmark.stored_results import collect_rows
from benchmark.tool import command

USAGE = """\
Usage: python -m benchmark.report [results_dir] [dataset=...] [model=vae,ddpm] [seed=10,11] ...
       python -m benchmark.report [results_dir] readme=README.md
       python -m benchmark.report [results_dir] publish=results/reference [seed=10,11] [preset=...]
       python -m benchmark.report [results_dir] trials=results/tuning/trials.csv
The first rebuilds tables, figures (as PNG and PDF) and the page, of the chosen rows only if any are
chosen, by dataset, preset, model, sampler, checkpoint or seed. The second writes them into a README
too. The third copies what they are derived from to where it is committed. The fourth lists the
trials by which options were chosen, each with its command. The report at the end of the next run
removes PDF files that no longer show what the tables do."""
WRITTEN = ("readme", "publish", "trials")


@command(USAGE)
def main(arguments: list[str]) -> None:
    """Runs `python -m benchmark.report`."""
    for path in run(*parse(arguments)):
        print(path)


def run(results_dir, options):
    """Writes what was asked for; returns the paths of the tables and figures."""
    rows = collect_rows(results_dir)
    if rows.empty:
        raise UserError(
            f"no results in '{results_dir}'. Make some first: "
            "python -m benchmark model=ddpm dataset=mnist"
        )
    chosen = {name: text.split(",") for name, text in options.items() if name in CHOICES}
    if "publish" in options:
        return publish(results_dir, options["publish"], chosen)
    if "trials" in options:
        return [write_trials(rows, options["trials"])]
    paths = write_report(
        results_dir, choose(complete(rows), chosen) if chosen else rows, kinds=KINDS
    )
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
    if "results_dir" in options:
        folders.append(options.pop("results_dir"))
    written = [name for name in WRITTEN if name in options]
    chooses = len(options) > len(written)
    is_wrong = (
        len(written) > 1
        or (chooses and written not in ([], ["publish"]))
        or set(options) - {*WRITTEN, *CHOICES}
        or len(folders) > 1
        or any(name.startswith("-") for name in arguments)
    )
    if is_wrong:
        raise UserError(f"cannot read the arguments {' '.join(arguments)}\n{USAGE}")
    results_dir = Path(folders[0] if folders else "results")
    if not results_dir.is_dir():
        raise UserError(
            f"no results folder '{results_dir}'. Make results first: "
            "python -m benchmark model=ddpm dataset=mnist"
        )
    return results_dir, options

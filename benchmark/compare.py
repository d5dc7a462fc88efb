"""`python -m benchmark.compare A B`: compares two runs, models or results folders.

Each difference is tested against the noise, at a level of 0.05, Holm-corrected for the number of
columns:

- several seeds on both sides: Welch's t-test;
- a single seed against several: a t-test of one more observation (could it be one of them?);
- a single seed on both sides: a z-test with the standard errors of sampling.
"""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scipy import stats

from benchmark import console
from benchmark.errors import UserError
from benchmark.report import comparison, formats
from benchmark.report.columns import HIGHER, TERMINAL, Column, shown_in
from benchmark.report.groups import Group, group_rows
from benchmark.report.lines import Line, comparable, competing, devices
from benchmark.report.rows import SANITY_MODELS, is_sanity
from benchmark.stored_results import collect_rows
from benchmark.tool import command

USAGE = """\
Usage: python -m benchmark.compare A B [results_dir=results]
A and B are each a model (`ddpm`), one of its samplers (`ddpm/ddim-25`), the folder of a run or a
results folder. Models are looked up in results_dir."""
NAMES = ("A", "B")
SAME, UNTESTED = "no significant difference", "not tested"
ONE_SEED = (
    "One seed on both sides: a significant difference holds for these samples only; training with "
    "another seed may change more."
)


class Side(NamedTuple):
    """One of the two sides of a comparison.

    Attributes:
        name: The argument as given.
        rows: Its rows, without sanity rows.
        is_folder: Whether it is a results folder.
    """

    name: str
    rows: pd.DataFrame
    is_folder: bool


@command(USAGE)
def main(arguments: list[str]) -> None:
    """Runs `python -m benchmark.compare`."""
    compare(*parse(arguments))


def parse(arguments: list[str]) -> tuple[Side, Side]:
    """The two sides that the arguments name.

    Raises:
        UserError: If they do not match `USAGE`, or a side has no results.
    """
    names = [argument for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    results_dir = options.pop("results_dir", "results")
    if len(names) != 2 or options:
        raise UserError(f"cannot read the arguments {' '.join(arguments)}. {USAGE}")
    first, second = (find(name, results_dir) for name in names)
    return first, second


def find(name: str, results_dir: str) -> Side:
    """Finds the rows that an argument refers to."""
    folder = Path(name)
    if (folder / "run.json").is_file():
        folder = folder.resolve()
        rows = collect_rows(folder.parents[3])
        start = folder.relative_to(folder.parents[3]).as_posix()
        return Side(name, _trained(rows[rows["path"].str.startswith(start)], name), False)
    if folder.is_dir():
        return Side(name, _trained(collect_rows(folder), name), True)
    rows = collect_rows(results_dir)
    model, _, sampler = name.partition("/")
    known = sorted(set(rows.get("model", [])) - {*SANITY_MODELS})
    chosen = rows[rows["model"] == model] if len(rows) else rows
    chosen = chosen[chosen["sampler"] == sampler] if sampler else chosen
    if chosen.empty:
        within = f"; {model} has {_listed(rows, model)}" if model in known else ""
        raise UserError(
            f"'{name}' is neither a folder nor a model with results in '{results_dir}', which has "
            f"{', '.join(known) or 'none'}{within}"
        )
    return Side(name, _trained(chosen, name), False)


def _listed(rows: pd.DataFrame, model: str) -> str:
    return ", ".join(sorted(set(rows.loc[rows["model"] == model, "sampler"])))


def _trained(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = rows[~is_sanity(rows)] if len(rows) else rows
    if rows.empty:
        raise UserError(f"no results of trained models in '{name}'")
    return rows


def compare(first: Side, second: Side) -> None:
    """Shows a table for each pair of comparable lines, and names the lines without a counterpart.

    Raises:
        UserError: If the two sides have no dataset, preset and protocol in common.
    """
    ours, theirs = (
        {(group.dataset, group.preset, group.protocol): group for group in group_rows(side.rows)}
        for side in (first, second)
    )
    shared = [key for key in ours if key in theirs]
    if not shared:
        raise UserError(
            "A and B have no dataset, preset and protocol in common: nothing can be compared"
        )
    by_model = first.is_folder and second.is_folder
    for key in shared:
        console.stage(f"{key[0]}, preset {key[1]}: A is {first.name}, B is {second.name}")
        show_group(ours[key], theirs[key], by_model)


def show_group(one: Group, two: Group, by_model: bool) -> None:
    """Shows the lines of two groups that were measured the same way, pair by pair."""
    columns = shown_in(TERMINAL, pd.concat([one.rows, two.rows]), one.headline)
    found = pairs(competing(one.lines), competing(two.lines), by_model)
    for a, b in found:
        title = a.label if a.label == b.label else f"A: {a.label}; B: {b.label}"
        console.say(title, style="bold")
        titles, right = ["", "A", "B", "B - A", ""], [False, True, True, True, False]
        console.table(titles, right, differences(columns, a, b), [])
    paired = {id(line) for pair in found for line in pair}
    for name, group in zip(NAMES, (one, two), strict=True):
        if alone := [line.label for line in competing(group.lines) if id(line) not in paired]:
            console.say(f"only in {name}: {', '.join(alone)}")
    if any(max(a.num_seeds, b.num_seeds) < 2 for a, b in found):
        console.say(ONE_SEED)


def pairs(ours: list[Line], theirs: list[Line], by_model: bool) -> list[tuple[Line, Line]]:
    """Chooses the lines to compare.

    For results folders, lines with the same model, sampler, checkpoint and overrides. For models
    and runs, lines with the same sampler and checkpoint; if there are none, all pairs.
    """
    names = ["sampler", "checkpoint"] + ["model", "overrides"] * by_model
    alike = [
        (one, two)
        for one in ours
        for two in theirs
        if all(one.first[name] == two.first[name] for name in names)
    ]
    if alike or by_model:
        return alike
    return [(one, two) for one in ours for two in theirs]


def differences(columns: list[Column], one: Line, two: Line) -> list[list[str]]:
    """The cells of a table: each column's name, both means, their difference, the better side."""
    known = [each for each in columns if not math.isnan(one.mean(each.key) + two.mean(each.key))]
    several_machines = len(devices([one.rows, two.rows])) > 1
    chances = [
        math.nan if several_machines and each.depends_on_machine else chance(each, one, two)
        for each in known
    ]
    tested = [index for index, value in enumerate(chances) if not math.isnan(value)]
    apart = dict(zip(tested, comparison.holm([chances[index] for index in tested]), strict=True))
    cells = []
    for index, each in enumerate(known):
        means = one.mean(each.key), two.mean(each.key)
        texts = [
            written(each, mean, spread(each, line))
            for mean, line in zip(means, (one, two), strict=True)
        ]
        verdict = UNTESTED if index not in apart else SAME
        if apart.get(index):
            verdict = f"{NAMES[(means[1] > means[0]) == (each.better == HIGHER)]} is better"
        cells.append(
            [each.heading, *texts, written(each, means[1] - means[0]), verdict * bool(each.better)]
        )
    return cells


def written(each: Column, number: float, error: float = math.nan) -> str:
    return formats.write(number, each.form or formats.to_digits, error)


def spread(each: Column, line: Line) -> float:
    """The standard deviation over seeds; for a single seed, its standard error, if known."""
    if line.num_seeds > 1 or not each.error:
        return line.std(each.key) or math.nan
    return line.mean(each.error)


def chance(each: Column, one: Line, two: Line) -> float:
    """The p-value of a difference; NaN where the noise is not known."""
    few, many = sorted(comparable([one, two], each), key=len)
    if len(few) > 1:
        return comparison.welch(few, many)
    if len(many) > 1:
        return comparison.one_more(many, few[0])
    error = math.hypot(spread(each, one), spread(each, two))
    return 2 * float(stats.norm.sf(abs(few[0] - many[0]) / error)) if error > 0 else math.nan


if __name__ == "__main__":
    sys.exit(main())

"""How long the stages of a run take: kept in its run.json, told at its end and in the report.

A run that goes on after a stop adds up. No stage includes the time that a run waited for others.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from benchmark import machine
from benchmark.formats import duration
from benchmark.results import RunFolder
from benchmark.tables import Table

OF_RUNS = ("data", "instruments", "training", "validation", "pictures", "sanity rows")
OF_SAMPLERS = ("sampling", "measuring", "latency")
REPORT = "report"  # not in the report, which does not know yet how long it takes
WAITING = "waiting"  # for other runs; not part of the total
NOTE = (
    "Of each run and its samplers, stops left out. Instruments are the encoder and the digit "
    "classifier; who trains it or encodes the real images first saves the others the time, as with "
    "the sanity rows. The total includes neither this report nor the time that a run waited for "
    "others."
)


@contextlib.contextmanager
def timed(folder: RunFolder, stage: str, sampler: str = "") -> Iterator[None]:
    """Adds the time of a block to a stage, whether it ends well or not."""
    start = machine.working_seconds()
    try:
        yield
    finally:
        folder.add_seconds(stage, machine.working_seconds() - start, sampler)


def summary(seconds: dict[str, Any]) -> str:
    """One line of `stage_seconds`: the total, then each stage with its samplers.

    Args:
        seconds: By stage; of sampling and measuring, by stage and sampler.
    """
    order = [*OF_RUNS[:-1], *OF_SAMPLERS, OF_RUNS[-1], REPORT]
    parts = []
    for stage in filter(seconds.get, order):
        samplers = seconds[stage] if stage in OF_SAMPLERS else {}
        each = ", ".join(f"{name} {duration(value)}" for name, value in samplers.items())
        told = f" ({each})" if len(samplers) > 1 else ""
        parts.append(f"{stage} {duration(total(seconds, [stage]))}{told}")
    waited = seconds.get(WAITING)
    last = f"; waited {duration(waited)} for other runs" if waited else ""
    return f"this run took {duration(total(seconds, order))}: {', '.join(parts)}{last}"


def total(seconds: dict[str, Any], stages) -> float:
    """The time of some stages, all samplers together."""
    values = [seconds.get(stage, 0.0) for stage in stages]
    return sum(sum(value.values()) if isinstance(value, dict) else value for value in values)


def stage_table(runs: dict[str, dict[str, Any]]) -> Table | None:
    """A line for each sampler of each run; the stages of a run stand in the first of its lines.

    Args:
        runs: `stage_seconds` by the run's title; empty where they are not known.

    Returns:
        The table; `None` if nothing is known.
    """
    stages = [*OF_RUNS, *OF_SAMPLERS, WAITING]
    lines = [line for title, seconds in runs.items() if seconds for line in _lines(title, seconds)]
    shown = [stage for stage in stages if any(line.get(stage) for line in lines)]
    if not lines:
        return None
    titles = ["Run", *(stage.capitalize() for stage in shown), "Total"]
    place = 1 + len([stage for stage in shown if stage in OF_RUNS])
    titles.insert(place, "Sampler")
    body = [[line.get(title.lower(), "") for title in titles] for line in lines]
    return Table(titles, [title not in ("Run", "Sampler") for title in titles], body, [], [])


def _lines(title, seconds):
    samplers = dict.fromkeys(name for stage in OF_SAMPLERS for name in seconds.get(stage, {}))
    lines = [
        {stage: duration(seconds.get(stage, {}).get(name, float("nan"))) for stage in OF_SAMPLERS}
        | {"sampler": name}
        for name in samplers
    ] or [{}]
    lines[0] |= {
        stage: duration(seconds[stage]) for stage in (*OF_RUNS, WAITING) if stage in seconds
    }
    lines[0] |= {"run": title, "total": duration(total(seconds, [*OF_RUNS, *OF_SAMPLERS]))}
    return lines

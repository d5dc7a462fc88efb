"""How long the stages of a run take: kept in its run.json, shown at its end and in the report.

A resumed run adds to its earlier times. No stage includes time spent waiting for other runs.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from benchmark import machine
from benchmark.report.formats import duration
from benchmark.results import RunFolder

OF_RUNS = ("data", "instruments", "training", "validation", "pictures", "facts", "sanity rows")
OF_SAMPLERS = ("sampling", "measuring", "latency")
REPORT = "report"  # not in the report, which cannot know its own duration
WAITING = "waiting"  # for other runs; not part of the total


@contextlib.contextmanager
def timed(folder: RunFolder, stage: str, sampler: str = "") -> Iterator[None]:
    """Adds the time of a block to a stage, even if the block raises."""
    start = machine.working_seconds()
    try:
        yield
    finally:
        folder.add_seconds(stage, machine.working_seconds() - start, sampler)


def summary(seconds: dict[str, Any]) -> str:
    """Formats `stage_seconds` as one line: the total, then each stage with its samplers.

    Args:
        seconds: By stage; for the stages of samplers, by stage and sampler.
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

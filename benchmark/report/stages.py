"""The time of each stage of each run, as a table."""

from typing import Any

from benchmark.report.formats import duration
from benchmark.report.tables import Table
from benchmark.stages import OF_RUNS, OF_SAMPLERS, WAITING, total

NOTE = (
    "The time of each run and its samplers, without interruptions. Instruments are the encoder and "
    "the digit classifier. The first run trains the classifier, encodes the real images and "
    "measures the sanity rows; later runs reuse them. The total excludes this report and the time "
    "that a run waited for others."
)


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

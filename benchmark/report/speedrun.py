"""Seconds to quality: after what time of training each model's validation reaches a goal."""

import math
import statistics
from dataclasses import dataclass

from benchmark.headline import VALIDATION_REJECTED
from benchmark.report.columns import column
from benchmark.report.formats import duration
from benchmark.report.tables import Table

NEVER = "not reached"


@dataclass(frozen=True)
class Goal:
    """A quality that is to be reached.

    Attributes:
        value: Of the headline of quality, at most.
        rejected_fraction: At most, of the same images.
    """

    value: float
    rejected_fraction: float


# By the headline. Values are of validation: few samples against as many test images.
GOALS = {"fid_digits": (Goal(15.0, 0.40), Goal(10.0, 0.30), Goal(7.0, 0.25))}


def speedrun_table(histories, group):
    """The time of training until validation reaches each of the goals, by model.

    It is the time of the first checkpoint at which both numbers are reached, the median over
    training seeds. A seed that does not reach a goal counts as slower than all that do.

    Args:
        histories: Result of `benchmark.report.learning.histories_of`.
        group: The `Group`.

    Returns:
        The `Table`, the fastest model first; `None` if there are no goals for the headline, or no
        training measured both.
    """
    goals = GOALS.get(group.headline, ())
    measured = {each.label: _runs_of(each.checkpoints) for each in histories}
    measured = {label: runs for label, runs in measured.items() if runs}
    if not goals or not measured:
        return None
    times = {
        label: [[seconds_to(run, group.headline, goal) for run in runs] for goal in goals]
        for label, runs in measured.items()
    }
    order = sorted(
        times, key=lambda label: [statistics.median(each) for each in times[label]][::-1]
    )
    quality = column(group.headline)
    return Table(
        titles=["Model", "n", *(_title(goal, quality) for goal in goals)],
        right=[False] + [True] * (1 + len(goals)),
        body=[[label, f"{len(times[label][0])}", *map(_cell, times[label])] for label in order],
        note=(
            f"Time of training until the validation's {quality.name} and rejected fraction, both "
            "of the same few samples against as many test images, are at most as large: the median "
            "over n training seeds, and in brackets the fastest and the slowest. Validation does "
            "not count; what lies between two validations is not known."
        ),
    )


def _runs_of(checkpoints):
    """The checkpoints of each run that measured the rejected fraction too."""
    if VALIDATION_REJECTED not in checkpoints:
        return []
    complete = checkpoints[checkpoints[VALIDATION_REJECTED].notna()]
    return [run for _, run in complete.groupby("run", sort=False)]


def seconds_to(history, headline, goal):
    """The seconds of training at the first checkpoint that reaches a goal; infinite if none does.

    Args:
        history: DataFrame of a training's checkpoints.
        headline: Column of the headline of quality.
        goal: The `Goal`.
    """
    reached = history[
        (history[f"validation_{headline}"] <= goal.value)
        & (history[VALIDATION_REJECTED] <= goal.rejected_fraction)
    ]
    return float(reached["seconds"].iloc[0]) if len(reached) else math.inf


def _title(goal, quality):
    return f"{quality.title} ≤ {goal.value:g}, rejected ≤ {goal.rejected_fraction:.0%}"


def _cell(times):
    median = statistics.median(times)
    ends = sorted(times)
    if math.isinf(median):
        reached = sum(map(math.isfinite, times))
        return f"{NEVER} ({reached} of {len(times)})" if reached else NEVER
    if len(times) == 1:
        return duration(median)
    slowest = NEVER if math.isinf(ends[-1]) else duration(ends[-1])
    return f"{duration(median)} ({duration(ends[0])}–{slowest})"

"""What people answered, and the human error computed from it."""

import math
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from metrics.intervals import wilson_interval

FOLDER = "humans"
REAL = ""  # marks a real image, in place of a sampler's folder


class HumanError(NamedTuple):
    """The mean of two error rates, with its 95 % interval.

    The interval adds the squared distances to the ends of both rates' Wilson intervals (the
    square-and-add method of Newcombe 1998).
    """

    rate: float
    low: float
    high: float

    def in_percent(self) -> dict[str, float]:
        return {name: 100 * value for name, value in self._asdict().items()}


class Judged(NamedTuple):
    """How people judged a folder of samples: the error, and how many samples they saw."""

    error: HumanError
    num_answers: int


def human_error(mistakes: tuple[int, int], totals: tuple[int, int]) -> HumanError:
    """The error of a model.

    Args:
        mistakes: How many of its samples were judged real, and how many real images generated.
        totals: How many samples and real images were shown; at least one of each.
    """
    rates = np.divide(mistakes, totals)
    ends = np.array([wilson_interval(*pair) for pair in zip(mistakes, totals, strict=True)])
    below, above = rates - ends[:, 0], ends[:, 1] - rates
    rate = float(rates.mean())
    return HumanError(rate, rate - math.hypot(*below) / 2, rate + math.hypot(*above) / 2)


def errors(sittings: list[dict[str, Any]]) -> dict[str, Judged]:
    """How people judged each folder of samples.

    Args:
        sittings: The record of each. The real images of a sitting count for all its models.
    """
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((2, 2), int))
    for sitting in sittings:
        by_path = defaultdict(list)
        for answer in sitting["answers"]:
            by_path[answer["samples"]].append(answer["said_real"])
        real = by_path.pop(REAL, [])
        for path, said_real in by_path.items():
            mistakes = sum(said_real), real.count(False)
            counts[path] += [mistakes, (len(said_real), len(real))]
    return {
        path: Judged(human_error(tuple(mistakes), tuple(totals)), int(totals[0]))
        for path, (mistakes, totals) in counts.items()
        if totals.all()
    }


def check_sitting(sitting: Any) -> dict[str, Any]:
    """Returns the content of a sitting's file if it is valid.

    Raises:
        KeyError, TypeError, ValueError: If it is not.
    """
    seconds = sitting["seconds"]
    if not (seconds is None or isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise ValueError(f"seconds is {seconds!r}")
    for answer in sitting["answers"]:
        if not (isinstance(answer["samples"], str) and isinstance(answer["said_real"], bool)):
            raise ValueError("an answer has no samples or does not say real or generated")
    return sitting


def add_columns(rows: pd.DataFrame, sittings: list[dict[str, Any]]) -> pd.DataFrame:
    """Adds `human_error`, its interval and `human_answers` to the rows of samples people saw.

    Images that were shown for a limited time are harder to judge, so they have separate columns,
    such as `human_error_500ms`.
    """
    for seconds in sorted({sitting["seconds"] or 0.0 for sitting in sittings}):
        stem = f"human_error_{1000 * seconds:g}ms" if seconds else "human_error"
        names = [stem, f"{stem}_low", f"{stem}_high", stem.replace("error", "answers")]
        alike = [sitting for sitting in sittings if (sitting["seconds"] or 0.0) == seconds]
        for path, judged in errors(alike).items() if len(rows) else ():
            here = rows["path"].str.startswith(f"{path}/")
            rows.loc[here, names] = [*judged.error, float(judged.num_answers)]
    return rows

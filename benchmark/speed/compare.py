"""Ways of the same work, run in turn in one process, and the table of their ratios.

A busy machine slows all ways of a round, so that the ratio of a round holds where its times do not.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmark import console
from benchmark.report.formats import significant

TITLES = ["Task", "Ours", "Against", "Theirs", "Ratio", "Range"]


@dataclass(frozen=True)
class Comparison:
    """A task, our way of doing it and others.

    Args:
        task: What is done.
        ours: Does it once; the result lies in host memory.
        others: Other ways of the same work, by name.
        amounts: How much a call does where that is not 1, by name (`"ours"` for ours).
        unit: What the amounts are, such as `"images"`; without one, times are shown.
    """

    task: str
    ours: Callable[[], object]
    others: Mapping[str, Callable[[], object]]
    amounts: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""


@dataclass
class Measured:
    """Seconds of each round, by way."""

    comparison: Comparison
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ratios(self, name: str) -> np.ndarray:
        """How many times faster our way was in each round."""
        factor = self._amount("ours") / self._amount(name)
        return factor * np.divide(self.seconds[name], self.seconds["ours"])

    def lines(self) -> list[list[str]]:
        """A line of the table for each other way."""
        return [self._line(name) for name in self.comparison.others]

    def _line(self, name: str) -> list[str]:
        ratios = self.ratios(name)
        return [
            self.comparison.task,
            self._show("ours"),
            name,
            self._show(name),
            ratio(np.median(ratios)),
            f"{ratio(ratios.min())} to {ratio(ratios.max())}",
        ]

    def _amount(self, name: str) -> float:
        return self.comparison.amounts.get(name, 1.0)

    def _show(self, name: str) -> str:
        seconds, unit = float(np.median(self.seconds[name])), self.comparison.unit
        return f"{significant(self._amount(name) / seconds)} {unit}/s" if unit else time_of(seconds)


def ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def time_of(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.2f} ms"


def compare(comparison: Comparison, num_rounds: int, warmup: int = 0) -> Measured:
    """Runs all ways in turn.

    Args:
        comparison: What is run.
        num_rounds: How often each way is run.
        warmup: Rounds before, which do not count: for what is compiled when first called.
    """
    ways = {"ours": comparison.ours, **comparison.others}
    measured = Measured(comparison, {name: [] for name in ways})
    with console.progress(comparison.task, num_rounds) as update:
        for number in range(-warmup, num_rounds):
            for name, call in ways.items():
                start = time.perf_counter()
                call()
                if number >= 0:
                    measured.seconds[name].append(time.perf_counter() - start)
            update(max(0, number + 1))
    return measured

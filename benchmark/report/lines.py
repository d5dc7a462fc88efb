"""The lines of a table by model: all training seeds of a model and a sampler together."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from benchmark.report import comparison
from benchmark.report.columns import HIGHER, LOWER, Column
from benchmark.report.rows import is_sanity, joined, line_identities, row_labels

UNMEASURED = ("diverged", "failed")


@dataclass(frozen=True)
class Line:
    """A model under one sampler, checkpoint and set of overrides, with all of its seeds.

    Samples made elsewhere have no seed: each set of them is a line of its own, as a check is.

    Attributes:
        label: What figures and sentences call it.
        rows: Its rows, by training and sampling seed.
        is_check: Whether it is a sanity row, which competes with nothing.
        seeds: Its numbers by training seed, means over the sampling seeds.
    """

    label: str
    rows: pd.DataFrame
    is_check: bool
    seeds: pd.DataFrame

    @cached_property
    def first(self) -> pd.Series:
        """The row of the first seed, for what is shown of one seed."""
        return self.rows.iloc[0]

    @property
    def num_seeds(self) -> int:
        return len(self.seeds)

    @property
    def is_unmeasured(self) -> bool:
        """Whether it has no figures: its training diverged, or the run failed."""
        return self.first["status"] in UNMEASURED

    def values(self, key: str) -> np.ndarray:
        """A column's numbers, one for each training seed that has it."""
        return self._values.get(key, np.empty(0))

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        columns = zip(self.seeds, self.seeds.to_numpy().T, strict=True)
        return {key: numbers[~np.isnan(numbers)] for key, numbers in columns}

    def mean(self, key: str) -> float:
        """Mean over training seeds, NaN if none has the number."""
        values = self.values(key)
        return float(values.mean()) if len(values) else float("nan")

    def std(self, key: str) -> float:
        """Standard deviation over training seeds, exactly 0 of equal numbers, NaN of one alone."""
        values = self.values(key)
        if len(values) < 2:
            return float("nan")
        if np.ptp(values) == 0.0:  # the formula gives a little more where the mean is rounded
            return 0.0
        return float(values.std(ddof=1))


@dataclass(frozen=True)
class Standing:
    """How the lines of a table stand in one column.

    Attributes:
        best: Indices of the lines with the best mean.
        ties: Of those that do not differ significantly from the best, both with two seeds or more.
        worse: Of those that can.
        untested: Of those with a number that no test can be made of, as a seed is alone.
    """

    best: list[int]
    ties: list[int]
    worse: list[int]
    untested: list[int]


def lines_of(rows: pd.DataFrame) -> list[Line]:
    """Gathers rows of one protocol into lines, in the order of the rows."""
    identities = joined(line_identities(rows), "\n") if len(rows) else []
    parts = [part for _, part in rows.groupby(identities, sort=False)] if len(rows) else []
    parts = [part.sort_values(["seed", "sampling_seed"], kind="stable") for part in parts]
    names = pd.DataFrame([line_identities(part).iloc[0] for part in parts])
    return [
        Line(label, part, bool(is_sanity(part).iloc[0]), means_by_seed(part))
        for label, part in zip(row_labels(names) if parts else [], parts, strict=True)
    ]


def means_by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """The numbers of rows by training seed, means over its sampling seeds."""
    numbers = rows.select_dtypes("number").drop(columns="seed")
    return numbers.groupby(rows["seed"].fillna(-1).to_numpy()).mean()


def competing(lines: list[Line]) -> list[Line]:
    """The lines of models that were measured, without checks."""
    return [line for line in lines if not line.is_check and not line.is_unmeasured]


def standing(lines: list[Line], column: Column) -> Standing | None:
    """Finds the best line of a column and its ties.

    Returns:
        The `Standing`; `None` where neither direction is better, where fewer than two lines have
        a number, and of times that were measured on several machines.
    """
    if column.depends_on_machine and len(devices(line.rows for line in lines)) > 1:
        return None
    means = [line.mean(column.key) for line in lines]
    if column.better not in (LOWER, HIGHER) or np.isfinite(means).sum() < 2:
        return None
    samples = comparable(lines, column)
    top = comparison.best(means, column.better)
    apart = comparison.told_apart(samples)[top[0]]
    others = [index for index in np.flatnonzero(np.isfinite(means)).tolist() if index not in top]
    tested = [index for index in others if min(len(samples[index]), len(samples[top[0]])) > 1]
    return Standing(
        best=top,
        ties=[index for index in tested if not apart[index]],
        worse=[index for index in tested if apart[index]],
        untested=[index for index in others if index not in tested],
    )


def devices(tables: Iterable[pd.DataFrame]) -> list[str]:
    """The devices that the times of some tables' rows come from."""
    return sorted({name for table in tables for name in table["latency_device"] if name})


def comparable(lines: list[Line], column: Column) -> list[np.ndarray]:
    """The numbers that tests are made of: those of the seeds, of times and rates logarithms."""
    samples = [line.values(column.key) for line in lines]
    positive = all((numbers > 0).all() for numbers in samples)
    return [np.log(numbers) for numbers in samples] if column.is_ratio and positive else samples

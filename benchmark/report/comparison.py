"""Which means over seeds differ significantly: pure functions of numbers."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
Numbers = Sequence[float] | np.ndarray


class FStatistic(NamedTuple):
    """A one-way analysis of variance: F, its degrees of freedom and its p-value."""

    f: float
    between: int
    within: int
    p: float


class Components(NamedTuple):
    """Standard deviations over training seeds and over sampling seeds; NaN where unknown."""

    training: float
    sampling: float


class Disagreement(NamedTuple):
    """How two numbers rank the same lines: Kendall's tau-b, and the pairs that they reverse."""

    tau: float
    num_pairs: int
    reversed_pairs: list[tuple[int, int]]


def welch(first: Numbers, second: Numbers) -> float:
    """The p-value of Welch's two-sided t-test (Welch 1947): do two means differ?

    Where neither sample varies, the means are known: 1 if they are equal, else 0.

    Args:
        first, second: Numbers of independent seeds, at least two each.
    """
    one, two = np.asarray(first, float), np.asarray(second, float)
    if min(len(one), len(two)) < 2:
        raise ValueError(
            f"a test needs two seeds on either side. Received: {len(one)} and {len(two)}."
        )
    if np.ptp(one) == np.ptp(two) == 0:
        return float(one[0] == two[0])
    described = [part for each in (one, two) for part in (each.mean(), each.std(ddof=1), len(each))]
    return float(stats.ttest_ind_from_stats(*described, equal_var=False).pvalue)


def one_more(sample: Numbers, value: float) -> float:
    """The p-value that a value is one more observation of a normal sample: Student's prediction.

    Args:
        sample: Numbers of independent seeds, at least two.
        value: A single number.

    Returns:
        The two-sided p-value; where the sample does not vary, 1 if the value is the same, else 0.
    """
    numbers = np.asarray(sample, float)
    if len(numbers) < 2:
        raise ValueError(f"a test needs two seeds. Received: {len(numbers)}.")
    scale = numbers.std(ddof=1) * math.sqrt(1 + 1 / len(numbers))
    if np.ptp(numbers) == 0:
        return float(value == numbers[0])
    return 2 * float(stats.t.sf(abs(value - numbers.mean()) / scale, len(numbers) - 1))


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which hypotheses Holm's step-down procedure (Holm 1979) rejects.

    The probability of any false rejection is at most `level`, however the tests depend on one
    another.
    """
    rejected = [False] * len(p_values)
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > level / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected


def told_apart(samples: Sequence[Numbers], level: float = LEVEL) -> np.ndarray:
    """Which lines' means differ: Welch's tests of all pairs, with Holm's correction.

    All pairs, not only those with the best: which line is best is seen in the same numbers.

    Args:
        samples: For each line, the numbers of its training seeds. Lines of fewer than two seeds
            differs from none significantly.

    Returns:
        A symmetric boolean array `(lines, lines)`.
    """
    tested = [index for index, numbers in enumerate(samples) if len(numbers) > 1]
    pairs = list(itertools.combinations(tested, 2))
    found = holm([welch(samples[one], samples[two]) for one, two in pairs], level)
    apart = np.zeros((len(samples), len(samples)), bool)
    for (one, two), differ in zip(pairs, found, strict=True):
        apart[one, two] = apart[two, one] = differ
    return apart


def best(means: Numbers, better: str) -> list[int]:
    """Indices of the best means, several if they are equal; NaN never is.

    Args:
        means: The means.
        better: `lower` or `higher`.
    """
    values = np.asarray(means, float) * (1 if better == "higher" else -1)
    if np.isnan(values).all():
        return []
    return np.flatnonzero(values == np.nanmax(values)).tolist()


def f_statistic(samples: Sequence[Numbers]) -> FStatistic | None:
    """How far lines lie apart, against the seeds within them: F of a one-way analysis of variance.

    Args:
        samples: For each line, the numbers of its training seeds; those of one seed are left out.

    Returns:
        The statistic; `None` without two lines of two seeds or if no seed differs.
    """
    chosen = [np.asarray(numbers, float) for numbers in samples if len(numbers) > 1]
    if len(chosen) < 2 or all(np.ptp(numbers) == 0 for numbers in chosen):
        return None
    found = stats.f_oneway(*chosen)
    within = sum(map(len, chosen)) - len(chosen)
    return FStatistic(float(found.statistic), len(chosen) - 1, within, float(found.pvalue))


def variance_components(samples: Sequence[Numbers]) -> Components:
    """Standard deviations over training and over sampling seeds, by one-way random effects.

    The estimator of moments (Searle, Casella, McCulloch 1992, section 3.6), which allows for
    different numbers of sampling seeds; a negative variance counts as zero.

    Args:
        samples: For each training seed, the numbers of its sampling seeds.
    """
    groups = [np.asarray(numbers, float) for numbers in samples if len(numbers)]
    sizes = np.array([len(group) for group in groups], float)
    total, count = sizes.sum(), len(groups)
    if total == count:
        return Components(math.nan, math.nan)
    squares = sum(((group - group.mean()) ** 2).sum() for group in groups)
    within = squares / (total - count)
    if count < 2:
        return Components(math.nan, math.sqrt(within))
    means = np.array([group.mean() for group in groups])
    grand = (sizes * means).sum() / total
    between = (sizes * (means - grand) ** 2).sum() / (count - 1)
    effective = (total - (sizes**2).sum() / total) / (count - 1)
    return Components(math.sqrt(max(0.0, (between - within) / effective)), math.sqrt(within))


def disagreement(first: Numbers, second: Numbers) -> Disagreement:
    """How two numbers rank the same lines, each with higher as better.

    Args:
        first, second: A number for each line; lines where either is NaN are left out.
    """
    one, two = np.asarray(first, float), np.asarray(second, float)
    known = np.flatnonzero(np.isfinite(one) & np.isfinite(two))
    pairs = list(itertools.combinations(known.tolist(), 2))
    turned = [(a, b) for a, b in pairs if (one[a] - one[b]) * (two[a] - two[b]) < 0]
    tau = stats.kendalltau(one[known], two[known]).statistic if len(known) > 1 else math.nan
    return Disagreement(float(tau), len(pairs), turned)

"""Squared maximum mean discrepancy of two samples under a kernel, with its standard error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from metrics.base import check_features, without_dead_features
from metrics.distances import squared_distances

TILE = 1024  # rows and columns of the kernel matrix that are computed at once
MINIMUM_ROWS = 4  # what the unbiased variance of a U-statistic needs
BANDWIDTH_ROWS = 2000  # reference rows whose distances give the RBF kernel's bandwidth


class Kernel(Protocol):
    """k(x, y) for all pairs of rows: float64 `(N, D)` and `(M, D)` -> float64 `(N, M)`."""

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray: ...

    def describe(self) -> dict[str, Any]:
        """The kernel and its constants, ready for JSON."""
        ...


@dataclass(frozen=True)
class PolynomialKernel:
    """k(x, y) = (x . y / d + 1)^3, the kernel of KID (Binkowski et al. 2018, eq. 4).

    Args:
        num_features: d, which counts features that were left out because they are zero.
    """

    num_features: int

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        kernel = left @ right.T
        kernel /= self.num_features
        kernel += 1.0
        cube = np.square(kernel)  # many times faster than ** 3
        cube *= kernel
        return cube

    def describe(self) -> dict[str, Any]:
        return {"kernel": "polynomial", "degree": 3, "gamma": 1 / self.num_features, "coef0": 1.0}


@dataclass(frozen=True)
class RBFKernel:
    """k(x, y) = exp(-|x - y|^2 / (2 s^2)), which sees more than the first three moments.

    Args:
        bandwidth: s, in the units of the features; positive.
    """

    bandwidth: float

    def __post_init__(self):
        if not self.bandwidth > 0:
            raise ValueError(f"`bandwidth` must be positive. Received: {self.bandwidth}")

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        exponents = squared_distances(left, right)
        exponents /= -2.0 * self.bandwidth**2
        return np.exp(exponents, out=exponents)

    def describe(self) -> dict[str, Any]:
        return {"kernel": "rbf", "bandwidth": self.bandwidth}


def median_bandwidth(features: np.ndarray) -> float:
    """Median distance of two rows (the median heuristic: Gretton et al. 2012, section 8).

    It is taken over all pairs of up to 2,000 rows, evenly spaced. Of the reference features alone
    it is one constant for all rows of a table, whatever is compared with the reference.
    """
    rows = np.linspace(0, len(features) - 1, min(len(features), BANDWIDTH_ROWS)).astype(int)
    chosen = np.asarray(features[rows], dtype=np.float64)
    distances = squared_distances(chosen, chosen)
    return float(np.sqrt(np.median(distances[np.triu_indices(len(chosen), k=1)])))


KERNELS: dict[str, Callable[[np.ndarray], Kernel]] = {
    "polynomial": lambda real_features: PolynomialKernel(np.shape(real_features)[1]),
    "rbf": lambda real_features: RBFKernel(median_bandwidth(real_features)),
}
"""Kernels by name, built for the reference features."""


@dataclass(frozen=True)
class SumsWithin:
    """Sums of k(x, x') over the pairs of different rows of one set.

    Args:
        rows: float64 `(N,)`, of each row over all others.
        squares: of k(x, x')^2 over all ordered pairs.
    """

    rows: np.ndarray
    squares: float

    @property
    def mean(self) -> float:
        count = len(self.rows)
        return float(self.rows.sum() / (count * (count - 1)))

    @property
    def degenerate_variance(self) -> float:
        """Unbiased estimate of the variance of the doubly centred kernel, E[k~(x, x')^2].

        U-centring (Szekely and Rizzo 2014, section 3): the mean square of the matrix whose rows
        and columns are centred such that the estimate is unbiased.
        """
        count, total = len(self.rows), self.rows.sum()
        centred = self.squares - 2.0 * (self.rows @ self.rows) / (count - 2)
        centred += total**2 / ((count - 1) * (count - 2))
        return float(centred / (count * (count - 3)))


@dataclass(frozen=True)
class SumsAcross:
    """Sums of k(x, y) over the pairs of rows of two sets.

    Args:
        rows: float64 `(N,)`, of each row of the first set.
        columns: float64 `(M,)`, of each row of the second set.
        squares: of k(x, y)^2 over all pairs.
    """

    rows: np.ndarray
    columns: np.ndarray
    squares: float

    @property
    def mean(self) -> float:
        return float(self.rows.sum() / (len(self.rows) * len(self.columns)))

    @property
    def degenerate_variance(self) -> float:
        """Unbiased estimate of E[k~(x, y)^2]: the interaction's mean square of a two-way table."""
        num_rows, num_columns = len(self.rows), len(self.columns)
        centred = self.squares - self.rows @ self.rows / num_columns
        centred -= self.columns @ self.columns / num_rows
        centred += self.rows.sum() ** 2 / (num_rows * num_columns)
        return float(centred / ((num_rows - 1) * (num_columns - 1)))


def live_features(features: np.ndarray) -> np.ndarray:
    """The columns of one set that are not zero everywhere, float64: the others are in no sum."""
    return np.asarray(features[:, np.any(features, axis=0)], dtype=np.float64)


def sums_within(features: np.ndarray, kernel: Kernel) -> SumsWithin:
    """Kernel sums of one set; of the symmetric matrix one side of the diagonal is computed.

    Args:
        features: `(N, D)`.
        kernel: of two float64 arrays.
    """
    features = live_features(features)
    sums, squares = np.zeros(len(features)), 0.0
    for top in range(0, len(features), TILE):
        rows = slice(top, top + TILE)
        tile = kernel(features[rows], features[rows])
        np.fill_diagonal(tile, 0.0)
        sums[rows] += tile.sum(axis=1)
        squares += np.vdot(tile, tile)
        for start in range(top + TILE, len(features), TILE):
            columns = slice(start, start + TILE)
            tile = kernel(features[rows], features[columns])
            sums[rows] += tile.sum(axis=1)
            sums[columns] += tile.sum(axis=0)
            squares += 2.0 * np.vdot(tile, tile)
    return SumsWithin(sums, float(squares))


def sums_across(left: np.ndarray, right: np.ndarray, kernel: Kernel) -> SumsAcross:
    """Kernel sums of all pairs of a row of `left` `(N, D)` and a row of `right` `(M, D)`."""
    left, right = (
        np.asarray(features, dtype=np.float64) for features in without_dead_features(left, right)
    )
    rows, columns, squares = np.zeros(len(left)), np.zeros(len(right)), 0.0
    for top in range(0, len(left), TILE):
        for start in range(0, len(right), TILE):
            tile = kernel(left[top : top + TILE], right[start : start + TILE])
            rows[top : top + TILE] += tile.sum(axis=1)
            columns[start : start + TILE] += tile.sum(axis=0)
            squares += np.vdot(tile, tile)
    return SumsAcross(rows, columns, float(squares))


@dataclass(frozen=True)
class Discrepancy:
    """An estimate of the squared maximum mean discrepancy.

    Args:
        value: the estimate; small negative values are valid.
        standard_error: its standard deviation over draws of both sets.
        standard_error_given_real: that over draws of the generated set alone, beside the same
            real one: what two rows that share a reference do not share.
    """

    value: float
    standard_error: float
    standard_error_given_real: float


def squared_mmd(
    *,
    real_features: np.ndarray,
    generated_features: np.ndarray,
    kernel: Kernel,
    within_real: SumsWithin | None = None,
) -> Discrepancy:
    """Squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) from all rows of both sets.

    The unbiased two-sample U-statistic for sets of unequal sizes R and N. Its variance is the sum
    of those of the five parts of its Hoeffding decomposition,

        4 z_x / R + 4 z_y / N + 2 s_xx / (R (R - 1)) + 2 s_yy / (N (N - 1)) + 4 s_xy / (R N),

    where z is the variance of a row's mean kernel within its set less that across the sets, and
    s that of the doubly centred kernel of a pair. As Sutherland and Deka (2019) do it, each is
    estimated without bias: from the variance of the row means the part is taken that is noise of
    these means. Without that the variance comes out twice as large where the sets are of one
    population, as that of a jackknife does. Estimates of z below zero count as zero.

    The rows of a set are taken to be independent draws. Repeated images are not: of those the
    error is larger than stated.

    Args:
        real_features: `(R, D)`, R >= 4.
        generated_features: `(N, D)`, N >= 4.
        kernel: the kernel.
        within_real: `sums_within(real_features, kernel)`, where it is known already.

    Returns:
        The `Discrepancy`. Its standard error counts the draw of the real rows too, as a distance
        from the data and not from these rows is what is estimated.

    Raises:
        ValueError: if there are fewer than four rows on either side.
    """
    check_features(real_features=real_features, generated_features=generated_features)
    num_real, num_generated = len(real_features), len(generated_features)
    if min(num_real, num_generated) < MINIMUM_ROWS:
        raise ValueError(
            f"the U-statistic needs at least {MINIMUM_ROWS} real and generated samples. "
            f"Received: {num_real} real and {num_generated} generated"
        )
    real = within_real or sums_within(real_features, kernel)
    generated = sums_within(generated_features, kernel)
    across = sums_across(real_features, generated_features, kernel)
    s_xx, s_yy = real.degenerate_variance, generated.degenerate_variance
    s_xy = across.degenerate_variance
    # The divisor less 2 makes the coefficient of a row's own projection one: its mean is of others.
    v_x = np.var(real.rows / (num_real - 2) - across.rows / num_generated, ddof=1)
    v_y = np.var(generated.rows / (num_generated - 2) - across.columns / num_real, ddof=1)
    z_x = max(0.0, float(v_x - s_xx / (num_real - 2) - s_xy / num_generated))
    z_y = max(0.0, float(v_y - s_yy / (num_generated - 2) - s_xy / num_real))
    pairs_x, pairs_y = num_real * (num_real - 1), num_generated * (num_generated - 1)
    variance = 4.0 * z_x / num_real + 4.0 * z_y / num_generated
    variance += 2.0 * s_xx / pairs_x + 2.0 * s_yy / pairs_y
    variance += 4.0 * s_xy / (num_real * num_generated)
    # Beside fixed real rows the term across is one of single generated rows, not of pairs.
    z_y_given_real = max(0.0, float(v_y - s_yy / (num_generated - 2)))
    given_real = 4.0 * z_y_given_real / num_generated + 2.0 * s_yy / pairs_y
    return Discrepancy(
        value=real.mean + generated.mean - 2.0 * across.mean,
        standard_error=float(np.sqrt(max(0.0, variance))),
        standard_error_given_real=float(np.sqrt(max(0.0, given_real))),
    )

"""Kernel Inception Distance, the quality corner."""

import numpy as np

from metrics.base import Evaluation, check_features, without_dead_features

TILE = 1024  # rows and columns of the kernel matrix that are computed at once


def polynomial_kernel(left: np.ndarray, right: np.ndarray, num_features: int) -> np.ndarray:
    """k(x, y) = (x . y / d + 1)^3 for all pairs of rows (Binkowski et al. 2018, eq. 4).

    Args:
        left: float64 `(N, D)`.
        right: float64 `(M, D)`.
        num_features: d, which counts features that were left out because they are zero.

    Returns:
        float64 `(N, M)`.
    """
    kernel = left @ right.T
    kernel /= num_features
    kernel += 1.0
    cube = np.square(kernel)  # many times faster than ** 3
    cube *= kernel
    return cube


def draw_subsets(
    *, num_real: int, num_generated: int, num_subsets: int, subset_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the subsets, in the order in which torch-fidelity draws them.

    Returns:
        Two integer arrays `(num_subsets, subset_size)`, for the real and the generated rows.
    """
    generator = np.random.RandomState(seed)
    real, generated = [], []
    for _ in range(num_subsets):
        real.append(generator.choice(num_real, subset_size, replace=False))
        generated.append(generator.choice(num_generated, subset_size, replace=False))
    return np.stack(real), np.stack(generated)


def _indicators(rows: np.ndarray, num_rows: int) -> np.ndarray:
    """0/1 matrix `(num_rows, num_subsets)`: which row belongs to which subset."""
    indicators = np.zeros((num_rows, len(rows)))
    np.put_along_axis(indicators, rows.T, 1.0, axis=0)
    return indicators


def sums_by_full_matrix(
    left: np.ndarray,
    right: np.ndarray,
    left_rows: np.ndarray,
    right_rows: np.ndarray,
    num_features: int,
) -> np.ndarray:
    """Kernel sums m^T K m' of all subsets, every entry of K computed once, tile by tile."""
    within = left is right  # K is symmetric then, and only one side of its diagonal is computed
    left_members = _indicators(left_rows, len(left))
    right_members = _indicators(right_rows, len(right))
    sums = np.zeros(len(left_rows))
    for top in range(0, len(left), TILE):
        rows = slice(top, top + TILE)
        for start in range(top if within else 0, len(right), TILE):
            columns = slice(start, start + TILE)
            kernel = polynomial_kernel(left[rows], right[columns], num_features)
            if within and start == top:
                np.fill_diagonal(kernel, 0.0)
            products = np.einsum("ns,ns->s", left_members[rows], kernel @ right_members[columns])
            sums += 2.0 * products if within and start > top else products
    return sums


def sums_by_subset(
    left: np.ndarray,
    right: np.ndarray,
    left_rows: np.ndarray,
    right_rows: np.ndarray,
    num_features: int,
) -> np.ndarray:
    """Kernel sums of all subsets, one small kernel matrix a subset."""
    within = left is right
    sums = np.empty(len(left_rows))
    for index, (i, j) in enumerate(zip(left_rows, right_rows, strict=True)):
        chosen = left[i]
        others = chosen if within else right[j]  # the same array: BLAS computes half the products
        kernel = polynomial_kernel(chosen, others, num_features)
        sums[index] = kernel.sum() - (np.trace(kernel) if within else 0.0)
    return sums


def subset_kernel_sums(
    left: np.ndarray,
    right: np.ndarray,
    left_rows: np.ndarray,
    right_rows: np.ndarray,
    num_features: int,
) -> np.ndarray:
    """Sum of k(x, y) over the rows of each pair of subsets, in the way that needs fewer products.

    Args:
        left: float64 `(N, D)`.
        right: float64 `(M, D)`; the same array as `left` for the sums within one set, which leave
            out k(x, x).
        left_rows: integers `(num_subsets, subset_size)`, rows of `left`.
        right_rows: integers `(num_subsets, subset_size)`, rows of `right`.
        num_features: d of the kernel.

    Returns:
        float64 `(num_subsets,)`.
    """
    overlapping = len(left) * len(right) <= left_rows.size * right_rows.shape[1]
    method = sums_by_full_matrix if overlapping else sums_by_subset
    return method(left, right, left_rows, right_rows, num_features)


def kid(
    *,
    real_features: np.ndarray,
    generated_features: np.ndarray,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Kernel Inception Distance (Binkowski et al. 2018), the unbiased estimate.

    Squared maximum mean discrepancy under the polynomial kernel of degree 3, gamma 1/d, coef0 1.
    The U-statistic leaves the diagonal out, so small negative values are valid. All sums are
    float64. Subsets are drawn without replacement as torch-fidelity draws them.

    Args:
        real_features: `(N, D)`.
        generated_features: `(M, D)`.
        num_subsets: number of subsets, 1 or more.
        subset_size: rows of a subset, from 2 to the smaller of N and M.
        seed: seed of the draws; 2020 is torch-fidelity's.

    Returns:
        Mean and (population) standard deviation over the subsets.

    Raises:
        ValueError: if there are fewer rows than `subset_size`, or an option is out of range.
    """
    check_features(real_features=real_features, generated_features=generated_features)
    num_real, num_generated = len(real_features), len(generated_features)
    if num_subsets < 1 or subset_size < 2:
        raise ValueError(
            "KID needs num_subsets >= 1 and subset_size >= 2. "
            f"Received: num_subsets={num_subsets}, subset_size={subset_size}"
        )
    if min(num_real, num_generated) < subset_size:
        raise ValueError(
            f"KID needs at least subset_size={subset_size} real and generated samples. "
            f"Received: {num_real} real and {num_generated} generated"
        )
    num_features = np.shape(real_features)[1]
    real, generated = without_dead_features(real_features, generated_features)
    real = np.asarray(real, dtype=np.float64)
    generated = np.asarray(generated, dtype=np.float64)
    real_rows, generated_rows = draw_subsets(
        num_real=num_real,
        num_generated=num_generated,
        num_subsets=num_subsets,
        subset_size=subset_size,
        seed=seed,
    )
    # Binkowski et al. 2018, section 4: the two within terms without x = y, the cross term with all.
    within_real = subset_kernel_sums(real, real, real_rows, real_rows, num_features)
    within_generated = subset_kernel_sums(
        generated, generated, generated_rows, generated_rows, num_features
    )
    cross = subset_kernel_sums(real, generated, real_rows, generated_rows, num_features)
    values = (within_real + within_generated) / (subset_size * (subset_size - 1))
    values -= 2.0 * cross / subset_size**2
    return float(values.mean()), float(values.std())


class KID:
    """KID of the samples in one feature space.

    Args:
        encoder: name of the encoder; `None` means the run's encoder, `"digits"` the classifier.
        prefix: the numbers are called `{prefix}_mean` and `{prefix}_std`.
        num_subsets: number of subsets.
        subset_size: images of a subset.
        seed: seed of the subsets. Fixed, not the run's: the subset plan is part of the protocol.
    """

    requires_sampler = False

    def __init__(
        self,
        *,
        encoder: str | None = None,
        prefix: str = "kid",
        num_subsets: int = 100,
        subset_size: int = 1000,
        seed: int = 2020,
    ):
        self.encoder = encoder
        self.prefix = prefix
        self.num_subsets = num_subsets
        self.subset_size = subset_size
        self.seed = seed

    @property
    def minimum_samples(self) -> int:
        return self.subset_size

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        real, generated = evaluation.features(self.encoder)
        plan = {
            "num_subsets": self.num_subsets,
            "subset_size": self.subset_size,
            "seed": self.seed,
        }
        mean, std = kid(real_features=real, generated_features=generated, **plan)
        evaluation.details[self.prefix] = {**evaluation.describe_features(self.encoder), **plan}
        return {f"{self.prefix}_mean": mean, f"{self.prefix}_std": std}

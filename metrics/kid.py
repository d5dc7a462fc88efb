"""Kernel Inception Distance, the quality corner."""

import numpy as np

from metrics.base import Evaluation, check_features

ROWS_PER_CHUNK = 1024


def polynomial_kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """k(x, y) = (x . y / d + 1)^3 for all pairs of rows (Binkowski et al. 2018, eq. 4).

    Args:
        left: float64 `(N, D)`.
        right: float64 `(M, D)`.

    Returns:
        float64 `(N, M)`.
    """
    kernel = left @ right.T
    kernel /= left.shape[1]
    kernel += 1.0
    return kernel * kernel * kernel  # many times faster than ** 3


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
    left: np.ndarray, right: np.ndarray, left_rows: np.ndarray, right_rows: np.ndarray
) -> np.ndarray:
    """Kernel sums m^T K m' of all subsets, every entry of K computed once, in chunks of rows."""
    left_members = _indicators(left_rows, len(left))
    right_members = _indicators(right_rows, len(right))
    sums = np.zeros(len(left_rows))
    for start in range(0, len(left), ROWS_PER_CHUNK):
        chunk = slice(start, start + ROWS_PER_CHUNK)
        products = polynomial_kernel(left[chunk], right) @ right_members
        sums += np.einsum("ns,ns->s", left_members[chunk], products)
    return sums


def sums_by_subset(
    left: np.ndarray, right: np.ndarray, left_rows: np.ndarray, right_rows: np.ndarray
) -> np.ndarray:
    """Kernel sums of all subsets, one small kernel matrix a subset."""
    return np.array(
        [
            polynomial_kernel(left[i], right[j]).sum()
            for i, j in zip(left_rows, right_rows, strict=True)
        ]
    )


def subset_kernel_sums(
    left: np.ndarray, right: np.ndarray, left_rows: np.ndarray, right_rows: np.ndarray
) -> np.ndarray:
    """Sum of k(x, y) over the rows of each pair of subsets, in the way that needs fewer products.

    Args:
        left: float64 `(N, D)`.
        right: float64 `(M, D)`.
        left_rows: integers `(num_subsets, subset_size)`, rows of `left`.
        right_rows: integers `(num_subsets, subset_size)`, rows of `right`.

    Returns:
        float64 `(num_subsets,)`.
    """
    overlapping = len(left) * len(right) <= left_rows.size * right_rows.shape[1]
    method = sums_by_full_matrix if overlapping else sums_by_subset
    return method(left, right, left_rows, right_rows)


def _diagonal_sums(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sum of k(x, x) over the rows of each subset."""
    squares = np.einsum("nd,nd->n", features, features) / features.shape[1]
    return ((squares + 1.0) ** 3)[rows].sum(axis=1)


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
    real = np.asarray(real_features, dtype=np.float64)
    generated = np.asarray(generated_features, dtype=np.float64)
    real_rows, generated_rows = draw_subsets(
        num_real=num_real,
        num_generated=num_generated,
        num_subsets=num_subsets,
        subset_size=subset_size,
        seed=seed,
    )
    # Binkowski et al. 2018, section 4: the two within terms without x = y, the cross term with all.
    within_real = subset_kernel_sums(real, real, real_rows, real_rows)
    within_real -= _diagonal_sums(real, real_rows)
    within_generated = subset_kernel_sums(generated, generated, generated_rows, generated_rows)
    within_generated -= _diagonal_sums(generated, generated_rows)
    cross = subset_kernel_sums(real, generated, real_rows, generated_rows)
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
        encoder = evaluation.encoder(self.encoder)
        real, generated = evaluation.features(self.encoder)
        plan = {
            "num_subsets": self.num_subsets,
            "subset_size": self.subset_size,
            "seed": self.seed,
        }
        mean, std = kid(real_features=real, generated_features=generated, **plan)
        evaluation.details[self.prefix] = {
            "encoder": encoder.label,
            "weights_hash": encoder.weights_hash,
            "num_real": len(real),
            "num_generated": len(generated),
            **plan,
        }
        return {f"{self.prefix}_mean": mean, f"{self.prefix}_std": std}

"""Kernel Inception Distance, the quality corner."""

import hashlib

import numpy as np

from metrics.base import Evaluation, check_features, without_dead_features
from metrics.mmd import (
    KERNELS,
    MINIMUM_ROWS,
    Kernel,
    PolynomialKernel,
    SumsWithin,
    live_features,
    squared_mmd,
    sums_within,
)

TILE = 1024  # rows and columns of the kernel matrix that are computed at once


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


def _product_sums(left: np.ndarray, kernel: np.ndarray, right: np.ndarray) -> np.ndarray:
    """m^T K m' of each pair of columns m of `left` and m' of `right`."""
    return np.einsum("ns,ns->s", left, kernel @ right)


def sums_within_by_full_matrix(
    features: np.ndarray, rows: np.ndarray, kernel: Kernel
) -> np.ndarray:
    """m^T K m of all subsets without the diagonal of K, one side of which is computed."""
    members, sums = _indicators(rows, len(features)), np.zeros(len(rows))
    for top in range(0, len(features), TILE):
        tile = slice(top, top + TILE)
        values = kernel(features[tile], features[tile])
        np.fill_diagonal(values, 0.0)
        sums += _product_sums(members[tile], values, members[tile])
        for start in range(top + TILE, len(features), TILE):
            other = slice(start, start + TILE)
            values = kernel(features[tile], features[other])
            sums += 2.0 * _product_sums(members[tile], values, members[other])
    return sums


def sums_across_by_full_matrix(
    left: np.ndarray,
    right: np.ndarray,
    left_rows: np.ndarray,
    right_rows: np.ndarray,
    kernel: Kernel,
) -> np.ndarray:
    """m^T K m' of all pairs of subsets, every entry of K computed once, tile by tile."""
    left_members = _indicators(left_rows, len(left))
    right_members = _indicators(right_rows, len(right))
    sums = np.zeros(len(left_rows))
    for top in range(0, len(left), TILE):
        rows = slice(top, top + TILE)
        for start in range(0, len(right), TILE):
            columns = slice(start, start + TILE)
            values = kernel(left[rows], right[columns])
            sums += _product_sums(left_members[rows], values, right_members[columns])
    return sums


def sums_within_by_subset(features: np.ndarray, rows: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Kernel sums of all subsets without the diagonal, one small kernel matrix a subset."""
    sums = np.empty(len(rows))
    for index, chosen in enumerate(rows):
        subset = features[chosen]
        values = kernel(subset, subset)
        sums[index] = values.sum() - np.trace(values)
    return sums


def sums_across_by_subset(
    left: np.ndarray,
    right: np.ndarray,
    left_rows: np.ndarray,
    right_rows: np.ndarray,
    kernel: Kernel,
) -> np.ndarray:
    """Kernel sums of all pairs of subsets, one small kernel matrix a pair."""
    pairs = zip(left_rows, right_rows, strict=True)
    return np.array([kernel(left[i], right[j]).sum() for i, j in pairs])


def subset_sums_within(features: np.ndarray, rows: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Sum of k(x, x') over the pairs of different rows of each subset.

    Args:
        features: float64 `(N, D)`.
        rows: integers `(num_subsets, subset_size)`, rows of `features`.
        kernel: the kernel.

    Returns:
        float64 `(num_subsets,)`, computed in the way that needs fewer products.
    """
    overlapping = len(features) ** 2 <= rows.size * rows.shape[1]
    method = sums_within_by_full_matrix if overlapping else sums_within_by_subset
    return method(features, rows, kernel)


def subset_sums_across(
    left: np.ndarray,
    right: np.ndarray,
    left_rows: np.ndarray,
    right_rows: np.ndarray,
    kernel: Kernel,
) -> np.ndarray:
    """Sum of k(x, y) over the rows of each pair of subsets, as `subset_sums_within`."""
    overlapping = len(left) * len(right) <= left_rows.size * right_rows.shape[1]
    method = sums_across_by_full_matrix if overlapping else sums_across_by_subset
    return method(left, right, left_rows, right_rows, kernel)


def _subset_values(
    real_features: np.ndarray,
    generated_features: np.ndarray,
    kernel: Kernel,
    *,
    num_subsets: int,
    subset_size: int,
    seed: int,
    within_real: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The unbiased estimate from each pair of subsets, float64 `(num_subsets,)`.

    The second array is `within_real`, the sums within the real subsets: where they are known from
    another call of the same plan and numbers of rows, they need not be computed again.
    """
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
    real_rows, generated_rows = draw_subsets(
        num_real=num_real,
        num_generated=num_generated,
        num_subsets=num_subsets,
        subset_size=subset_size,
        seed=seed,
    )
    # Binkowski et al. 2018, section 4: the two within terms without x = y, the cross term with all.
    if within_real is None:
        within_real = subset_sums_within(live_features(real_features), real_rows, kernel)
    within = subset_sums_within(live_features(generated_features), generated_rows, kernel)
    real, generated = (
        np.asarray(features, dtype=np.float64)
        for features in without_dead_features(real_features, generated_features)
    )
    across = subset_sums_across(real, generated, real_rows, generated_rows, kernel)
    values = (within_real + within) / (subset_size * (subset_size - 1))
    return values - 2.0 * across / subset_size**2, within_real


def kid(
    *,
    real_features: np.ndarray,
    generated_features: np.ndarray,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Kernel Inception Distance (Binkowski et al. 2018) by torch-fidelity's protocol of subsets.

    Squared maximum mean discrepancy under the polynomial kernel of degree 3, gamma 1/d, coef0 1.
    The U-statistic leaves the diagonal out, so small negative values are valid. All sums are
    float64. Subsets are drawn without replacement as torch-fidelity draws them. Their spread is
    no error of the mean: they overlap, and where they are the whole set it is zero.
    `metrics.mmd.squared_mmd` takes all samples at once and knows its standard error.

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
    values, _ = _subset_values(
        real_features,
        generated_features,
        PolynomialKernel(np.shape(real_features)[1]),
        num_subsets=num_subsets,
        subset_size=subset_size,
        seed=seed,
    )
    return float(values.mean()), float(values.std())


class KID:
    """KID of all samples against the large reference, in one feature space.

    One U-statistic of all samples and all reference images, with its standard error over draws of
    both (see `metrics.mmd.squared_mmd`). The subsets of torch-fidelity, drawn from the same two
    sets, stay beside it in the details.

    Args:
        encoder: name of the encoder; `None` means the run's encoder, `"digits"` the classifier.
        prefix: the numbers are called `{prefix}_mean`, the estimate; `{prefix}_se`, its standard
            error; and `{prefix}_std`, the spread over the subsets, which is no error of it.
        kernel: `"polynomial"`, KID's own, or `"rbf"`, whose bandwidth is the median distance of
            the reference features.
        num_subsets: number of subsets; `None` leaves them out.
        subset_size: images of a subset; `None` leaves the subsets out, too.
        seed: seed of the subsets. Fixed, not the run's: the subset plan is part of the protocol.
    """

    requires_sampler = False

    def __init__(
        self,
        *,
        encoder: str | None = None,
        prefix: str = "kid",
        kernel: str = "polynomial",
        num_subsets: int | None = 100,
        subset_size: int | None = 1000,
        seed: int = 2020,
    ):
        if kernel not in KERNELS:
            raise ValueError(
                f"`kernel` must be one of {', '.join(KERNELS)}. Received: kernel={kernel}"
            )
        self.encoder = encoder
        self.prefix = prefix
        self.kernel = kernel
        self.plan: dict[str, int] = {}
        if num_subsets is not None and subset_size is not None:
            self.plan = {"num_subsets": num_subsets, "subset_size": subset_size, "seed": seed}
        self._reference = ""  # hash of the features whose sums these are
        self._within_reference: SumsWithin | None = None
        self._subsets_within_reference: dict[int, np.ndarray] = {}  # by number of samples

    @property
    def minimum_samples(self) -> int:
        return max(MINIMUM_ROWS, self.plan.get("subset_size", 0))

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        reference = evaluation.reference_features(self.encoder)
        generated = evaluation.features_of("generated", self.encoder)
        kernel = KERNELS[self.kernel](reference)
        self._remember(reference)
        if self._within_reference is None:
            self._within_reference = sums_within(reference, kernel)
        found = squared_mmd(
            real_features=reference,
            generated_features=generated,
            kernel=kernel,
            within_real=self._within_reference,
        )
        details = {
            **evaluation.describe_features(self.encoder, roles=("reference", "generated")),
            **kernel.describe(),
            "se_given_reference": found.standard_error_given_real,
        }
        numbers = {f"{self.prefix}_mean": found.value, f"{self.prefix}_se": found.standard_error}
        if self.plan:
            mean, std = self._over_subsets(reference, generated, kernel)
            numbers[f"{self.prefix}_std"] = std
            details["subsets"] = {"mean": mean, "std": std, **self.plan}
        evaluation.details[self.prefix] = details
        return numbers

    def _over_subsets(self, reference, generated, kernel: Kernel) -> tuple[float, float]:
        values, within_reference = _subset_values(
            reference,
            generated,
            kernel,
            within_real=self._subsets_within_reference.get(len(generated)),
            **self.plan,
        )
        self._subsets_within_reference[len(generated)] = within_reference
        return float(values.mean()), float(values.std())

    def _remember(self, reference: np.ndarray) -> None:
        """Forgets the sums within another reference; most of a row's work would be in them."""
        content = hashlib.sha256(f"{reference.shape} {reference.dtype}".encode())
        content.update(np.ascontiguousarray(reference).tobytes())
        if content.hexdigest() != self._reference:
            self._reference = content.hexdigest()
            self._within_reference = None
            self._subsets_within_reference = {}

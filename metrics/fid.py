"""Fréchet distance of two sets of features, beside KID because reports ask for it."""

import numpy as np

from metrics.base import Evaluation, check_features, without_dead_features


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R `(K, D)` with R^T R = the unbiased covariance of `features` `(N, D)`."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    if len(features) <= features.shape[1]:
        return centred
    eigenvalues, eigenvectors = np.linalg.eigh(centred.T @ centred)
    return np.sqrt(np.maximum(eigenvalues, 0.0))[:, None] * eigenvectors.T


def fid(*, real_features: np.ndarray, generated_features: np.ndarray) -> float:
    """Fréchet Inception Distance (Heusel et al. 2017, eq. 6).

    |m_r - m_g|^2 + tr(C_r + C_g - 2 (C_r C_g)^(1/2)) with unbiased covariances, in float64. With
    C_r = A^T A and C_g = B^T B the last trace is the sum of the singular values of A B^T, which
    needs no square root of a matrix that is singular whenever N <= D.

    The estimate is biased upwards by an amount that depends on both numbers of rows, and most on
    the smaller one: compare distances of equal numbers only.

    Args:
        real_features: `(R, D)`, R >= 2.
        generated_features: `(N, D)`, N >= 2.

    Returns:
        The distance, 0 or more up to rounding.

    Raises:
        ValueError: if there are fewer than two rows on either side.
    """
    check_features(real_features=real_features, generated_features=generated_features)
    if min(len(real_features), len(generated_features)) < 2:
        raise ValueError(
            "FID needs at least 2 real and generated samples. "
            f"Received: {len(real_features)} real and {len(generated_features)} generated"
        )
    real, generated = (
        np.asarray(features, dtype=np.float64)
        for features in without_dead_features(real_features, generated_features)
    )
    return _distance(real.mean(axis=0), _covariance_root(real), generated)


def _distance(real_mean: np.ndarray, real_root: np.ndarray, generated: np.ndarray) -> float:
    generated_root = _covariance_root(generated)
    difference = real_mean - generated.mean(axis=0)
    shared = np.linalg.svd(real_root @ generated_root.T, compute_uv=False).sum()
    return float(
        difference @ difference + np.sum(real_root**2) + np.sum(generated_root**2) - 2.0 * shared
    )


def fid_standard_error(
    *, real_features: np.ndarray, generated_features: np.ndarray, num_groups: int = 20
) -> float:
    """Standard error of `fid` over draws of the samples, beside the same reference.

    The delete-a-group jackknife (Efron and Stein 1981): each of G groups of samples is left out in
    turn, and the error is sqrt((G - 1) / G times the sum of squared differences to their mean).
    The bias of the distance, which all of them share, is no part of it. Samples that repeat each
    other are not independent: their error is larger than stated.

    Args:
        real_features: `(R, D)`, R >= 2.
        generated_features: `(N, D)`, in no particular order, N >= 2 G.
        num_groups: G, 2 or more.

    Returns:
        The standard error.

    Raises:
        ValueError: if there are too few rows.
    """
    check_features(real_features=real_features, generated_features=generated_features)
    if num_groups < 2 or len(generated_features) < 2 * num_groups or len(real_features) < 2:
        raise ValueError(
            "the jackknife needs num_groups >= 2, two samples a group and two real ones. Received: "
            f"num_groups={num_groups}, {len(real_features)} real and "
            f"{len(generated_features)} generated"
        )
    real, generated = (
        np.asarray(features, dtype=np.float64)
        for features in without_dead_features(real_features, generated_features)
    )
    real_mean, real_root = real.mean(axis=0), _covariance_root(real)
    groups = np.arange(len(generated)) % num_groups
    distances = [
        _distance(real_mean, real_root, generated[groups != group]) for group in range(num_groups)
    ]
    return float(np.std(distances) * np.sqrt(num_groups - 1))


class FID:
    """Fréchet distance of the samples to the large reference, in one feature space.

    Args:
        encoder: name of the encoder; `None` means the run's encoder, `"digits"` the classifier.
        prefix: what the number is called; its standard error is `{prefix}_se`.
        num_groups: groups of the jackknife for the standard error; `None` leaves it out, as it
            takes as many times as long as the distance. Fewer than two samples a group have none.
    """

    requires_sampler = False
    minimum_samples = 2

    def __init__(
        self, *, encoder: str | None = None, prefix: str = "fid", num_groups: int | None = 20
    ):
        self.encoder = encoder
        self.prefix = prefix
        self.num_groups = num_groups

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        reference = evaluation.reference_features(self.encoder)
        generated = evaluation.features_of("generated", self.encoder)
        evaluation.details[self.prefix] = {
            **evaluation.describe_features(self.encoder, roles=("reference", "generated")),
            "num_groups": self.num_groups,
        }
        sets = {"real_features": reference, "generated_features": generated}
        numbers = {self.prefix: fid(**sets)}
        if self.num_groups is not None and len(generated) >= 2 * self.num_groups:
            error = fid_standard_error(**sets, num_groups=self.num_groups)
            numbers[f"{self.prefix}_se"] = error
        return numbers

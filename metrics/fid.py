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
    real_root, generated_root = _covariance_root(real), _covariance_root(generated)
    difference = real.mean(axis=0) - generated.mean(axis=0)
    shared = np.linalg.svd(real_root @ generated_root.T, compute_uv=False).sum()
    return float(
        difference @ difference + np.sum(real_root**2) + np.sum(generated_root**2) - 2.0 * shared
    )


class FID:
    """Fréchet distance of the samples to the large reference, in one feature space.

    Args:
        encoder: name of the encoder; `None` means the run's encoder, `"digits"` the classifier.
        prefix: what the number is called.
    """

    requires_sampler = False
    minimum_samples = 2
    inputs = ("reference_images", "generated_images", "encoder")

    def __init__(self, *, encoder: str | None = None, prefix: str = "fid"):
        self.encoder = encoder
        self.prefix = prefix

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        reference = evaluation.reference_features(self.encoder)
        generated = evaluation.features_of("generated", self.encoder)
        evaluation.details[self.prefix] = evaluation.describe_features(
            self.encoder, roles=("reference", "generated")
        )
        return {self.prefix: fid(real_features=reference, generated_features=generated)}

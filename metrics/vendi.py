"""Vendi score: how many different images the samples amount to, in a feature space."""

import numpy as np

from metrics.base import Evaluation


def vendi(*, features: np.ndarray) -> float:
    """Vendi score (Friedman and Dieng 2023, eq. 1) under the cosine kernel.

    exp of the entropy of the eigenvalues of K / n, where K holds the cosine similarities of the n
    images. There is no real image in it: compare it with the score of as many real ones.

    Args:
        features: `(N, D)`, no row all zero.

    Returns:
        From 1, all images alike, to N, all images orthogonal.

    Raises:
        ValueError: if `features` is not a finite matrix, is empty, or has a row of zeros.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise ValueError(f"`features` must be finite and (N, D). Received: shape {rows.shape}")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(
            "`features` must have no row of zeros, which has no cosine. "
            f"Received: {np.sum(norms == 0)} of {len(rows)} rows"
        )
    rows = rows / norms
    # K = F F^T and F^T F have the same eigenvalues above zero; the smaller one is quicker.
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    eigenvalues = np.linalg.eigvalsh(gram / len(rows))
    eigenvalues = eigenvalues[eigenvalues > 0]
    return float(np.exp(-np.sum(eigenvalues * np.log(eigenvalues))))


class Vendi:
    """Vendi score of the samples in one feature space.

    Args:
        encoder: name of the encoder; `None` means the run's encoder, `"digits"` the classifier.
    """

    requires_sampler = False
    inputs = ("real_images", "generated_images", "encoder")
    minimum_samples = 1

    def __init__(self, *, encoder: str | None = None):
        self.encoder = encoder

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        real, generated = evaluation.features(self.encoder)
        evaluation.details["vendi"] = {
            **evaluation.describe_features(self.encoder),
            "vendi_of_reference": vendi(features=real),
        }
        return {"vendi": vendi(features=generated)}

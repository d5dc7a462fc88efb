"""The metrics as their papers define them, without a thought of speed: to be compared with."""

import contextlib
import io

import numpy as np

from metrics.kid import draw_subsets


def plain_kid(
    real: np.ndarray, generated: np.ndarray, *, num_subsets: int, subset_size: int
) -> tuple[float, float]:
    """KID (Binkowski et al. 2018), one subset after the other; arguments as `metrics.kid.kid`."""
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    real_rows, generated_rows = draw_subsets(
        num_real=len(real),
        num_generated=len(generated),
        num_subsets=num_subsets,
        subset_size=subset_size,
        seed=2020,
    )

    def kernel(left, right):
        return (left @ right.T / left.shape[1] + 1.0) ** 3

    def within(features):
        values = kernel(features, features)
        return (values.sum() - np.trace(values)) / (subset_size * (subset_size - 1))

    values = [
        within(real[i]) + within(generated[j]) - 2.0 * kernel(real[i], generated[j]).mean()
        for i, j in zip(real_rows, generated_rows, strict=True)
    ]
    return float(np.mean(values)), float(np.std(values))


def torch_fidelity_kid(
    real: np.ndarray, generated: np.ndarray, *, num_subsets: int, subset_size: int
) -> tuple[float, float]:
    """The same by the package torch-fidelity, in the precision of the features."""
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(generated),
        kid_subsets=num_subsets,
        kid_subset_size=subset_size,
        kid_degree=3,
        kid_gamma=None,
        kid_coef0=1,
        rng_seed=2020,
        verbose=False,
    )
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]


def plain_prdc(real: np.ndarray, generated: np.ndarray, *, nearest_k: int) -> dict[str, float]:
    """Precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020)."""
    real, generated = real.astype(np.float64), generated.astype(np.float64)

    def distances(left, right):
        squares = np.sum(left**2, axis=1)[:, None] + np.sum(right**2, axis=1)[None]
        return np.sqrt(np.maximum(squares - 2.0 * left @ right.T, 0.0))

    def radii(features):
        between = distances(features, features)
        np.fill_diagonal(between, 0.0)
        return np.sort(between, axis=1)[:, nearest_k]

    across = distances(real, generated)
    in_real_ball = across < radii(real)[:, None]
    return {
        "precision": float(in_real_ball.any(axis=0).mean()),
        "recall": float((across < radii(generated)).any(axis=1).mean()),
        "density": float(in_real_ball.sum(axis=0).mean() / nearest_k),
        "coverage": float(in_real_ball.any(axis=1).mean()),
    }


def authors_prdc(real: np.ndarray, generated: np.ndarray, *, nearest_k: int) -> dict[str, float]:
    """The same by the package prdc, of Naeem et al. themselves."""
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        return {
            key: float(value) for key, value in compute_prdc(real, generated, nearest_k).items()
        }

"""Precision, recall, density and coverage in a feature space."""

from collections.abc import Iterator

import numpy as np

from metrics.base import Evaluation, check_features, without_dead_features

TILE = (1024, 4096)  # rows and columns of the distance matrix that are in memory at once


def squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs of rows, float64 `(N, M)`, never below zero."""
    left, right = (np.asarray(features, dtype=np.float64) for features in (left, right))
    distances = left @ right.T
    distances *= -2.0
    distances += np.einsum("nd,nd->n", left, left)[:, None]
    distances += np.einsum("nd,nd->n", right, right)[None, :]
    return np.maximum(distances, 0.0, out=distances)


def distance_tiles(
    left: np.ndarray, right: np.ndarray
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared distances of all pairs of rows, tile by tile, so that memory stays flat.

    Args:
        left: `(N, D)`.
        right: `(M, D)`.

    Yields:
        Rows of `left`, rows of `right` and the float64 distances of these; all tiles of the same
        rows of `left` in a sequence.
    """
    height, width = TILE
    for top in range(0, len(left), height):
        rows = slice(top, min(top + height, len(left)))
        for start in range(0, len(right), width):
            columns = slice(start, min(start + width, len(right)))
            yield rows, columns, squared_distances(left[rows], right[columns])


def squared_radii(features: np.ndarray, nearest_k: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row.

    Args:
        features: `(N, D)`, with N > `nearest_k`.
        nearest_k: which neighbour, the row itself not counted.

    Returns:
        float64 `(N,)`.
    """
    nearest = np.full((len(features), nearest_k), np.inf)
    for rows, columns, distances in distance_tiles(features, features):
        own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        distances[own - rows.start, own - columns.start] = np.inf  # not its own neighbour
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        nearest[rows] = np.partition(candidates, nearest_k - 1, axis=1)[:, :nearest_k]
    return nearest.max(axis=1)


def prdc(
    *, real_features: np.ndarray, generated_features: np.ndarray, nearest_k: int = 5
) -> dict[str, float]:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A ball around each row reaches to its k-th nearest neighbour within its own set; a point lies
    inside when its distance is strictly (`<`) smaller, as in Naeem et al.'s own code.

    Args:
        real_features: `(N, D)`.
        generated_features: `(M, D)`.
        nearest_k: k, from 1 to one less than the smaller of N and M.

    Returns:
        `precision`: share of generated points inside any real ball (their eq. 1);
        `recall`: share of real points inside any generated ball (eq. 2);
        `density`: mean number of real balls around a generated point, divided by k (eq. 4); it may
        exceed 1; `coverage`: share of real balls that hold a generated point (eq. 5).

    Raises:
        ValueError: if there are no more than `nearest_k` rows on either side.
    """
    check_features(real_features=real_features, generated_features=generated_features)
    num_real, num_generated = len(real_features), len(generated_features)
    if nearest_k < 1 or min(num_real, num_generated) <= nearest_k:
        raise ValueError(
            f"`nearest_k` must be at least 1 and less than the number of samples. Received: "
            f"nearest_k={nearest_k}, {num_real} real and {num_generated} generated samples"
        )
    real, generated = without_dead_features(real_features, generated_features)
    real_radii = squared_radii(real, nearest_k)
    generated_radii = squared_radii(generated, nearest_k)
    num_balls = np.zeros(num_generated, dtype=np.int64)
    recalled = np.zeros(num_real, dtype=bool)
    covered = np.zeros(num_real, dtype=bool)
    for rows, columns, distances in distance_tiles(real, generated):
        in_real_ball = distances < real_radii[rows, None]
        num_balls[columns] += in_real_ball.sum(axis=0)
        covered[rows] |= in_real_ball.any(axis=1)
        recalled[rows] |= (distances < generated_radii[None, columns]).any(axis=1)
    return {
        "precision": float((num_balls > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(num_balls.mean() / nearest_k),
        "coverage": float(covered.mean()),
    }


class PRDC:
    """Precision, recall, density and coverage of the samples.

    Args:
        encoder: name of the encoder; `None` means the run's encoder, `"digits"` the classifier.
        nearest_k: which neighbour sets the radius of a ball.
    """

    requires_sampler = False

    def __init__(self, *, encoder: str | None = None, nearest_k: int = 5):
        self.encoder = encoder
        self.nearest_k = nearest_k

    @property
    def minimum_samples(self) -> int:
        return self.nearest_k + 1

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        encoder = evaluation.encoder(self.encoder)
        real, generated = evaluation.features(self.encoder)
        evaluation.details["prdc"] = {
            "encoder": encoder.label,
            "weights_hash": encoder.weights_hash,
            "num_real": len(real),
            "num_generated": len(generated),
            "nearest_k": self.nearest_k,
        }
        return prdc(real_features=real, generated_features=generated, nearest_k=self.nearest_k)

"""Precision, recall, density and coverage in a feature space."""

import numpy as np

from metrics.base import Evaluation, check_features, without_dead_features
from metrics.distances import distance_tiles, squared_radii


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
        `precision`: fraction of generated points inside any real ball (their eq. 1);
        `recall`: fraction of real points inside any generated ball (eq. 2);
        `density`: mean number of real balls around a generated point, divided by k (eq. 4); it may
        exceed 1; `coverage`: fraction of real balls that hold a generated point (eq. 5).

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
    """Precision, recall, density and coverage of the samples in one feature space.

    They have no interval. Each is a fraction of points inside balls whose centres and radii are
    drawn too, and which overlap: for that a binomial interval is too narrow.

    Args:
        encoder: name of the encoder; `None` means the run's encoder, `"digits"` the classifier.
        suffix: what is put behind the names of the numbers, as in `precision_digits`.
        nearest_k: which neighbour sets the radius of a ball, 1 or more.

    Raises:
        ValueError: if `nearest_k` is less than 1.
    """

    requires_sampler = False

    def __init__(self, *, encoder: str | None = None, suffix: str = "", nearest_k: int = 5):
        if nearest_k < 1:
            raise ValueError(f"`nearest_k` must be at least 1. Received: nearest_k={nearest_k}")
        self.encoder = encoder
        self.suffix = suffix
        self.nearest_k = nearest_k

    @property
    def minimum_samples(self) -> int:
        return self.nearest_k + 1

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        real, generated = evaluation.features(self.encoder)
        evaluation.details[f"prdc{self.suffix}"] = {
            **evaluation.describe_features(self.encoder),
            "nearest_k": self.nearest_k,
        }
        fractions = prdc(real_features=real, generated_features=generated, nearest_k=self.nearest_k)
        return {f"{name}{self.suffix}": fraction for name, fraction in fractions.items()}

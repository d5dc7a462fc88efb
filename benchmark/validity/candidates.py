"""The numbers that may become the headline quality, each measured by the suite's own metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.coverage import mode_coverage


@dataclass(frozen=True)
class Candidate:
    """A number that a set of images can be judged by.

    Attributes:
        column: What it is called in `trilemma.csv`, or would be.
        title: What it is called in a table.
        higher_is_better: Its direction.
        requires_classifier: Whether it rests on the classifier of a labelled dataset.
    """

    column: str
    title: str
    higher_is_better: bool = False
    requires_classifier: bool = False


CANDIDATES = (
    Candidate("kid_mean", "KID"),
    Candidate("kid_rbf_mean", "KID, RBF"),
    Candidate("fid", "FID"),
    Candidate("precision", "precision", higher_is_better=True),
    Candidate("density", "density", higher_is_better=True),
    Candidate("kid_digits_mean", "classifier KID", requires_classifier=True),
    Candidate("kid_digits_rbf_mean", "classifier KID, RBF", requires_classifier=True),
    Candidate("fid_digits", "classifier FID", requires_classifier=True),
    Candidate("precision_digits", "classifier precision", True, requires_classifier=True),
    Candidate("density_digits", "classifier density", True, requires_classifier=True),
    Candidate("rejected_fraction", "rejected", requires_classifier=True),
)
ENCODER_COLUMNS = {  # and their names in `Space.numbers`
    "kid_mean": "polynomial",
    "kid_mean_error": "polynomial_error",
    "kid_rbf_mean": "rbf",
    "kid_rbf_mean_error": "rbf_error",
    "fid": "fid",
    **{name: name for name in ("precision", "density", "coverage", "recall")},
}
CLASSIFIER_COLUMNS = {
    "kid_digits_mean": "polynomial",
    "kid_digits_mean_error": "polynomial_error",
    "kid_digits_rbf_mean": "rbf",
    "kid_digits_rbf_mean_error": "rbf_error",
    "fid_digits": "fid",
    "fid_digits_error": "fid_error",
    "precision_digits": "precision",
    "density_digits": "density",
}
COMPANIONS = (  # no candidates: they are there for what a quality number need not see
    Candidate("coverage", "coverage", higher_is_better=True),
    Candidate("recall", "recall", higher_is_better=True),
    Candidate("mode_kl", "mode KL", requires_classifier=True),
)


@dataclass(frozen=True)
class Judged:
    """A set of images as the classifier sees it.

    Attributes:
        features: float32 `(N, D)`.
        classes: Integers `(N,)`, the most probable class.
        confidences: `(N,)`, how probable it is.
    """

    features: np.ndarray
    classes: np.ndarray
    confidences: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Judged":
        """The images of some rows."""
        return Judged(self.features[rows], self.classes[rows], self.confidences[rows])


def join(parts: Sequence[Judged]) -> Judged:
    """Several parts as one set."""
    return Judged(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.confidences for part in parts]),
    )


def classifier_numbers(judged: Judged, class_fractions: np.ndarray) -> dict[str, float]:
    """What the classifier's decisions say of a set of images, by column.

    Args:
        judged: The set.
        class_fractions: `(K,)`, fractions of the classes in the training split.
    """
    modes = mode_coverage(
        generated_classes=judged.classes,
        confidences=judged.confidences,
        real_fractions=class_fractions,
    )
    return {name: modes[name] for name in ("rejected_fraction", "mode_kl")}

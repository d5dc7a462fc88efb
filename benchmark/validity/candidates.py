"""The numbers that may become the headline quality, each measured by the suite's own metric."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from metrics.base import without_dead_features
from metrics.coverage import mode_coverage
from metrics.fid import fid
from metrics.mmd import KERNELS, squared_mmd, sums_within
from metrics.prdc import prdc


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
    Candidate("kid_digits_mean", "digit KID", requires_classifier=True),
    Candidate("kid_digits_rbf_mean", "digit KID, RBF", requires_classifier=True),
    Candidate("fid_digits", "digit FID", requires_classifier=True),
    Candidate("precision_digits", "digit precision", True, requires_classifier=True),
    Candidate("density_digits", "digit density", True, requires_classifier=True),
    Candidate("rejected_share", "rejected", requires_classifier=True),
)
INCEPTION_COLUMNS = {
    "kid_mean": "polynomial",
    "kid_mean_error": "polynomial_error",
    "kid_rbf_mean": "rbf",
    "kid_rbf_mean_error": "rbf_error",
    "fid": "fid",
    **{name: name for name in ("precision", "density", "coverage", "recall")},
}
DIGIT_COLUMNS = {
    "kid_digits_mean": "polynomial",
    "kid_digits_mean_error": "polynomial_error",
    "kid_digits_rbf_mean": "rbf",
    "kid_digits_rbf_mean_error": "rbf_error",
    "fid_digits": "fid",
    "precision_digits": "precision",
    "density_digits": "density",
}
COMPANIONS = ("coverage", "recall", "mode_kl")  # they see what quality numbers need not see


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


@dataclass(frozen=True)
class Encoded:
    """A set of images as the instruments see it.

    Attributes:
        features: float32 `(N, D)`, the encoder's.
        judged: What the classifier sees; `None` without one.
    """

    features: np.ndarray
    judged: Judged | None = None


def choose_rows(parts: Sequence[tuple[Encoded, np.ndarray]]) -> Encoded:
    """One set of the chosen rows of several."""

    def chosen(arrays: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate([array[rows] for array, (_, rows) in zip(arrays, parts, strict=True)])

    features = chosen(encoded.features for encoded, _ in parts)
    judged = [encoded.judged for encoded, _ in parts if encoded.judged is not None]
    if not judged:
        return Encoded(features)
    return Encoded(
        features,
        Judged(
            chosen(part.features for part in judged),
            chosen(part.classes for part in judged),
            chosen(part.confidences for part in judged),
        ),
    )


class Space:
    """The real images of one feature space, and what is computed of them once.

    Args:
        large: `(R, D)`, the large reference in random order.
    """

    def __init__(self, large: np.ndarray) -> None:
        self.large = large
        self.kernels = {name: build(large) for name, build in KERNELS.items()}
        self.sums = {name: sums_within(large, kernel) for name, kernel in self.kernels.items()}

    def numbers(self, features: np.ndarray, num_real: int) -> dict[str, float]:
        """The numbers of a set of images in this space.

        Args:
            features: `(N, D)`.
            num_real: Reference images for precision and density, as many as a run has samples;
                distances between distributions take them all.
        """
        numbers = prdc(real_features=self.large[:num_real], generated_features=features)
        large, alive = without_dead_features(self.large, features)
        numbers["fid"] = fid(real_features=large, generated_features=alive)
        for name, kernel in self.kernels.items():
            found = squared_mmd(
                real_features=self.large,
                generated_features=features,
                kernel=kernel,
                within_real=self.sums[name],
            )
            numbers[name] = found.value
            numbers[f"{name}_error"] = found.standard_error_given_real
        return numbers


@dataclass(frozen=True)
class Reference:
    """What sets are compared with.

    Attributes:
        inception: The real images in the encoder's space.
        digits: The same in the classifier's; `None` without one.
        class_shares: `(K,)`, shares of the classes in the training split; empty without one.
    """

    inception: Space
    digits: Space | None = None
    class_shares: np.ndarray = field(default_factory=lambda: np.empty(0))


def measure(encoded: Encoded, reference: Reference, num_real: int) -> dict[str, float]:
    """All numbers of one set of images, by column.

    Args:
        encoded: The set.
        reference: The real images.
        num_real: How many of them serve precision and density.

    Returns:
        The candidates and the `COMPANIONS`; and under `{column}_error` the standard error that a
        kernel distance states of itself, for draws of the images beside the same reference.
    """
    found = reference.inception.numbers(encoded.features, num_real)
    measured = {column: found[name] for column, name in INCEPTION_COLUMNS.items()}
    if encoded.judged is None or reference.digits is None:
        return measured
    found = reference.digits.numbers(encoded.judged.features, num_real)
    measured |= {column: found[name] for column, name in DIGIT_COLUMNS.items()}
    modes = mode_coverage(
        generated_classes=encoded.judged.classes,
        confidences=encoded.judged.confidences,
        real_shares=reference.class_shares,
    )
    return {**measured, **{name: modes[name] for name in ("rejected_share", "mode_kl")}}

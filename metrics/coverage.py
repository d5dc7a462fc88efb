"""Mode coverage, the diversity corner: which classes a sampler makes, and in which proportions."""

import functools
import math
from typing import Any

import numpy as np

from metrics.base import Evaluation, NotMeasured
from metrics.class_fractions import (
    correct_fractions,
    describe_correction,
    expected_corrected_kl,
)
from metrics.intervals import wilson_interval


def kl_divergence(*, generated_fractions: np.ndarray, reference_fractions: np.ndarray) -> float:
    """KL(generated || reference) in nats; infinite if a class is generated that it lacks.

    Args:
        generated_fractions: `(K,)`, sums to one.
        reference_fractions: `(K,)`, sums to one.
    """
    present = generated_fractions > 0
    if np.any(reference_fractions[present] == 0):
        return math.inf
    ratios = generated_fractions[present] / reference_fractions[present]
    return float(np.sum(generated_fractions[present] * np.log(ratios)))


def expected_kl(
    *, true_fractions: np.ndarray, reference_fractions: np.ndarray, num_samples: int
) -> float:
    """What KL(generated || reference) a perfect sampler gets on average from so many samples.

    Exact: n_c, the samples of class c among N, is binomial, so
    E[KL] = sum_c E[n_c / N log(n_c / N)] - sum_c p_c log q_c. It is near KL(p || q) + (K - 1) / 2N
    where every class is expected often (Miller 1955).

    Args:
        true_fractions: `(K,)`, p, the fractions that a perfect sampler draws from, sums to one.
        reference_fractions: `(K,)`, q, the fractions that are compared with, sums to one.
        num_samples: N, 1 or more.

    Returns:
        Nats.
    """
    present = true_fractions > 0
    if np.any(reference_fractions[present] == 0):
        return math.inf
    values, repeats = np.unique(true_fractions[present], return_counts=True)
    negative_entropy = np.sum(repeats * _expected_entropy_terms(values, num_samples))
    return float(
        negative_entropy - np.sum(true_fractions[present] * np.log(reference_fractions[present]))
    )


def _expected_entropy_terms(fractions: np.ndarray, num_samples: int) -> np.ndarray:
    """E[n / N log(n / N)] of a binomial n for each fraction in (0, 1]."""
    counts = np.arange(1, num_samples + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(counts))])
    log_choices = log_factorials[-1] - log_factorials - log_factorials[::-1]
    terms = counts / num_samples * np.log(counts / num_samples)
    expectations = np.zeros(len(fractions))  # of a fraction of 1: n = N always
    for index, fraction in enumerate(fractions):
        if fraction < 1.0:
            log_probabilities = (
                log_choices[1:]
                + counts * math.log(fraction)
                + (num_samples - counts) * math.log1p(-fraction)
            )
            expectations[index] = np.sum(np.exp(log_probabilities) * terms)
    return expectations


def expected_modes(*, true_fractions: np.ndarray, num_samples: int) -> float:
    """How many classes a perfect sampler hits at least once, on average, with so many samples."""
    return float(np.sum(1.0 - (1.0 - true_fractions) ** num_samples))


def mode_coverage(
    *,
    generated_classes: np.ndarray,
    confidences: np.ndarray,
    real_fractions: np.ndarray,
    minimum_confidence: float = 0.9,
    minimum_fraction: float = 0.1,
    confusion: np.ndarray | None = None,
) -> dict[str, float]:
    """Modes covered, divergence of the class histogram and fraction of unrecognisable samples.

    A class is covered when its fraction among the samples that the classifier is sure of is at
    least `minimum_fraction` of its fraction among real images (with `minimum_fraction=0`: when
    there is one such sample).

    The divergence is taken over the most probable class of *all* samples, sure or not, as is the
    field's custom (Metz et al. 2017; Lin et al. 2018). Sureness differs between classes even on
    real images, so a histogram of sure samples alone would blame a perfect sampler for the
    classifier's taste; what is unrecognisable shows in `rejected_fraction` instead.

    With a `confusion` matrix, the histogram is first corrected for the classifier's mistakes, and
    the floor is that of corrected fractions, which is higher; `modes_covered` stays as it is.

    Args:
        generated_classes: integers `(N,)`, the most probable class of each sample.
        confidences: `(N,)` in [0, 1], its probability.
        real_fractions: `(K,)`, the classes' fractions among real images, sums to one.
        minimum_confidence: from here on the classifier is sure (`>=`).
        minimum_fraction: a class is covered from this part of its real fraction on (`>=`).
        confusion: integers `(K, K)`, test images by true class (row) and prediction (column);
            `None` leaves the fractions as they are counted.

    Returns:
        `modes_covered`, `num_modes` (classes that real images have), `mode_kl` and `mode_kl_floor`
        (that of a perfect sampler at the same N) in nats, `fractions_corrected` (1 or 0),
        `rejected_fraction` (samples the classifier is not sure of) with its 95 % interval
        `rejected_fraction_low` and `rejected_fraction_high`, and `confident_fraction`.

    Raises:
        ValueError: if there are no samples or the arguments do not fit together.
    """
    _check_samples(generated_classes, confidences, real_fractions)
    num_classes = len(real_fractions)
    sure = np.asarray(confidences) >= minimum_confidence
    sure_counts = np.bincount(generated_classes[sure], minlength=num_classes)
    sure_fractions = sure_counts / max(1, sure.sum())
    covered = (
        (real_fractions > 0)
        & (sure_counts > 0)
        & (sure_fractions >= minimum_fraction * real_fractions)
    )
    all_counts = np.bincount(generated_classes, minlength=num_classes)
    generated_fractions, floor = _fractions_and_floor(all_counts, real_fractions, confusion)
    return {
        "modes_covered": float(covered.sum()),
        "num_modes": float((real_fractions > 0).sum()),
        "mode_kl": kl_divergence(
            generated_fractions=generated_fractions, reference_fractions=real_fractions
        ),
        "mode_kl_floor": floor,
        "fractions_corrected": float(confusion is not None),
        **_rejected_fractions(sure),
    }


def _fractions_and_floor(
    counts: np.ndarray, real_fractions: np.ndarray, confusion: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """The samples' class fractions, and what divergence a perfect sampler has on average."""
    num_samples = int(counts.sum())
    if confusion is None:
        same = {"true_fractions": real_fractions, "reference_fractions": real_fractions}
        return counts / num_samples, expected_kl(**same, num_samples=num_samples)
    floor = expected_corrected_kl(
        real_fractions=real_fractions, confusion=confusion, num_samples=num_samples
    )
    return correct_fractions(counts=counts, confusion=confusion), floor


def _rejected_fractions(sure: np.ndarray) -> dict[str, float]:
    num_rejected = int(np.sum(~sure))
    low, high = wilson_interval(num_rejected, len(sure))
    return {
        "rejected_fraction": num_rejected / len(sure),
        "rejected_fraction_low": low,
        "rejected_fraction_high": high,
        "confident_fraction": float(sure.mean()),
    }


def stacked_mode_coverage(
    *,
    generated_classes: np.ndarray,
    confidences: np.ndarray,
    real_fractions: np.ndarray,
    minimum_confidence: float = 0.9,
) -> dict[str, float]:
    """Mode coverage by the rule of Stacked MNIST (Metz et al. 2017; Lin et al. 2018).

    One sample covers a class, whether the classifier is sure of it or not. The divergence is taken
    from the uniform distribution over classes, which the real images do not have: the floor is what
    a perfect sampler of the *real* fractions gets.

    Args:
        generated_classes: integers `(N,)`, the most probable class of each sample.
        confidences: `(N,)` in [0, 1], the product of the confidences of its channels.
        real_fractions: `(K,)`, the classes' fractions among real images, sums to one.
        minimum_confidence: from here on the classifier is sure (`>=`).

    Returns:
        As `mode_coverage`; `num_modes` is K.

    Raises:
        ValueError: if there are no samples or the arguments do not fit together.
    """
    _check_samples(generated_classes, confidences, real_fractions)
    num_samples, num_classes = len(generated_classes), len(real_fractions)
    counts = np.bincount(generated_classes, minlength=num_classes)
    equal_fractions = np.full(num_classes, 1.0 / num_classes)
    return {
        "modes_covered": float(np.sum(counts > 0)),
        "num_modes": float(num_classes),
        "mode_kl": kl_divergence(
            generated_fractions=counts / num_samples, reference_fractions=equal_fractions
        ),
        "mode_kl_floor": expected_kl(
            true_fractions=real_fractions,
            reference_fractions=equal_fractions,
            num_samples=num_samples,
        ),
        "fractions_corrected": 0.0,
        **_rejected_fractions(np.asarray(confidences) >= minimum_confidence),
    }


def conditional_accuracy(*, generated_classes: np.ndarray, generated_labels: np.ndarray) -> float:
    """Fraction of the samples that show the class they were asked for, sure or not.

    A perfect sampler scores the classifier's test accuracy.

    Args:
        generated_classes: integers `(N,)`, the most probable class of each sample.
        generated_labels: integers `(N,)`, the class that each sample was asked to show.

    Raises:
        ValueError: if there are no samples or the arguments do not fit together.
    """
    if not len(generated_classes) or np.shape(generated_classes) != np.shape(generated_labels):
        raise ValueError(
            "`generated_classes` and `generated_labels` must be (N,) with N >= 1. "
            f"Received: {np.shape(generated_classes)} and {np.shape(generated_labels)}"
        )
    return float(np.mean(generated_classes == generated_labels))


def _check_samples(
    classes: np.ndarray, confidences: np.ndarray, real_fractions: np.ndarray
) -> None:
    if not len(classes) or np.shape(confidences) != np.shape(classes):
        raise ValueError(
            "`generated_classes` and `confidences` must be (N,) with N >= 1. "
            f"Received: {np.shape(classes)} and {np.shape(confidences)}"
        )
    if not math.isclose(np.sum(real_fractions), 1.0, rel_tol=1e-6):
        raise ValueError(f"`real_fractions` must sum to 1. Received: sum={np.sum(real_fractions)}")


def class_counts(labels: np.ndarray, *, num_classes: int, channels: int = 1) -> np.ndarray:
    """How many images each class has; of stacked images, how many can be stacked.

    Args:
        labels: integers `(L,)`; for `channels` above 1, those of the images that are stacked.
        num_classes: number of different labels, K.
        channels: images in a stack, each drawn independently.

    Returns:
        Integers `(K ** channels,)` that sum to `L ** channels`, the first channel leading.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return functools.reduce(np.multiply.outer, [counts] * channels).ravel()


def predict_modes(
    *, classifier: Any, images: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Most probable class of each image, and how probable it is.

    A classifier of grey images judges colour images one channel at a time, as stacked MNIST is
    judged (Metz et al. 2017): with K classes a channel, the class is the number whose digits in
    base K are the channels' classes, the first channel leading; the confidence is the product.

    Args:
        classifier: a `ModeClassifier`.
        images: uint8 `(N, H, W, C)`.
        num_classes: number of classes of the dataset: K, or K ** C.

    Returns:
        Integers `(N,)` and confidences `(N,)`.

    Raises:
        ValueError: if classifier, images and `num_classes` do not fit together.
    """
    channels = images.shape[-1] // classifier.image_shape[-1]
    if classifier.num_classes**channels != num_classes:
        raise ValueError(
            f"expected {classifier.num_classes} classes for each of {channels} channel groups, "
            f"{classifier.num_classes**channels} in all. Received: num_classes={num_classes}"
        )
    classes = np.zeros(len(images), dtype=np.int64)
    confidences = np.ones(len(images))
    for part in np.split(images, channels, axis=-1):
        probabilities = classifier.predict_probabilities(part)
        classes = classes * classifier.num_classes + probabilities.argmax(axis=1)
        confidences *= probabilities.max(axis=1)
    return classes, confidences


class ModeCoverage:
    """Mode coverage of the samples, judged by a classifier.

    Stacked images are judged by the rule of Stacked MNIST, `stacked_mode_coverage`.

    Args:
        minimum_accuracy: a classifier below this test accuracy is not believed.
        corrected_below: below this test accuracy the class fractions are corrected by the
            classifier's confusion matrix; those of stacked images cannot be, and are not measured
            then.
        minimum_confidence: from here on the classifier is sure of a sample.
        minimum_fraction: a class is covered from this part of its real fraction on; 0: one sample.
    """

    requires_sampler = False
    minimum_samples = 1

    def __init__(
        self,
        *,
        minimum_accuracy: float = 0.8,
        corrected_below: float = 0.992,
        minimum_confidence: float = 0.9,
        minimum_fraction: float = 0.1,
    ):
        for name in (
            "minimum_accuracy",
            "corrected_below",
            "minimum_confidence",
            "minimum_fraction",
        ):
            if not 0.0 <= locals()[name] <= 1.0:
                raise ValueError(f"`{name}` must be in [0, 1]. Received: {locals()[name]}")
        self.minimum_accuracy = minimum_accuracy
        self.corrected_below = corrected_below
        self.minimum_confidence = minimum_confidence
        self.minimum_fraction = minimum_fraction

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        classifier = self._believed_classifier(evaluation)
        labels, num_classes = evaluation.real_labels, evaluation.num_classes
        if labels is None or num_classes is None:
            raise NotMeasured("mode coverage needs labels, which the dataset has not")
        classes, confidences = predict_modes(
            classifier=classifier,
            images=evaluation.generated_images,
            num_classes=num_classes,
        )
        real_counts = class_counts(
            labels,
            num_classes=classifier.num_classes,
            channels=evaluation.generated_images.shape[-1] if evaluation.stacked else 1,
        )
        judged: dict[str, Any] = {
            "generated_classes": classes,
            "confidences": confidences,
            "real_fractions": real_counts / real_counts.sum(),
            "minimum_confidence": self.minimum_confidence,
        }
        sure = classes[confidences >= self.minimum_confidence]
        details = evaluation.details["mode_coverage"] = {
            "generated_histogram": np.bincount(classes, minlength=num_classes).tolist(),
            "confident_histogram": np.bincount(sure, minlength=num_classes).tolist(),
            "real_histogram": real_counts.tolist(),
            "class_names": list(evaluation.class_names),
            "classifier": classifier.label,
            "minimum_confidence": self.minimum_confidence,
        }
        if evaluation.stacked:
            numbers = stacked_mode_coverage(**judged)
            details["expected_modes"] = expected_modes(
                true_fractions=judged["real_fractions"], num_samples=len(classes)
            )
        else:
            confusion = None
            if classifier.test_accuracy < self.corrected_below:
                confusion = classifier.confusion
                details |= describe_correction(classes, confusion)
            numbers = mode_coverage(
                **judged, minimum_fraction=self.minimum_fraction, confusion=confusion
            )
        if evaluation.generated_labels is not None:
            numbers["conditional_accuracy"] = conditional_accuracy(
                generated_classes=classes, generated_labels=evaluation.generated_labels
            )
        return {**numbers, "classifier_accuracy": float(classifier.test_accuracy)}

    def _believed_classifier(self, evaluation: Evaluation) -> Any:
        classifier = evaluation.classifier
        if classifier is None:
            raise NotMeasured("mode coverage needs a classifier, and there is none")
        minimum = self.minimum_accuracy
        if evaluation.stacked:
            minimum = max(minimum, self.corrected_below)
        if classifier.test_accuracy < minimum:
            raise NotMeasured(
                f"the classifier is right on {classifier.test_accuracy:.2%} of the test images; "
                f"mode coverage is believed from {minimum:.2%} on"
            )
        return classifier

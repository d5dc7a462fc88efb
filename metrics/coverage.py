"""Mode coverage, the diversity corner: which classes a sampler makes, and in which proportions."""

import math
from typing import Any

import numpy as np

from metrics.base import Evaluation, NotMeasured


def kl_divergence(*, generated_shares: np.ndarray, real_shares: np.ndarray) -> float:
    """KL(generated || real) in nats; infinite if a class is generated that real images lack.

    Args:
        generated_shares: `(K,)`, sums to one.
        real_shares: `(K,)`, sums to one.
    """
    present = generated_shares > 0
    if np.any(real_shares[present] == 0):
        return math.inf
    ratios = generated_shares[present] / real_shares[present]
    return float(np.sum(generated_shares[present] * np.log(ratios)))


def expected_kl(*, shares: np.ndarray, num_samples: int) -> float:
    """What KL(generated || real) a perfect sampler gets on average, for want of more samples.

    Exact: n_c, the samples of class c among N, is binomial, so
    E[KL] = sum_c E[n_c / N log(n_c / N)] - sum_c p_c log p_c. It is near (K - 1) / 2N where every
    class is expected often (Miller 1955).

    Args:
        shares: `(K,)`, the true shares, sums to one.
        num_samples: N, 1 or more.

    Returns:
        Nats.
    """
    counts = np.arange(1, num_samples + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(counts))])
    log_choices = log_factorials[-1] - log_factorials - log_factorials[::-1]
    terms = counts / num_samples * np.log(counts / num_samples)
    values, repeats = np.unique(shares[shares > 0], return_counts=True)
    total = 0.0
    for share, repeat in zip(values, repeats, strict=True):
        if share == 1.0:
            continue  # never another class: both sums are zero
        log_probabilities = (
            log_choices[1:] + counts * math.log(share) + (num_samples - counts) * math.log1p(-share)
        )
        expectation = np.sum(np.exp(log_probabilities) * terms)
        total += repeat * (expectation - share * math.log(share))
    return float(total)


def mode_coverage(
    *,
    generated_classes: np.ndarray,
    confidences: np.ndarray,
    real_shares: np.ndarray,
    minimum_confidence: float = 0.9,
    minimum_share: float = 0.1,
) -> dict[str, float]:
    """Modes covered, divergence of the class histogram and share of unrecognisable samples.

    A class is covered when its share among the samples that the classifier is sure of is at least
    `minimum_share` of its real share (with `minimum_share=0`: when one such sample is there).

    The divergence is taken over the most probable class of *all* samples, sure or not, as is the
    field's custom (Metz et al. 2017; Lin et al. 2018). Sureness differs between classes even on
    real images, so a histogram of sure samples alone would blame a perfect sampler for the
    classifier's taste; what is unrecognisable shows in `rejected_share` instead.

    Args:
        generated_classes: integers `(N,)`, the most probable class of each sample.
        confidences: `(N,)` in [0, 1], its probability.
        real_shares: `(K,)`, the classes' shares among real images, sums to one.
        minimum_confidence: from here on the classifier is sure (`>=`).
        minimum_share: part of the real share that makes a class covered (`>=`).

    Returns:
        `modes_covered`, `num_modes` (classes that real images have), `mode_kl` and `mode_kl_floor`
        (that of a perfect sampler at the same N) in nats, `rejected_share` (samples the classifier
        is not sure of) and `confident_share`.

    Raises:
        ValueError: if there are no samples or the arguments do not fit together.
    """
    num_samples, num_classes = len(generated_classes), len(real_shares)
    if not num_samples or np.shape(confidences) != np.shape(generated_classes):
        raise ValueError(
            "`generated_classes` and `confidences` must be (N,) with N >= 1. "
            f"Received: {np.shape(generated_classes)} and {np.shape(confidences)}"
        )
    if not math.isclose(np.sum(real_shares), 1.0, rel_tol=1e-6):
        raise ValueError(f"`real_shares` must sum to 1. Received: sum={np.sum(real_shares)}")
    sure = np.asarray(confidences) >= minimum_confidence
    sure_counts = np.bincount(generated_classes[sure], minlength=num_classes)
    sure_shares = sure_counts / max(1, sure.sum())
    covered = (real_shares > 0) & (sure_counts > 0) & (sure_shares >= minimum_share * real_shares)
    all_counts = np.bincount(generated_classes, minlength=num_classes)
    return {
        "modes_covered": float(covered.sum()),
        "num_modes": float((real_shares > 0).sum()),
        "mode_kl": kl_divergence(
            generated_shares=all_counts / num_samples, real_shares=real_shares
        ),
        "mode_kl_floor": expected_kl(shares=real_shares, num_samples=num_samples),
        "rejected_share": float(1.0 - sure.mean()),
        "confident_share": float(sure.mean()),
    }


def predict_modes(
    *, classifier: Any, images: np.ndarray, num_classes: int, progress=None
) -> tuple[np.ndarray, np.ndarray]:
    """Most probable class of each image, and how probable it is.

    A classifier of grey images judges colour images one channel at a time, as stacked MNIST is
    judged (Metz et al. 2017): with K classes a channel, the class is the number whose digits in
    base K are the channels' classes, the first channel leading; the confidence is the product.

    Args:
        classifier: a `ModeClassifier`.
        images: uint8 `(N, H, W, C)`.
        num_classes: number of classes of the dataset: K, or K ** C.
        progress: called with (images done, images in all).

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
        probabilities = classifier.predict_probabilities(part, progress)
        classes = classes * classifier.num_classes + probabilities.argmax(axis=1)
        confidences *= probabilities.max(axis=1)
    return classes, confidences


class ModeCoverage:
    """Mode coverage of the samples, judged by a classifier.

    Args:
        minimum_accuracy: a classifier below this test accuracy is not believed.
        minimum_confidence: from here on the classifier is sure of a sample.
        minimum_share: part of its real share at which a class counts as covered; 0: one sample.
        uniform_reference: compare with equal shares instead of the real labels' shares.
    """

    requires_sampler = False
    minimum_samples = 1

    def __init__(
        self,
        *,
        minimum_accuracy: float = 0.992,
        minimum_confidence: float = 0.9,
        minimum_share: float = 0.1,
        uniform_reference: bool = False,
    ):
        for name in ("minimum_accuracy", "minimum_confidence", "minimum_share"):
            if not 0.0 <= locals()[name] <= 1.0:
                raise ValueError(f"`{name}` must be in [0, 1]. Received: {locals()[name]}")
        self.minimum_accuracy = minimum_accuracy
        self.minimum_confidence = minimum_confidence
        self.minimum_share = minimum_share
        self.uniform_reference = uniform_reference

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        classifier = self._believed_classifier(evaluation)
        labels, num_classes = evaluation.real_labels, evaluation.num_classes
        if labels is None or num_classes is None:
            raise NotMeasured("mode coverage needs labels, which the dataset has not")
        classes, confidences = predict_modes(
            classifier=classifier,
            images=evaluation.generated_images,
            num_classes=num_classes,
            progress=evaluation.progress,
        )
        real_histogram = np.bincount(labels, minlength=num_classes)
        shares = real_histogram / real_histogram.sum()
        if self.uniform_reference:
            shares = np.full(num_classes, 1.0 / num_classes)
        sure = classes[confidences >= self.minimum_confidence]
        evaluation.details["mode_coverage"] = {
            "generated_histogram": np.bincount(classes, minlength=num_classes).tolist(),
            "confident_histogram": np.bincount(sure, minlength=num_classes).tolist(),
            "real_histogram": real_histogram.tolist(),
            "class_names": list(evaluation.class_names),
            "classifier": classifier.label,
            "classifier_test_accuracy": classifier.test_accuracy,
            "uniform_reference": self.uniform_reference,
        }
        return mode_coverage(
            generated_classes=classes,
            confidences=confidences,
            real_shares=shares,
            minimum_confidence=self.minimum_confidence,
            minimum_share=self.minimum_share,
        )

    def _believed_classifier(self, evaluation: Evaluation) -> Any:
        classifier = evaluation.classifier
        if classifier is None:
            raise NotMeasured("mode coverage needs a classifier, and there is none")
        if classifier.test_accuracy < self.minimum_accuracy:
            raise NotMeasured(
                f"the classifier is right on {classifier.test_accuracy:.2%} of the test images; "
                f"mode coverage is believed from {self.minimum_accuracy:.2%} on"
            )
        return classifier

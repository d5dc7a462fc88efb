"""Calibration of a classifier's confidence: temperature scaling and its check."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

LOG_TEMPERATURES = (-3.0, 3.0)  # where the best one is looked for: 0.05 to 20
NUM_BINS = 15


def fit_temperature(*, logits: np.ndarray, labels: np.ndarray) -> float:
    """Temperature T that makes softmax(logits / T) most likely (Guo et al. 2017, section 4.2).

    Dividing all logits by one number changes no prediction, hence no accuracy.

    Args:
        logits: `(N, K)`.
        labels: integers `(N,)` from 0 to K - 1.

    Returns:
        T: above 1 where the classifier is too sure of itself, below 1 where it is too modest.
    """
    logits = np.asarray(logits, dtype=np.float64)
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    best = minimize_scalar(negative_log_likelihood, bounds=LOG_TEMPERATURES, method="bounded")
    return float(np.exp(best.x))


def calibration_error(
    *, probabilities: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS
) -> float:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    The mean distance between confidence and accuracy over equal bins of confidence, weighted by
    how many images fall into each.

    Args:
        probabilities: `(N, K)`, rows sum to one.
        labels: integers `(N,)` from 0 to K - 1.
        num_bins: bins of equal width over [0, 1].

    Returns:
        From 0, confidence is accuracy, to 1.
    """
    confidences = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidences * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=confidences - right, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def cross_fitted_probabilities(*, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities of each half of the images at the temperature of the other half.

    So their calibration error is that of images to which the temperature was not fitted.

    Args:
        logits: `(N, K)`.
        labels: integers `(N,)`, N of 2 or more.

    Returns:
        float64 `(N, K)`.
    """
    probabilities = np.empty(logits.shape)
    for half in (0, 1):
        other = slice(1 - half, None, 2)
        temperature = fit_temperature(logits=logits[other], labels=labels[other])
        probabilities[half::2] = softmax(
            np.asarray(logits[half::2], dtype=np.float64) / temperature, axis=1
        )
    return probabilities

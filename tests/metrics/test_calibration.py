import numpy as np
import pytest

from metrics.calibration import calibration_error, cross_fitted_probabilities, fit_temperature


def drawn_labels(logits, *, seed=0):
    """Labels drawn from softmax(logits): for these the logits are calibrated."""
    noise = np.random.default_rng(seed).gumbel(size=logits.shape)
    return (logits + noise).argmax(axis=1)


@pytest.fixture(scope="module")
def logits():
    return 2.0 * np.random.default_rng(1).normal(size=(20_000, 5))


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_by_which_logits_are_off_is_found(logits, temperature):
    found = fit_temperature(logits=temperature * logits, labels=drawn_labels(logits))
    assert found == pytest.approx(temperature, rel=0.03)


def test_calibration_error_by_hand():
    # Two bins of [0.5, 1]: 0.6 confident and half right, 0.9 confident and always right.
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.1, 0.9]])
    error = calibration_error(probabilities=probabilities, labels=np.array([0, 1, 1, 1]))
    assert error == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)


def test_full_confidence_falls_into_the_last_bin():
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert calibration_error(probabilities=certain, labels=np.array([0, 0])) == 0.0
    assert calibration_error(probabilities=certain, labels=np.array([0, 1])) == 0.5


def test_the_error_shows_overconfidence_and_the_temperature_mends_it(logits):
    labels = drawn_labels(logits)
    overconfident = calibration_error(probabilities=softmax(3.0 * logits), labels=labels)
    mended = cross_fitted_probabilities(logits=3.0 * logits, labels=labels)
    assert overconfident > 0.1
    assert calibration_error(probabilities=mended, labels=labels) < 0.015
    np.testing.assert_array_equal(mended.argmax(axis=1), logits.argmax(axis=1))


def test_each_half_is_scaled_by_the_other_half_s_temperature(logits):
    labels = drawn_labels(logits)
    mixed = logits.copy()
    mixed[1::2] *= 3.0  # the odd ones are three times too sure
    probabilities = cross_fitted_probabilities(logits=mixed, labels=labels)
    np.testing.assert_allclose(probabilities[::2], softmax(logits[::2] / 3.0), atol=0.02)
    np.testing.assert_allclose(probabilities[1::2], softmax(mixed[1::2]), atol=0.02)

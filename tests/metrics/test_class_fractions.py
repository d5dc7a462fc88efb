import numpy as np
import pytest

from metrics.class_fractions import (
    confusion_rates,
    correct_fractions,
    corrected_covariance,
    expected_corrected_kl,
)
from metrics.coverage import kl_divergence

NUM_CLASSES, NUM_SAMPLES = 10, 5000


def confused_rates():
    """A classifier that is right on 92 %; three classes are often taken for one another."""
    rates = np.full((NUM_CLASSES, NUM_CLASSES), 0.003)
    for one, other, rate in ((0, 6, 0.12), (2, 4, 0.07), (2, 6, 0.07), (4, 6, 0.06)):
        rates[one, other] = rates[other, one] = rate
    np.fill_diagonal(rates, 0.0)
    np.fill_diagonal(rates, 1.0 - rates.sum(axis=1))
    return rates


def confusion_of(rates, *, per_class=1000, generator=None):
    """A confusion matrix: expected counts, or drawn ones."""
    if generator is None:
        return np.rint(per_class * rates).astype(int)
    return np.stack([generator.multinomial(per_class, row) for row in rates])


UNEVEN = np.array([0.3, 0.02, 0.18, 0.05, 0.05, 0.1, 0.02, 0.08, 0.15, 0.05])


@pytest.mark.parametrize("fractions", [np.full(NUM_CLASSES, 0.1), UNEVEN])
def test_known_fractions_are_found_again_to_half_a_percentage_point(fractions):
    rates = confused_rates()
    counts = np.rint(1e6 * fractions @ rates)
    found = correct_fractions(counts=counts, confusion=confusion_of(rates))
    assert np.abs(found - fractions).max() < 0.005
    if fractions is UNEVEN:
        assert np.abs(counts / counts.sum() - fractions).max() > 0.02  # as counted they are off


def test_the_correction_of_counted_draws_is_unbiased():
    generator, rates = np.random.default_rng(0), confused_rates()
    found = [
        correct_fractions(
            counts=generator.multinomial(NUM_SAMPLES, UNEVEN @ rates), confusion=confusion_of(rates)
        )
        for _ in range(200)
    ]
    assert np.abs(np.mean(found, axis=0) - UNEVEN).max() < 0.002


def test_a_solution_within_the_simplex_is_the_adjusted_count():
    confusion = np.array([[900, 100], [300, 700]])
    counts = np.array([600, 400])
    rates = confusion_rates(confusion)
    expected = np.linalg.solve(rates.T, counts / 1000)
    np.testing.assert_allclose(
        correct_fractions(counts=counts, confusion=confusion), expected, atol=1e-8
    )


def test_no_fraction_is_negative_where_the_adjusted_count_is():
    confusion = np.array([[900, 100], [300, 700]])
    fractions = correct_fractions(counts=np.array([950, 50]), confusion=confusion)
    np.testing.assert_allclose(fractions, [1.0, 0.0], atol=1e-6)


def test_a_class_never_predicted_on_test_images_does_no_harm():
    fractions = correct_fractions(counts=np.array([5, 5]), confusion=np.array([[100, 0], [100, 0]]))
    assert np.isfinite(fractions).all() and fractions.sum() == pytest.approx(1.0)


def test_covariance_and_floor_agree_with_a_simulation():
    generator, rates = np.random.default_rng(0), confused_rates()
    fractions = np.full(NUM_CLASSES, 0.1)
    drawn = np.stack(
        [
            correct_fractions(
                counts=generator.multinomial(NUM_SAMPLES, fractions @ rates),
                confusion=confusion_of(rates, generator=generator),
            )
            for _ in range(400)
        ]
    )
    options = {"confusion": confusion_of(rates), "num_samples": NUM_SAMPLES}
    errors = np.sqrt(np.diag(corrected_covariance(fractions=fractions, **options)))
    np.testing.assert_allclose(drawn.std(axis=0), errors, rtol=0.15)
    divergences = [
        kl_divergence(generated_fractions=row, reference_fractions=fractions) for row in drawn
    ]
    floor = expected_corrected_kl(real_fractions=fractions, **options)
    assert floor == pytest.approx(np.mean(divergences), rel=0.1)
    assert floor > 1.4 * (NUM_CLASSES - 1) / (2 * NUM_SAMPLES)


def test_without_mistakes_the_floor_is_miller_s():
    floor = expected_corrected_kl(
        real_fractions=np.full(4, 0.25), confusion=10**9 * np.eye(4, dtype=int), num_samples=1000
    )
    assert floor == pytest.approx(3 / 2000, rel=1e-4)

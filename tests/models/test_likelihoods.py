import numpy as np
import pytest
from keras import ops
from scipy import stats

from models.likelihoods import build_likelihood

LEVELS = np.arange(256) / 255.0


def logit(probability):
    return np.log(probability / (1.0 - probability))


def losses(name, targets, probability, **options):
    """Of pixels of one channel whose mean is `probability`."""
    likelihood = build_likelihood(name, num_channels=1, **options)
    targets = np.asarray(targets, "float32").reshape(-1, 1, 1, 1)
    logits = np.full_like(targets, logit(probability))
    return np.ravel(likelihood.negative_log_likelihoods(targets, logits))


def test_bernoulli_is_the_cross_entropy():
    expected = -LEVELS * np.log(0.3) - (1.0 - LEVELS) * np.log(0.7)
    np.testing.assert_allclose(losses("bernoulli", LEVELS, 0.3), expected, rtol=1e-4)


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_gaussian_is_the_normal_density(std):
    expected = -stats.norm(0.3, std).logpdf(LEVELS)
    received = losses("gaussian", LEVELS, 0.3, pixel_std=std)
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mean", [0.001, 0.3, 0.999])
def test_discretized_logistic_masses_are_those_of_the_levels_and_sum_to_one(mean):
    """Differences of the distribution function half way between levels; SciPy's."""
    masses = np.exp(-losses("discretized_logistic", LEVELS, mean))
    edges = np.concatenate([[-np.inf], (LEVELS[:-1] + LEVELS[1:]) / 2.0, [np.inf]])
    expected = np.diff(stats.logistic(mean, 0.1).cdf(edges))
    np.testing.assert_allclose(masses, expected, rtol=2e-3)
    assert masses.sum() == pytest.approx(1.0, abs=1e-4)


def test_a_far_off_mean_has_a_finite_loss():
    likelihood = build_likelihood("discretized_logistic", num_channels=1)
    likelihood.log_spreads.assign([-8.0])
    targets = np.linspace(0.0, 1.0, 256, dtype="float32").reshape(-1, 1, 1, 1)
    for value in (-30.0, 30.0):
        found = likelihood.negative_log_likelihoods(targets, np.full_like(targets, value))
        assert np.isfinite(ops.convert_to_numpy(found)).all()


@pytest.mark.parametrize(
    ("name", "options", "trainable"),
    [
        ("bernoulli", {}, 0),
        ("gaussian", {}, 1),
        ("gaussian", {"pixel_std": 0.1}, 0),
        ("discretized_logistic", {}, 1),
    ],
)
def test_spreads_are_learned_where_none_is_given(name, options, trainable):
    likelihood = build_likelihood(name, num_channels=3, **options)
    assert len(likelihood.trainable_variables) == trainable
    assert all(variable.shape == (3,) for variable in likelihood.variables)


@pytest.mark.parametrize(
    ("name", "options", "distribution"),
    [
        ("bernoulli", {}, stats.bernoulli(0.4)),
        ("gaussian", {"pixel_std": 0.05}, stats.norm(0.4, 0.05)),
        ("discretized_logistic", {}, stats.logistic(0.4, 0.1)),
    ],
)
def test_samples_are_of_the_likelihood(name, options, distribution):
    likelihood = build_likelihood(name, num_channels=1, **options)
    noises = np.random.default_rng(0).standard_normal((40_000, 1, 1, 1)).astype("float32")
    logits = np.full_like(noises, logit(0.4))
    samples = ops.convert_to_numpy(likelihood.sample(logits, noises))
    assert samples.min() >= 0.0 and samples.max() <= 1.0
    assert np.median(samples) == pytest.approx(distribution.median(), abs=0.01)
    inside = ((samples > 0.3) & (samples < 0.5)).mean()
    assert inside == pytest.approx(distribution.cdf(0.5) - distribution.cdf(0.3), abs=0.01)


@pytest.mark.parametrize(
    ("name", "options", "received"),
    [
        ("poisson", {}, "likelihood='poisson'"),
        ("gaussian", {"pixel_std": 0.0}, "pixel_std=0.0"),
    ],
)
def test_wrong_options_are_refused(name, options, received):
    with pytest.raises(ValueError, match=received):
        build_likelihood(name, num_channels=1, **options)

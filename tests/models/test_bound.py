import math

import keras
import numpy as np
import pytest
from keras import ops

from models import bound as bounds
from models.bound import (
    VariationalBound,
    bound_of_images,
    discretized_gaussian_nll,
    gaussian_kl,
    log_variance_range,
)
from models.schedules import ContinuousCosineSchedule, DiscreteSchedule, LinearSchedule

SHAPE = (4, 4, 1)
LINEAR = LinearSchedule(num_timesteps=5, reference_timesteps=None, beta_end=0.5)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), dtype="uint8")


def build_bound(variance, prediction="image", clip=False, schedule=LINEAR):
    return VariationalBound(
        schedule=schedule,
        prediction=prediction,
        variance=variance,
        clip_predicted_images=clip,
    )


class Predictor(keras.Model):
    """Knows the image, but for an error, and says the same v everywhere."""

    def __init__(self, image, value=0.0, error=0.0):
        super().__init__()
        self.image = image / 127.5 - 1.0
        self.value = value
        self.error = error

    def call(self, inputs):
        predictions = ops.zeros_like(inputs[0]) + self.image + self.error
        return ops.concatenate([predictions, ops.full_like(predictions, self.value)], axis=-1)


def cdf(value):
    return 0.5 * (1.0 + math.erf(value / math.sqrt(2.0)))


def code_length(level, mean, std):
    """Minus the logarithm of the mass of a level of 0..255 (Ho et al. 2020, eq. 13), in nats."""
    centre = level / 127.5 - 1.0
    low = -np.inf if level == 0 else centre - 1.0 / 255.0
    high = np.inf if level == 255 else centre + 1.0 / 255.0
    return -math.log(cdf((high - mean) / std) - cdf((low - mean) / std))


def betas_and_posterior(schedule=LINEAR):
    """beta and beta tilde (eq. 7) in plain float64, the first beta tilde being the second."""
    previous = [1.0, *schedule.alpha_bars[:-1]]
    betas = [1.0 - now / before for now, before in zip(schedule.alpha_bars, previous, strict=True)]
    posterior = [
        beta * (1.0 - before) / (1.0 - now)
        for beta, now, before in zip(betas, schedule.alpha_bars, previous, strict=True)
    ]
    return np.array(betas), np.array([posterior[1], *posterior[1:]])


@pytest.mark.parametrize(("value", "index"), [(-1.0, 1), (1.0, 0)])
def test_learned_variances_reach_from_beta_tilde_to_beta(value, index):
    """Nichol and Dhariwal 2021, eq. 15, by hand, and as the fixed variances have it."""
    times, bound = np.arange(5), build_bound("learned")
    values = np.full((5, *SHAPE), value, "float32")
    variances = np.exp(ops.convert_to_numpy(bound.log_variances(values, times)))
    expected = betas_and_posterior()[index]
    np.testing.assert_allclose(variances[:, 0, 0, 0], expected, rtol=1e-6)
    fixed = build_bound("fixed_large" if value > 0 else "fixed_small")
    others = np.exp(ops.convert_to_numpy(fixed.log_variances(None, times)))[:, 0, 0, 0]
    start = 1 if value > 0 else 0  # beta of the first step would code images too coarsely
    np.testing.assert_array_equal(variances[start:, 0, 0, 0], others[start:])
    assert others[0] == pytest.approx(betas_and_posterior()[1][0], rel=1e-6)


def test_half_way_is_the_geometric_mean():
    smallest, largest = map(np.exp, log_variance_range(LINEAR))
    bound = build_bound("learned")
    middle = bound.log_variances(np.zeros((1, *SHAPE), "float32"), np.array([3]))
    expected = math.sqrt(smallest[3] * largest[3])
    assert float(np.exp(middle)[0, 0, 0, 0]) == pytest.approx(expected, rel=1e-6)


def test_a_single_step_has_but_beta():
    smallest, largest = log_variance_range(DiscreteSchedule([0.3]))
    assert smallest == largest == pytest.approx(math.log(0.7))


def test_the_divergence_of_gaussians():
    """0 of equal ones; KL(N(1, 1) || N(0, 4)) = log 2 + (1 + 1) / 8 - 1 / 2."""
    assert float(gaussian_kl(0.0, -3.0, -3.0)) == 0.0
    expected = math.log(2.0) + 2.0 / 8.0 - 0.5
    assert float(gaussian_kl(1.0, 0.0, math.log(4.0))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.0, 0.55, 1.0])
@pytest.mark.parametrize("std", [0.003, 0.05, 1.0])
def test_the_masses_of_all_levels_sum_to_1(mean, std):
    levels = np.arange(256)
    images = (levels / 127.5 - 1.0).reshape(1, 16, 16, 1).astype("float32")
    means, log_variance = np.full_like(images, mean), np.float32(2.0 * math.log(std))
    nats = ops.convert_to_numpy(discretized_gaussian_nll(images, means, log_variance)).ravel()
    assert np.exp(-nats.astype("float64")).sum() == pytest.approx(1.0, abs=1e-5)
    seen = nats < 9.0  # rarer levels have few digits in float32
    expected = [code_length(level, mean, std) for level in levels[seen]]
    np.testing.assert_allclose(nats[seen], expected, atol=2e-3)


def test_masses_that_vanish_count_as_the_least():
    image = np.ones((1, 1, 1, 1), "float32")
    nats = discretized_gaussian_nll(image, -image, np.float32(math.log(1e-6)))
    assert float(nats[0, 0, 0, 0]) == pytest.approx(-math.log(1e-12), rel=1e-6)


def prior_bits(image):
    """KL(q(x_T | x_0) || N(0, 1)) by hand."""
    alpha_bar = LINEAR.alpha_bars[-1]
    squares = alpha_bar * (image / 127.5 - 1.0) ** 2
    nats = 0.5 * (squares + (1.0 - alpha_bar) - math.log(1.0 - alpha_bar) - 1.0)
    return nats.mean() / math.log(2.0)


def code_bits(image, variance):
    mean_of = image / 127.5 - 1.0
    nats = [
        code_length(level, mean, math.sqrt(variance))
        for level, mean in zip(image.ravel(), mean_of.ravel(), strict=True)
    ]
    return np.mean(nats) / math.log(2.0)


@pytest.mark.parametrize(
    ("variance", "value"),
    [("fixed_small", 0.0), ("fixed_large", 0.0), ("learned", -1.0), ("learned", 1.0)],
)
def test_the_bound_of_a_data_set_of_one_image(variance, value):
    """A predictor that knows it pays the prior, the code, and for variances that are not q's."""
    image = IMAGES[:1]
    bits = bound_of_images(
        network=Predictor(image, value), bound=build_bound(variance), images=image
    )
    betas, posterior = betas_and_posterior()
    is_large = variance == "fixed_large" or value == 1.0
    ratios = posterior[1:] / betas[1:]
    divergences = 0.5 * (ratios - 1.0 - np.log(ratios)) / math.log(2.0)
    expected = prior_bits(image) + (divergences.sum() if is_large else 0.0)
    expected += code_bits(image, betas[0] if variance == "learned" and is_large else posterior[0])
    np.testing.assert_allclose(bits, [expected], rtol=1e-4)


def test_errors_of_the_prediction_cost_their_square():
    """By hand: w^2 error^2 / (2 beta tilde) a step, w as in eq. 7."""
    image, error = np.full((1, *SHAPE), 100, "uint8"), 0.02
    networks = [Predictor(image), Predictor(image, error=error)]
    bound = build_bound("fixed_small")
    right, wrong = (bound_of_images(network=each, bound=bound, images=image) for each in networks)
    betas, posterior = betas_and_posterior()
    previous = LINEAR.alpha_bars[:-1]
    weights = np.sqrt(previous) * betas[1:] / (1.0 - LINEAR.alpha_bars[1:])
    nats = (weights**2 * error**2 / (2.0 * posterior[1:])).sum()
    std, mean = math.sqrt(posterior[0]), 100 / 127.5 - 1.0
    nats += code_length(100, mean + error, std) - code_length(100, mean, std)
    np.testing.assert_allclose(wrong - right, [nats / math.log(2.0)], rtol=1e-3)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_the_terms_are_the_same_of_every_prediction(prediction):
    random = np.random.default_rng(1)
    images, predicted, noises = random.uniform(-1, 1, (3, 5, *SHAPE)).astype("float32")
    times = np.arange(5)
    states = ops.convert_to_numpy(build_bound("fixed_small").noise(images, times, noises))
    alpha_bars = LINEAR.alpha_bars[:, None, None, None]
    eps = (states - np.sqrt(alpha_bars) * predicted) / np.sqrt(1.0 - alpha_bars)
    outputs = {
        "noise": eps,
        "velocity": np.sqrt(alpha_bars) * eps - np.sqrt(1.0 - alpha_bars) * predicted,
        "image": predicted,
    }
    terms = [
        build_bound("fixed_large", kind).terms(
            images=images, states=states, times=times, outputs=outputs[kind].astype("float32")
        )
        for kind in ("image", prediction)
    ]
    np.testing.assert_allclose(*map(ops.convert_to_numpy, terms), rtol=1e-3)


def test_clipping_spares_what_lies_beyond_the_images():
    image = np.full((1, *SHAPE), 255, "uint8")
    networks = [Predictor(image, error=0.3), Predictor(image)]
    clipped, right = (
        bound_of_images(network=each, bound=build_bound("fixed_small", clip=True), images=image)
        for each in networks
    )
    np.testing.assert_allclose(clipped, right, rtol=1e-6)
    loose = bound_of_images(network=networks[0], bound=build_bound("fixed_small"), images=image)
    assert loose[0] > 2.0 * right[0]


class Blur(keras.Model):
    """Predicts half of the state, and of each class a little more."""

    def call(self, inputs):
        images, _, *labels = inputs
        brightness = ops.cast(labels[0], "float32")[:, None, None, None] if labels else 0.0
        return 0.5 * images + 0.1 * brightness


def test_the_bound_of_an_image_does_not_depend_on_its_batch(monkeypatch):
    labels = np.array([0, 1, 2, 0, 1, 2])
    arguments = {"network": Blur(), "bound": build_bound("fixed_large"), "images": IMAGES}
    together = bound_of_images(labels=labels, **arguments)
    monkeypatch.setattr(bounds, "BOUNDED_AT_ONCE", 4)
    np.testing.assert_allclose(bound_of_images(labels=labels, **arguments), together, rtol=1e-5)
    assert together.shape == (6,) and len(set(together)) == 6
    other_noises = bound_of_images(labels=labels, seed=1, **arguments)
    assert (np.abs(other_noises - together) > 1e-4).all()
    other_labels = bound_of_images(labels=(labels + 1) % 3, **arguments)
    assert (np.abs(other_labels - together) > 1e-4).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": "small"}, "`variance` must be one of.*learned.*small"),
        (
            {"schedule": ContinuousCosineSchedule(min_signal_rate=0.02, max_signal_rate=0.95)},
            "discrete time steps.*Received: ContinuousCosineSchedule",
        ),
    ],
)
def test_what_has_no_bound_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_bound(**{"variance": "fixed_small", **options})

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from models.diffusion import DiffusionSampler
from models.samplers import DDIM, DDPM, spaced_timesteps
from models.schedules import linear_alpha_bars

DATA = Path(__file__).parent / "data"


class PerfectPredictor(keras.Model):
    """Knows the noise that leads from a given image to the current state."""

    def __init__(self, image, alpha_bars):
        super().__init__()
        self.image = image
        self.alpha_bars = alpha_bars

    inputs = [keras.KerasTensor((None, 4, 4, 1))]

    def call(self, inputs):
        images, timesteps = inputs
        alpha_bars = ops.take(ops.convert_to_tensor(self.alpha_bars, "float32"), timesteps)
        alpha_bars = ops.reshape(alpha_bars, (-1, 1, 1, 1))
        return (images - ops.sqrt(alpha_bars) * self.image) / ops.sqrt(1.0 - alpha_bars)


class StandIn(keras.Model):
    """The network of the reference numbers."""

    inputs = [keras.KerasTensor((None, 8, 8, 1))]

    def __init__(self, num_timesteps):
        super().__init__()
        self.num_timesteps = num_timesteps

    def call(self, inputs):
        images, timesteps = inputs
        share = ops.reshape(ops.cast(timesteps, "float32") / self.num_timesteps, (-1, 1, 1, 1))
        return ops.tanh(images) * (0.25 + 0.5 * share) + 0.1 * images


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(-0.9, 0.9, (1, 4, 4, 1)).astype("float32")


@pytest.mark.parametrize("method", [DDIM(10), DDIM(7), DDIM(1), DDIM(50, eta=1.0), DDPM(50)])
def test_a_perfect_noise_predictor_returns_the_image(method, image):
    alpha_bars = linear_alpha_bars(50)
    sampler = DiffusionSampler(
        unet=PerfectPredictor(image, alpha_bars),
        steps=method.reverse_steps(alpha_bars),
        seed=0,
        name="sampler",
    )
    images = sampler.sample(*sampler.inputs(0, 3))
    np.testing.assert_allclose(images, np.repeat(image, 3, axis=0), atol=2e-3)


def test_ddim_with_eta_1_at_full_steps_is_ddpm():
    """Song et al. 2021, section 4.1: eta = 1 is ancestral sampling."""
    alpha_bars = linear_alpha_bars(50)
    ddim = DDIM(50, eta=1.0).reverse_steps(alpha_bars)
    ddpm = DDPM(50).reverse_steps(alpha_bars)
    np.testing.assert_allclose(ddim.stds, ddpm.stds, rtol=1e-6)
    # x = signal * x0 + noise * eps, so the mean's factors of x0 and eps must agree
    np.testing.assert_allclose(
        ddim.image_weights,
        ddpm.image_weights + ddpm.state_weights * ddpm.signal_rates,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        ddim.noise_weights, ddpm.state_weights * ddpm.noise_rates, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("num_steps", [1, 3, 7, 10, 199, 200])
def test_timesteps_fall_from_the_noisiest(num_steps):
    timesteps = spaced_timesteps(200, num_steps)
    assert len(timesteps) == num_steps
    assert timesteps[0] == 199
    assert (np.diff(timesteps) < 0).all()
    assert timesteps[-1] >= 0


def test_all_steps_are_all_timesteps():
    np.testing.assert_array_equal(spaced_timesteps(200, 200), np.arange(200)[::-1])


@pytest.mark.parametrize("num_steps", [0, 201])
def test_steps_out_of_range_are_refused(num_steps):
    with pytest.raises(ValueError, match="1..200"):
        DDIM(num_steps).reverse_steps(linear_alpha_bars(200))


@pytest.mark.parametrize("num_timesteps", [50, 200, 1000])
def test_the_linear_schedule_ends_in_noise(num_timesteps):
    alpha_bars = linear_alpha_bars(num_timesteps)
    assert alpha_bars[-1] < 1e-4
    assert alpha_bars[0] > 0.95
    assert (np.diff(alpha_bars) < 0).all()


def test_the_schedule_at_1000_steps_is_that_of_the_paper():
    expected = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(linear_alpha_bars(1000), expected, rtol=1e-12)


def test_too_few_timesteps_for_the_schedule_are_refused():
    with pytest.raises(ValueError, match="num_timesteps=10"):
        linear_alpha_bars(10)


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "diffusion.npz") as arrays:
        return json.loads((DATA / "diffusion.json").read_text()), dict(arrays)


def alpha_bars_of(num_timesteps):
    return np.cumprod(1.0 - np.linspace(1e-4, 0.02, num_timesteps))


@pytest.mark.parametrize("num_timesteps", [200, 1000])
@pytest.mark.parametrize("num_steps", [10, 13, 50])
def test_ddim_agrees_with_the_reference(reference, num_timesteps, num_steps):
    """The compiled loop against float64 loops whose steps are those of diffusers 0.42.1."""
    facts, arrays = reference
    name = f"ddim_T{num_timesteps}_S{num_steps}_trailing_clip"
    steps = DDIM(num_steps).reverse_steps(alpha_bars_of(num_timesteps))
    np.testing.assert_array_equal(steps.timesteps, facts[name]["timesteps"])
    sampler = DiffusionSampler(unet=StandIn(num_timesteps), steps=steps, seed=0, name="ddim")
    images = sampler.sample(arrays["initial_noise"], np.zeros((2, 2), "uint32"))
    np.testing.assert_allclose(images, np.clip(arrays[name], -1.0, 1.0), atol=1e-4)


@pytest.mark.parametrize(
    ("num_timesteps", "timestep"),
    [(200, 0), (200, 1), (200, 100), (200, 199), (1000, 0), (1000, 500), (1000, 999)],
)
def test_ddpm_agrees_with_the_reference(reference, num_timesteps, timestep):
    """Mean and variance of p(x_{t-1} | x_t), checked against diffusers 0.42.1."""
    facts, arrays = reference
    name = f"ddpm_T{num_timesteps}_fixed_small_clip_t{timestep}_mean"
    steps = DDPM(num_timesteps).reverse_steps(alpha_bars_of(num_timesteps))
    index = num_timesteps - 1 - timestep
    states = arrays["initial_noise"].astype("float64")
    noises = np.tanh(states) * (0.25 + 0.5 * timestep / num_timesteps) + 0.1 * states
    images = (states - steps.noise_rates[index] * noises) / steps.signal_rates[index]
    means = (
        steps.image_weights[index] * np.clip(images, -1.0, 1.0)
        + steps.state_weights[index] * states
    )
    # the reference schedule is float32: at t = 1 that costs four digits
    np.testing.assert_allclose(means, arrays[name], atol=1e-4)
    if timestep > 0:
        assert steps.stds[index] ** 2 == pytest.approx(facts[name]["variance"], rel=1e-3)

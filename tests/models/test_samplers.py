import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from models.reverse_process import DiffusionSampler
from models.samplers import DDIM, DDPM, DPMSolver
from models.schedules import (
    ContinuousCosineSchedule,
    CosineSchedule,
    DiscreteSchedule,
    LinearSchedule,
)

DATA = Path(__file__).parent / "data"


class PerfectPredictor(keras.Model):
    """Knows the noise that leads from a given image to the current state."""

    def __init__(self, image, schedule):
        super().__init__()
        self.image = image
        self.schedule = schedule

    inputs = [keras.KerasTensor((None, 4, 4, 1))]

    def call(self, inputs):
        images, times = inputs
        if self.schedule.num_timesteps is None:
            alpha_bars = 1.0 - times
        else:
            table = ops.convert_to_tensor(self.schedule.alpha_bars, "float32")
            alpha_bars = ops.take(table, times)
        alpha_bars = ops.reshape(alpha_bars, (-1, 1, 1, 1))
        return (images - ops.sqrt(alpha_bars) * self.image) / ops.sqrt(1.0 - alpha_bars)


class StandIn(keras.Model):
    """The network of the reference numbers."""

    inputs = [keras.KerasTensor((None, 8, 8, 1))]

    def __init__(self, num_timesteps):
        super().__init__()
        self.num_timesteps = num_timesteps

    def call(self, inputs):
        images, times = inputs
        fraction = ops.reshape(ops.cast(times, "float32") / self.num_timesteps, (-1, 1, 1, 1))
        return ops.tanh(images) * (0.25 + 0.5 * fraction) + 0.1 * images


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(-0.9, 0.9, (1, 4, 4, 1)).astype("float32")


LINEAR = LinearSchedule(num_timesteps=50, reference_timesteps=1000)
SCHEDULES = {
    "linear": LINEAR,
    "cosine": CosineSchedule(num_timesteps=50),
    "continuous_cosine": ContinuousCosineSchedule(min_signal_rate=0.02, max_signal_rate=0.95),
}
METHODS = [
    DDIM(num_steps=10),
    DDIM(num_steps=7),
    DDIM(num_steps=1),
    DDIM(num_steps=50, eta=1.0),
    DDIM(num_steps=7, spacing="leading"),
    DDIM(num_steps=7, spacing="linspace", clip_predicted_images=False),
    DDPM(num_steps=50),
    DDPM(num_steps=7),
    DDPM(num_steps=10, variance="fixed_large"),
    DPMSolver(num_steps=1),
    DPMSolver(num_steps=2),
    DPMSolver(num_steps=7),
    DPMSolver(num_steps=7, spacing="log_snr"),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_perfect_noise_predictor_returns_the_image(method, schedule, image):
    sampler = DiffusionSampler(
        unet=PerfectPredictor(image, schedule),
        steps=method.reverse_steps(schedule),
        seed=0,
        name="sampler",
    )
    images = sampler.sample(*sampler.inputs(0, 3))
    np.testing.assert_allclose(images, np.repeat(image, 3, axis=0), atol=2e-3)


def test_every_option_that_changes_the_images_changes_the_name():
    """Samples are kept under the name."""
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert DDIM(num_steps=5, guidance_scale=2.0).name == "ddim-5-cfg2"
    assert DDIM(num_steps=50).name == "ddim-50"


def test_ddim_with_eta_1_at_full_steps_is_ddpm():
    """Song et al. 2021, section 4.1: eta = 1 is ancestral sampling."""
    ddim = DDIM(num_steps=50, eta=1.0).reverse_steps(LINEAR)
    ddpm = DDPM(num_steps=50).reverse_steps(LINEAR)
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


@pytest.mark.parametrize(
    ("method", "options"),
    [(DDIM, {"eta": 1.5}), (DDPM, {"variance": "estimated"}), (DDIM, {"spacing": "even"})],
)
def test_wrong_options_are_refused(method, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        method(num_steps=10, **options).reverse_steps(LINEAR)


@pytest.mark.parametrize("num_steps", [0, 51])
def test_steps_out_of_range_are_refused(num_steps):
    with pytest.raises(ValueError, match="1..50"):
        DDIM(num_steps=num_steps).reverse_steps(LINEAR)


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "diffusion.npz") as arrays:
        return json.loads((DATA / "diffusion.json").read_text()), dict(arrays)


def schedule_of(num_timesteps):
    return DiscreteSchedule(np.cumprod(1.0 - np.linspace(1e-4, 0.02, num_timesteps)))


@pytest.mark.parametrize("num_timesteps", [200, 1000])
@pytest.mark.parametrize("num_steps", [10, 13, 50])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("clip", [True, False])
def test_ddim_agrees_with_the_reference(reference, num_timesteps, num_steps, spacing, clip):
    """The compiled loop against float64 loops whose steps are those of diffusers 0.42.1."""
    facts, arrays = reference
    name = f"ddim_T{num_timesteps}_S{num_steps}_{spacing}_{'clip' if clip else 'noclip'}"
    method = DDIM(num_steps=num_steps, spacing=spacing, clip_predicted_images=clip)
    steps = method.reverse_steps(schedule_of(num_timesteps))
    np.testing.assert_array_equal(steps.times, facts[name]["timesteps"])
    sampler = DiffusionSampler(
        unet=StandIn(num_timesteps),
        steps=steps,
        clip_predicted_images=clip,
        seed=0,
        name="ddim",
    )
    seeds = np.zeros((2, 2), "uint32")
    # without the clipping at the end, as unclipped states leave [-1, 1]
    states = sampler.denoise(ops.convert_to_tensor(arrays["initial_noise"]), seeds)
    np.testing.assert_allclose(ops.convert_to_numpy(states), arrays[name], atol=1e-4)
    images = sampler.sample(arrays["initial_noise"], seeds)
    np.testing.assert_allclose(images, np.clip(arrays[name], -1.0, 1.0), atol=1e-4)


@pytest.mark.parametrize(
    ("num_timesteps", "timestep"),
    [(200, 0), (200, 1), (200, 100), (200, 199), (1000, 0), (1000, 1), (1000, 500), (1000, 999)],
)
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("clip", [True, False])
def test_ddpm_agrees_with_the_reference(reference, num_timesteps, timestep, variance, clip):
    """Mean and variance of p(x_{t-1} | x_t), checked against diffusers 0.42.1."""
    facts, arrays = reference
    name = f"ddpm_T{num_timesteps}_{variance}_{'clip' if clip else 'noclip'}_t{timestep}"
    method = DDPM(num_steps=num_timesteps, variance=variance, clip_predicted_images=clip)
    steps = method.reverse_steps(schedule_of(num_timesteps))
    sampler = DiffusionSampler(
        unet=StandIn(num_timesteps),
        steps=steps,
        clip_predicted_images=clip,
        seed=0,
        name="ddpm",
    )
    sampler.deterministic = True  # the mean alone
    states = ops.convert_to_tensor(arrays["initial_noise"])
    index = num_timesteps - 1 - timestep
    means, _ = sampler.reverse_step(index, states, ops.zeros_like(states), None)
    # the reference schedule is float32: at t = 1 that costs four digits
    np.testing.assert_allclose(ops.convert_to_numpy(means), arrays[f"{name}_mean"], atol=1e-4)
    if timestep > 0:  # the last step adds no noise
        assert steps.stds[index] ** 2 == pytest.approx(facts[name]["variance"], rel=1e-3)


def exact_flow(states, schedule, count):
    """The deterministic flow under the stand-in network, by many small DDIM steps in float64."""
    steps = DDIM(num_steps=count, clip_predicted_images=False).reverse_steps(schedule)
    for index in range(count):
        noises = 0.5 * np.tanh(states)
        images = (states - steps.noise_rates[index] * noises) / steps.signal_rates[index]
        states = steps.image_weights[index] * images + steps.noise_weights[index] * noises
    return states


class Bend(keras.Model):
    """A network that is not a linear function of the state."""

    inputs = [keras.KerasTensor((None, 4, 4, 1))]

    def call(self, inputs):
        return 0.5 * ops.tanh(inputs[0])


def test_the_second_order_solver_is_nearer_to_the_exact_flow_than_ddim():
    schedule = ContinuousCosineSchedule(min_signal_rate=0.2, max_signal_rate=0.95)
    states = np.random.default_rng(0).normal(size=(4, 4, 4, 1))
    exact = exact_flow(states, schedule, 20_000)
    errors = {}
    for method in (DDIM, DPMSolver):
        for num_steps in (10, 20):
            walk = method(num_steps=num_steps, clip_predicted_images=False)
            sampler = DiffusionSampler(
                unet=Bend(),
                steps=walk.reverse_steps(schedule),
                clip_predicted_images=False,
                seed=0,
                name="sampler",
            )
            images = sampler.sample(states.astype("float32"), np.zeros((4, 2), "uint32"))
            inside = np.abs(exact) < 0.9
            errors[method, num_steps] = np.abs(images - exact)[inside].mean()
    assert errors[DPMSolver, 10] < 0.5 * errors[DDIM, 10]
    assert errors[DPMSolver, 20] < 0.4 * errors[DPMSolver, 10]

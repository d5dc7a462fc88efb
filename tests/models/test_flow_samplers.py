import keras
import numpy as np
import pytest

from models.flow_samplers import Euler, Heun, Midpoint
from models.reverse_process import DiffusionSampler

MEAN, STD = 0.2, 0.2  # of the pixels, far from being clipped
TIME_SCALE = 1000.0


class GaussianFlow(keras.Model):
    """The velocity of the flow to independent pixels of N(MEAN, STD^2), in closed form.

    At time t the states are Gaussian, so that E[eps - x | z] is linear in z.
    """

    inputs = [keras.KerasTensor((None, 4, 4, 1))]

    def call(self, inputs):
        states, times = inputs
        times = keras.ops.reshape(keras.ops.cast(times, "float32") / TIME_SCALE, (-1, 1, 1, 1))
        signal_rates = 1.0 - times
        variances = signal_rates**2 * STD**2 + times**2
        slopes = (times - signal_rates * STD**2) / variances
        return slopes * (states - signal_rates * MEAN) - MEAN


def sample(method, network=None):
    sampler = DiffusionSampler(
        unet=network or GaussianFlow(),
        steps=method.reverse_steps(TIME_SCALE),
        prediction="flow",
        clip_predicted_images=method.clip_predicted_images,
        seed=0,
        name="sampler",
    )
    latents, seeds = sampler.inputs(0, 8)
    return latents, sampler.sample(latents, seeds), sampler


def error(method):
    """The largest distance of images from where the flow carries their latents."""
    latents, images, _ = sample(method)
    return np.abs(images - (MEAN + STD * latents)).max()


def run(method):
    """Where v(z, t) = z + t leads from z = 1 at t = 1, in float64."""
    steps = method.reverse_steps(1.0)
    z, previous = 1.0, 0.0
    for index, time in enumerate(steps.times):
        image = z - time * (z + time)
        noise = (z - (1.0 - time) * image) / time
        z, previous = (
            steps.image_weights[index] * image
            + steps.previous_image_weights[index] * previous
            + steps.noise_weights[index] * noise
            + steps.state_weights[index] * z,
            image,
        )
    return z


ORDERS = [(Euler, 1), (Heun, 2), (Midpoint, 2)]


@pytest.mark.parametrize(
    ("method", "order"), ORDERS, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_orders_of_the_solvers(method, order):
    """dz/dt = z + t has the solutions c exp(t) - t - 1."""
    exact = 3.0 / np.e - 1.0  # from z(1) = 1
    errors = [abs(run(method(num_steps=num_steps)) - exact) for num_steps in (64, 128)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05), errors


@pytest.mark.parametrize(
    ("method", "order"), ORDERS, ids=lambda value: getattr(value, "__name__", "")
)
def test_samplers_follow_a_flow_that_is_known_in_closed_form(method, order):
    """The midpoint method does better than its order there: 3, by symmetry."""
    errors = [error(method(num_steps=num_steps)) for num_steps in (32, 64)]
    assert np.log2(errors[0] / errors[1]) > order - 0.1, errors
    assert errors[1] < 0.03


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        (Euler(num_steps=1), 1),
        (Euler(num_steps=7), 7),
        (Heun(num_steps=1), 1),
        (Heun(num_steps=4), 7),
        (Midpoint(num_steps=1), 2),
        (Midpoint(num_steps=4), 8),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_pass_is_counted_and_a_straight_way_is_followed_exactly(method, passes):
    """If all lines lead to one image, any number of steps of any solver ends there."""
    image = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 4, 4, 1)).astype("float32")

    class ToOneImage(keras.Model):
        inputs = [keras.KerasTensor((None, 4, 4, 1))]

        def call(self, inputs):
            states, times = inputs
            times = keras.ops.reshape(keras.ops.cast(times, "float32") / TIME_SCALE, (-1, 1, 1, 1))
            return (states - image) / times

    _, images, sampler = sample(method, ToOneImage())
    np.testing.assert_allclose(images, np.repeat(image, 8, axis=0), atol=1e-5)
    assert sampler.network_passes == passes


def test_a_step_of_each_solver_by_hand():
    """From t = 1 to 1/2 and to 0, with v(z, t) = z + t."""
    # v(1, 1) = 2, z = 0; v(0, 1/2) = 1/2
    assert run(Euler(num_steps=2)) == pytest.approx(0.0 - 0.5 * 0.5)
    # z = 1 - (2 + 1/2) / 4 = 3/8; v(3/8, 1/2) = 7/8
    assert run(Heun(num_steps=2)) == pytest.approx(3 / 8 - 7 / 16)
    # half a step: z = 0 at t = 1/2, where v = 1/2
    assert run(Midpoint(num_steps=1)) == pytest.approx(1.0 - 0.5)


def test_every_option_that_changes_the_images_changes_the_name():
    """Samples are kept under the name."""
    assert Euler(num_steps=10).name == "euler-10"
    assert Heun(num_steps=5, clip_predicted_images=True).name == "heun-5-clipped"
    assert Midpoint(num_steps=5, guidance_scale=2.0).name == "midpoint-5-cfg2"


def test_a_solver_takes_a_step():
    with pytest.raises(ValueError, match="at least 1. Received: num_steps=0"):
        Euler(num_steps=0)

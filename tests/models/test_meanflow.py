import keras
import numpy as np
import pytest
from keras import ops

from models.flow_samplers import Euler, MeanFlow
from models.meanflow import MeanFlowModel
from models.samplers import DDIM

SMALL = {"base_width": 8, "multipliers": [1], "num_blocks": 1, "middle_attention": False}
MEAN, STD = 0.2, 0.3  # of the pixels


def build_model(**options):
    keras.utils.clear_session(free_memory=False)
    return MeanFlowModel(image_shape=(8, 8, 1), seed=0, **SMALL | options)


def std_at(times):
    """Standard deviation of the states of the flow to pixels of N(MEAN, STD^2)."""
    return ops.sqrt((1.0 - times) ** 2 * STD**2 + times**2)


def velocity(states, times):
    """E[eps - x | z], in closed form."""
    signal_rates = 1.0 - times
    slopes = (times - signal_rates * STD**2) / std_at(times) ** 2
    return slopes * (states - signal_rates * MEAN) - MEAN


def average_velocity(states, times, intervals):
    """How far the flow carries states from t to r = t - interval, over t - r, in closed form.

    It keeps the number of standard deviations that a state is away from the mean.
    """
    ends = times - intervals
    scores = (states - (1.0 - times) * MEAN) / std_at(times)
    ends_of_states = (1.0 - ends) * MEAN + std_at(ends) * scores
    return (states - ends_of_states) / intervals


class GaussianMeanFlow:
    """Predicts average velocities where intervals are positive, and velocities where they are 0.

    Or, with `prediction="image"`, the images that these point at.
    """

    inputs = [keras.KerasTensor((None, 8, 8, 1))]
    time_scale = 30.0

    def __init__(self, prediction="velocity"):
        self.prediction = prediction

    def __call__(self, inputs, training=False):
        states, times, intervals = inputs
        times, intervals = (
            ops.cast(values, "float32")[:, None, None, None] / self.time_scale
            for values in (times, intervals)
        )
        positive = ops.where(intervals > 0.0, intervals, 1.0)
        averages = average_velocity(states, times, positive)
        velocities = ops.where(intervals > 0.0, averages, velocity(states, times))
        return velocities if self.prediction == "velocity" else states - times * velocities


def test_the_average_velocity_is_the_mean_of_velocities_along_the_flow():
    """What the closed form says against numerical integration, by the trapezoidal rule."""
    state, time, end = 0.9, 0.8, 0.3
    times = np.linspace(end, time, 2001)
    scores = (state - (1.0 - time) * MEAN) / np.asarray(std_at(time))
    states = (1.0 - times) * MEAN + np.asarray(std_at(times)) * scores
    mean = np.trapezoid(np.asarray(velocity(states, times)), times) / (time - end)
    np.testing.assert_allclose(average_velocity(state, time, time - end), mean, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["velocity", "image"])
@pytest.mark.parametrize("end", [0.0, 0.3, 0.7])
def test_jumps_of_the_true_flow_amount_to_its_velocity(monkeypatch, end, prediction):
    """The identity of Geng et al. (2025a), by the derivative that training takes."""
    model = build_model(prediction=prediction)
    monkeypatch.setattr(model, "unet", GaussianMeanFlow(prediction))
    states = np.random.default_rng(0).normal(0.0, 1.0, (4, 8, 8, 1)).astype("float32")
    times = np.array([0.75, 0.8, 0.9, 1.0], "float32")
    found = model.velocity_by_jumps(
        ops.convert_to_tensor(states),
        ops.convert_to_tensor(times),
        intervals=ops.convert_to_tensor(times - np.float32(end)),
        velocities=ops.zeros(states.shape),  # not what a predicted tangent looks at
    )
    expected = velocity(states, times[:, None, None, None])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_the_conditional_tangent_is_the_line_to_the_image(monkeypatch):
    """u = z + 2t has du/dt = v + 2 along any v, so that u + (t - r) du/dt is known."""
    model = build_model(tangent="conditional", time_scale=1.0)
    monkeypatch.setattr(
        model, "unet", lambda inputs, training: inputs[0] + 2.0 * inputs[1][:, None, None, None]
    )
    generator = np.random.default_rng(0)
    states, velocities = generator.normal(0.0, 1.0, (2, 4, 8, 8, 1)).astype("float32")
    times, intervals = np.full(4, 0.5, "float32"), np.full(4, 0.25, "float32")
    found = model.velocity_by_jumps(
        *map(ops.convert_to_tensor, (states, times)),
        intervals=ops.convert_to_tensor(intervals),
        velocities=ops.convert_to_tensor(velocities),
    )
    np.testing.assert_allclose(found, states + 1.0 + 0.25 * (velocities + 2.0), rtol=1e-5)


@pytest.mark.parametrize("prediction", ["velocity", "image"])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_any_number_of_jumps_of_the_true_flow_ends_at_the_same_image(
    monkeypatch, num_steps, prediction
):
    model = build_model(prediction=prediction)
    monkeypatch.setattr(model, "unet", GaussianMeanFlow(prediction))
    sampler = model.sampler(MeanFlow(num_steps=num_steps))
    latents, seeds = sampler.inputs(0, 4)
    images = ops.convert_to_numpy(sampler((latents, seeds)))
    expected = np.clip(MEAN + STD * latents, -1.0, 1.0)
    np.testing.assert_allclose(images, expected, atol=1e-4)
    assert sampler.network_passes == num_steps


def test_solvers_of_flows_take_velocities_at_single_times():
    model = build_model()
    steps = model.sampler(Euler(num_steps=4)).steps
    np.testing.assert_array_equal(steps.intervals, 0.0)
    assert model.sampler(MeanFlow(num_steps=4)).steps.intervals.tolist() == [7.5] * 4


def test_half_of_a_batch_jumps_and_the_rest_flows():
    model = build_model(interval_fraction=0.5)
    times, intervals = (ops.convert_to_numpy(values) for values in model.draw_intervals(4000, 2000))
    assert times.shape == (4000,) and intervals.shape == (2000,)
    assert (intervals >= 0.0).all() and (times[:2000] - intervals >= -1e-6).all()
    # The larger of two independent ones has the median where each has its quantile sqrt(1/2).
    assert np.median(times) == pytest.approx(1.0 / (1.0 + np.exp(0.4 - 0.5450)), abs=0.02)


def test_uniform_times_reach_from_noise_to_image():
    """Of two independent ones, P(t > 0.9 and r < 0.1) is 2 x 0.1 x 0.1."""
    model = build_model(time_distribution="uniform")
    times, intervals = map(ops.convert_to_numpy, model.draw_intervals(20_000, 20_000))
    whole = (times > 0.9) & (times - intervals < 0.1)
    assert whole.mean() == pytest.approx(0.02, abs=0.005)
    assert np.median(times) == pytest.approx(np.sqrt(0.5), abs=0.02)


def test_the_loss_weighs_large_errors_less():
    model = build_model(weight_power=0.75, weight_offset=1.0)
    predictions = np.zeros((2, 8, 8, 1), "float32")
    velocities = predictions.copy()
    velocities[0] += 0.5  # a sum of squares of 16
    loss = model.compute_loss(None, y_pred=(predictions, ops.convert_to_tensor(velocities)))
    assert float(loss) == pytest.approx(0.5 * 16.0 / 17.0**0.75, rel=1e-5)
    assert float(model.velocity_loss.result()) == pytest.approx(0.125)


@pytest.mark.parametrize(
    "options",
    [{"tangent": "predicted"}, {"tangent": "conditional"}, {"prediction": "image"}],
)
def test_a_single_jump_learns_what_each_class_looks_like(options):
    model = build_model(
        optimizer=keras.optimizers.Adam(1e-2), num_classes=2, interval_fraction=0.75, **options
    )
    labels = np.arange(32) % 2
    images = np.where(labels, 230, 25).astype("uint8")[:, None, None, None]
    images = np.broadcast_to(images, (32, 8, 8, 1))
    for _ in range(120):
        model.train_on_batch((images, labels))
    sampler = model.sampler()
    means = sampler.sample(*sampler.inputs(0, 8)).mean(axis=(1, 2, 3))
    assert sampler.network_passes == 1
    assert (means[::2] < -0.1).all() and (means[1::2] > 0.1).all(), means
    assert means[::2].mean() < -0.4 and means[1::2].mean() > 0.4, means


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "noise"}, "one of .*velocity.*image.*'noise'"),
        ({"tangent": "true"}, "one of .*predicted.*conditional.*'true'"),
        ({"time_distribution": "normal"}, "one of .*uniform.*logit_normal.*'normal'"),
        ({"interval_fraction": 0.0}, "interval_fraction.*interval_fraction=0.0"),
        ({"weight_power": -1.0}, "not negative.*weight_power=-1.0"),
        ({"weight_offset": 0.0}, "positive.*weight_offset=0.0"),
        ({"label_dropout": 1.0}, "label_dropout.*1.0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(**options)


def test_the_samplers_of_diffusion_models_are_refused():
    with pytest.raises(ValueError, match="such as Euler. Received: DDIM"):
        build_model().sampler(DDIM(num_steps=5))

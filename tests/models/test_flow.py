import keras
import numpy as np
import pytest
from keras import ops

from models.diffusion import DiffusionModel
from models.flow import FlowModel
from models.flow_samplers import Euler, MeanFlow, Midpoint
from models.samplers import DDIM
from models.schedules import CosineSchedule

SMALL = {"base_width": 8, "multipliers": [1], "num_blocks": 1, "middle_attention": False}


def build_model(**options):
    keras.utils.clear_session(free_memory=False)
    return FlowModel(image_shape=(8, 8, 1), seed=0, **SMALL | options)


def real_images(count=8):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype="uint8")


def test_the_loss_is_that_of_the_velocity_by_hand(monkeypatch):
    model = build_model(time_distribution="uniform")
    told = {}

    def network(inputs, training):
        told["states"], told["times"] = map(ops.convert_to_numpy, inputs)
        return ops.zeros_like(inputs[0])

    monkeypatch.setattr(model, "unet", network)
    images = real_images()
    predictions, velocities = model(images, training=True)
    velocities = ops.convert_to_numpy(velocities)
    loss = float(model.compute_loss(images, y_pred=(predictions, velocities)))
    assert loss == pytest.approx(np.mean(velocities**2), rel=1e-5)
    # Along v = eps - x, the line through z is at the image at t = 0.
    times = told["times"][:, None, None, None] / model.time_scale
    np.testing.assert_allclose(told["states"] - times * velocities, images / 127.5 - 1.0, atol=1e-5)
    noises = told["states"] + (1.0 - times) * velocities
    assert abs(noises.mean()) < 0.2 and noises.std() == pytest.approx(1.0, abs=0.1)


def test_predicted_images_count_by_the_velocities_that_lead_from_them(monkeypatch):
    model = build_model(prediction="image", logit_mean=-2.5)
    told = {}

    def network(inputs, training):
        told["states"], told["times"] = map(ops.convert_to_numpy, inputs)
        return 0.5 * ops.ones_like(inputs[0])

    monkeypatch.setattr(model, "unet", network)
    images = real_images(16)
    loss = float(model.compute_loss(images, y_pred=model(images, training=True)))
    times = told["times"] / model.time_scale
    assert times.min() < 0.05 < times.max()
    errors = np.square(0.5 - (images / 127.5 - 1.0)).mean(axis=(1, 2, 3))
    assert loss == pytest.approx(np.mean(errors / np.maximum(times, 0.05) ** 2), rel=1e-5)


@pytest.mark.parametrize("method", [Euler(num_steps=3), Midpoint(num_steps=2)])
def test_samplers_take_predicted_images_and_velocities_alike(monkeypatch, method):
    """The same network, once by its velocity and once by the image that this points at."""
    images = {}
    for prediction in ("velocity", "image"):
        model = build_model(prediction=prediction)

        def network(inputs, training=False, prediction=prediction, scale=model.time_scale):
            states, times = inputs
            velocities = ops.sin(3.0 * states)
            times = ops.cast(times, "float32")[:, None, None, None] / scale
            return velocities if prediction == "velocity" else states - times * velocities

        network.inputs = model.unet.inputs
        monkeypatch.setattr(model, "unet", network)
        sampler = model.sampler(method)
        images[prediction] = ops.convert_to_numpy(sampler(sampler.inputs(0, 4)))
    assert np.abs(images["image"]).max() > 0.5
    np.testing.assert_allclose(images["image"], images["velocity"], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "quartiles"),
    [
        ({"time_distribution": "uniform"}, (0.25, 0.5, 0.75)),
        # The quartiles of N(0, 1) are at 0.6745, and 1 / (1 + exp(0.6745)) = 0.3375.
        ({"time_distribution": "logit_normal"}, (0.3375, 0.5, 0.6625)),
        # 1 / (1 + exp(1 + 2 * 0.6745)) = 0.0871, 1 / (1 + exp(1)), 1 / (1 + exp(1 - 2 * 0.6745)).
        ({"logit_mean": -1.0, "logit_std": 2.0}, (0.0871, 0.2689, 0.5864)),
    ],
    ids=["uniform", "standard", "shifted"],
)
def test_how_times_are_drawn(options, quartiles):
    times = ops.convert_to_numpy(build_model(**options).draw_times(20_000))
    assert 0.0 <= times.min() <= times.max() <= 1.0
    np.testing.assert_allclose(np.quantile(times, [0.25, 0.5, 0.75]), quartiles, atol=0.015)


@pytest.mark.parametrize("prediction", ["velocity", "image"])
def test_a_flow_learns_what_each_class_looks_like(prediction):
    model = build_model(optimizer=keras.optimizers.Adam(1e-2), num_classes=2, prediction=prediction)
    labels = np.arange(32) % 2
    images = np.where(labels, 230, 25).astype("uint8")[:, None, None, None]
    images = np.broadcast_to(images, (32, 8, 8, 1))
    for _ in range(60):
        model.train_on_batch((images, labels))
    sampler = model.sampler(Euler(num_steps=5, guidance_scale=1.5))
    means = sampler.sample(*sampler.inputs(0, 8)).mean(axis=(1, 2, 3))
    assert (means[::2] < -0.5).all() and (means[1::2] > 0.5).all(), means


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "noise"}, "one of .*velocity.*image.*'noise'"),
        ({"time_distribution": "normal"}, "one of .*uniform.*logit_normal.*'normal'"),
        ({"logit_std": 0.0}, "positive.*logit_std=0.0"),
        ({"time_scale": 0.0}, "positive.*time_scale=0.0"),
        ({"label_dropout": 1.5}, "label_dropout.*1.5"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(**options)


def test_jumps_need_average_velocities():
    with pytest.raises(ValueError, match="no average velocities for the jumps of MeanFlow"):
        build_model().sampler(MeanFlow(num_steps=1))


def test_flows_and_diffusion_models_refuse_each_others_samplers():
    with pytest.raises(ValueError, match="such as Euler. Received: DDIM"):
        build_model().sampler(DDIM(num_steps=5))
    schedule = CosineSchedule(num_timesteps=10)
    model = DiffusionModel(image_shape=(8, 8, 1), seed=0, schedule=schedule, **SMALL)
    with pytest.raises(ValueError, match="DDPM, DDIM or DPMSolver. Received: Euler"):
        model.sampler(Euler(num_steps=5))

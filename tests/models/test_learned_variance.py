"""Learned variance (Nichol and Dhariwal 2021) from the loss to the samples."""

import keras
import numpy as np
import pytest
from keras import ops

from benchmark import config as configuration
from benchmark import training
from benchmark.cli import RunBuilder
from benchmark.datasets import ImageDataset
from benchmark.results import RunFolder
from benchmark.training import load_weights, weights
from models import diffusion
from models.base import to_float
from models.bound import bound_of_images
from models.diffusion import DiffusionModel
from models.gradients import with_input_gradients
from models.reverse_process import DiffusionSampler
from models.samplers import DDIM, DDPM, DPMSolver
from models.schedules import ContinuousCosineSchedule, CosineSchedule
from tests.conftest import options, ready_to_train

SHAPE = (8, 8, 1)
SCHEDULE = CosineSchedule(num_timesteps=20)
IMAGES = np.random.default_rng(0).integers(0, 256, (32, *SHAPE), dtype="uint8")


class Stopped(Exception):
    pass


def build_model(**options):
    network = {"base_width": 8, "multipliers": [1], "num_blocks": 1}
    defaults = {"schedule": SCHEDULE, "image_shape": SHAPE, "seed": 0, "learned_variance": True}
    options = {**defaults, **network, **options}
    return DiffusionModel(optimizer=keras.optimizers.Adam(1e-3), **options)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
@pytest.mark.parametrize("network", options("model/network"))
def test_every_network_has_twice_the_channels(compose_config, network, shape):
    overrides = [f"model/network={network}", "preset=smoke", "model.learned_variance=true"]
    keras.utils.clear_session(free_memory=False)
    settings = configuration.validate(compose_config("model=ddpm", *overrides))
    model = RunBuilder(settings, []).build_model(shape)
    assert model.network.output_shape == (None, *shape[:2], 2 * shape[2])


@pytest.mark.parametrize("prediction", ["noise", "velocity", "image"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_step_is_of_both_losses_and_logs_them_apart(prediction, num_classes):
    model = build_model(prediction=prediction, num_classes=num_classes)
    batch = (IMAGES, np.arange(len(IMAGES)) % 3) if num_classes else IMAGES
    model.run_eagerly = True
    before = model.get_weights()
    logs = model.train_on_batch(batch, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["simple_loss"] + 0.001 * logs["vlb_loss"], rel=1e-5)
    assert np.isfinite(logs["vlb_loss"]) and logs["simple_loss"] > 0.0
    assert not all(map(np.array_equal, before, model.get_weights()))


def test_the_loss_by_hand():
    """L_vlb is T times the mean of the batch's terms; min-SNR weighs L_simple alone."""
    model = build_model(min_snr_gamma=5.0)
    errors = np.full((2, 1, 1, 1), 0.5, "float32")
    ratios = np.full((2, 1, 1, 1), 10.0, "float32")
    y_pred = errors, np.zeros_like(errors), ratios, np.array([1.0, 4.0], "float32")
    loss = float(model.compute_loss(None, y_pred=y_pred))
    assert float(model.simple_loss.result()) == pytest.approx(0.25 * 5.0 / 10.0)
    assert float(model.vlb_loss.result()) == pytest.approx(20 * 2.5)
    assert loss == pytest.approx(0.125 + 0.001 * 50.0)
    assert diffusion.BOUND_WEIGHT == 0.001


def test_the_loss_estimates_the_bound_but_for_the_prior():
    """From random time steps, with the same weights."""
    model, images = build_model(), np.tile(IMAGES, (16, 1, 1, 1))
    random = np.random.default_rng(0)
    for variable in model.unet.trainable_variables:
        variable.assign_add(random.normal(0.0, 0.1, variable.shape))
    estimates = [20 * ops.mean(model(images)[3]) for _ in range(10)]
    bound = model.variational_bound("learned", clip_predicted_images=False)
    bits = bound_of_images(network=model.unet, bound=bound, images=IMAGES).mean()
    prior = float(ops.mean(bound.prior_terms(to_float(IMAGES))))
    assert prior < 0.01 * bits
    assert np.mean(estimates) == pytest.approx(bits - prior, rel=0.15)


def test_no_other_model_has_a_second_loss():
    model = build_model(learned_variance=False)
    model.run_eagerly = True
    logs = model.train_on_batch(IMAGES, return_dict=True)
    assert not {"simple_loss", "vlb_loss"} & set(logs)
    assert model.network.output_shape == (None, *SHAPE)


@pytest.mark.parametrize("prediction", ["noise", "velocity", "image"])
def test_the_bound_teaches_the_variance_alone(prediction):
    model, times = build_model(prediction=prediction), np.arange(20)
    random = np.random.default_rng(0)
    images, states = random.uniform(-1, 1, (2, 20, *SHAPE)).astype("float32")
    outputs = random.normal(0, 0.5, (20, 8, 8, 2)).astype("float32")
    terms, gradients = with_input_gradients(
        lambda outputs: model.bound_terms(images, states, times, outputs),
        ops.convert_to_tensor(outputs),
    )
    assert terms.shape == (20,)
    mean, variance = np.split(ops.convert_to_numpy(gradients), 2, axis=-1)
    assert not mean.any()
    assert (np.abs(variance).max(axis=(1, 2, 3)) > 0.0).all()  # at every time step


@pytest.mark.parametrize(("error", "sign"), [(0.0, 1.0), (1.0, -1.0)])
def test_good_predictions_ask_for_small_variances_and_bad_ones_for_large(error, sign):
    model, times = build_model(prediction="image"), np.arange(1, 19)
    images = np.zeros((18, *SHAPE), "float32")
    states = np.random.default_rng(0).normal(size=images.shape).astype("float32")
    outputs = np.concatenate([images + error, images], axis=-1)
    _, gradients = with_input_gradients(
        lambda outputs: model.bound_terms(images, states, times, outputs),
        ops.convert_to_tensor(outputs),
    )
    assert (sign * ops.convert_to_numpy(gradients)[..., 1] > 0.0).all()


class TwoHeads(keras.Model):
    """Predicts an image that depends on the state and the class, and says the same v everywhere.

    `class_values` are what is added to v for each class.
    """

    inputs = [keras.KerasTensor((None, *SHAPE))]

    def __init__(self, value, class_values=None):
        super().__init__()
        self.value = value
        self.class_values = class_values

    def call(self, inputs):
        images, _, *labels = inputs
        predictions, values = 0.5 * ops.tanh(images), ops.full_like(images, self.value)
        if labels:
            table = ops.convert_to_tensor(self.class_values, "float32")
            values = values + ops.take(table, labels[0])[:, None, None, None]
            predictions = predictions + 0.1 * ops.cast(labels[0], "float32")[:, None, None, None]
        return ops.concatenate([predictions, values], axis=-1)


def build_sampler(method, network, **options):
    return DiffusionSampler(
        unet=network,
        steps=method.reverse_steps(SCHEDULE),
        prediction="image",
        seed=0,
        name="sampler",
        **options,
    )


def samples(method, network, **options):
    sampler = build_sampler(method, network, **options)
    return sampler.sample(*sampler.inputs(0, 4))


@pytest.mark.parametrize("num_steps", [20, 7, 2])
@pytest.mark.parametrize(("value", "variance"), [(-1.0, "fixed_small"), (1.0, "fixed_large")])
def test_at_its_ends_the_learned_variance_samples_as_the_fixed_ones(num_steps, value, variance):
    """Also with strides, whose betas are those of the steps taken (section 4)."""
    network = TwoHeads(value)
    learned = samples(DDPM(num_steps=num_steps, variance="learned"), network)
    fixed = samples(DDPM(num_steps=num_steps, variance=variance), network)
    np.testing.assert_allclose(learned, fixed, atol=1e-5)
    other = "fixed_large" if variance == "fixed_small" else "fixed_small"
    others = samples(DDPM(num_steps=num_steps, variance=other), network)
    assert np.abs(learned - others).max() > 1e-3


@pytest.mark.parametrize("method", [DDIM(num_steps=5), DPMSolver(num_steps=5), DDPM(num_steps=5)])
def test_other_samplers_do_not_look_at_the_variance(method):
    np.testing.assert_array_equal(samples(method, TwoHeads(-1.0)), samples(method, TwoHeads(1.0)))


def test_guidance_leaves_the_variance_of_the_class():
    """v is -1 of the classes and 9 of none: extrapolated it would be neither."""
    network = TwoHeads(0.0, class_values=[-1.0, -1.0, 9.0])
    guided = {"num_classes": 2, "guidance_scale": 2.0}
    learned = samples(DDPM(num_steps=5, variance="learned"), network, **guided)
    fixed = samples(DDPM(num_steps=5, variance="fixed_small"), network, **guided)
    np.testing.assert_allclose(learned, fixed, atol=1e-5)


def test_a_learned_variance_is_not_deterministic_but_in_one_step():
    method = DDPM(num_steps=5, variance="learned")
    assert method.name == "ddpm-5-learned"
    sampler = build_sampler(method, TwoHeads(0.0))
    assert not sampler.deterministic and "interpolation" not in sampler.illustrate()
    assert build_sampler(DDPM(num_steps=1, variance="learned"), TwoHeads(0.0)).deterministic


def test_a_trained_model_is_sampled_saved_and_measured():
    model = ready_to_train(build_model(num_classes=3, bound_images=6))
    labels = np.arange(len(IMAGES)) % 3
    for _ in range(2):
        model.train_on_batch((IMAGES, labels))
    method = DDPM(num_steps=7, variance="learned", guidance_scale=2.0)
    images = samples_of(model, method)
    assert images.shape == (4, *SHAPE) and np.isfinite(images).all()

    loaded = build_model(num_classes=3, bound_images=6, seed=0)
    load_weights(loaded, weights(model))
    np.testing.assert_array_equal(samples_of(loaded, method), images)
    facts = model.facts(IMAGES, labels)
    assert facts == loaded.facts(IMAGES, labels)
    bits = model.bits_per_dimension(IMAGES[:6], labels[:6])
    assert facts["bits_per_dim"] == pytest.approx(bits.mean())
    assert facts["bits_per_dim_se"] == pytest.approx(bits.std(ddof=1) / np.sqrt(6), rel=1e-5)
    assert 0.0 < facts["bits_per_dim"]
    others = {
        variance: model.bits_per_dimension(IMAGES[:6], labels[:6], variance).mean()
        for variance in ("fixed_small", "fixed_large")
    }
    assert len({*others.values(), bits.mean()}) == 3


def samples_of(model, method):
    sampler = model.sampler(method)
    return sampler.sample(*sampler.inputs(0, 4))


def test_a_fixed_variance_is_measured_with_beta():
    model = build_model(learned_variance=False, bound_images=5)
    expected = model.bits_per_dimension(IMAGES[:5], variance="fixed_large").mean()
    labels = np.zeros(len(IMAGES), int)
    assert model.facts(IMAGES, labels)["bits_per_dim"] == pytest.approx(expected)
    few = model.facts(IMAGES[:2], labels[:2])  # as many as there are
    assert few["bits_per_dim"] != pytest.approx(expected)
    assert build_model(learned_variance=False).facts(IMAGES, labels) == {}


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path, monkeypatch):
    plan = {"seed": 0, "batch_size": 8, "num_steps": 4, "num_checkpoints": 2}
    dataset = ImageDataset(
        name="random",
        train_images=IMAGES,
        train_labels=np.zeros(len(IMAGES), int),
        test_images=IMAGES,
        test_labels=np.zeros(len(IMAGES), int),
        num_classes=1,
        fingerprint="random",
        class_names=("0",),
    )

    def train(folder):
        keras.utils.clear_session(free_memory=False)
        model, run = build_model(), RunFolder(tmp_path / folder, "random", "model", "key")
        return model, training.train(model, dataset, run=run, **plan).history

    def stop(monitor, epoch, logs=None):
        end(monitor, epoch, logs)
        raise Stopped

    whole, history = train("whole")
    end = training.TrainingMonitor.on_epoch_end
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(training.TrainingMonitor, "on_epoch_end", stop)
        train("stopped")
    resumed, resumed_history = train("stopped")
    for expected, received in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, received)
    for key in ("loss", "simple_loss", "vlb_loss"):
        assert [row[key] for row in resumed_history] == [row[key] for row in history]


CONTINUOUS = ContinuousCosineSchedule(min_signal_rate=0.02, max_signal_rate=0.95)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": CONTINUOUS}, "discrete time steps.*Received: .*learned_variance=True"),
        (
            {"schedule": CONTINUOUS, "learned_variance": False, "bound_images": 10},
            "discrete time steps.*ContinuousCosineSchedule.*bound_images=10",
        ),
        ({"bound_images": 1}, "at least 2 or None.*bound_images=1"),
        ({"standardize": True}, "scale \\[-1, 1\\].*standardize=True, learned_variance=True"),
    ],
)
def test_what_cannot_be_learned_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(**options)


def test_a_model_of_fixed_variance_has_no_learned_one():
    model = build_model(learned_variance=False)
    with pytest.raises(ValueError, match="variance='learned' needs a model with.*=False"):
        model.sampler(DDPM(num_steps=5, variance="learned"))
    with pytest.raises(ValueError, match="variance='learned' needs a model with.*=False"):
        model.bits_per_dimension(IMAGES, variance="learned")

"""Training on two devices, which are two halves of the processor in a process of its own."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from benchmark import config as configuration
from benchmark import training
from benchmark.cli import RunBuilder
from benchmark.datasets import ImageDataset
from benchmark.devices import build_on_devices, num_devices
from benchmark.errors import UserError
from benchmark.results import Folder, RunFolder
from benchmark.runner import build_model, choose_acceleration
from benchmark.validation import Validation
from models.base import GenerativeModel, to_float
from tests.conftest import build_programs_quickly, small, trainings

ROOT = Path(__file__).parents[2]
PLAN = {"batch_size": 16, "num_steps": 24, "num_checkpoints": 3}
RESUMED = "dcgan"  # the model with the most state: batch statistics and, here, instance noise
OPTIONS = {
    "ddim": ["model.dropout=0.1", "model.standardize=true"],
    "dcgan": ["model.instance_noise=0.1"],
}
SHAPE = (28, 28, 1)


class Killed(Exception):
    pass


class LinearAutoencoder(GenerativeModel):
    """Draws no random numbers.

    Each device draws noise of its own, so that a model with noise is another function of the seed
    on two devices than on one. Without any, the weights must agree.
    """

    def __init__(self, *, image_shape, seed, optimizer):
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer)
        self.narrow = keras.Sequential(
            [
                keras.Input(image_shape),
                layers.Flatten(),
                layers.Dense(8),
                layers.Dense(math.prod(image_shape)),
                layers.Reshape(image_shape),
            ]
        )

    def call(self, images, training=False):
        return self.narrow(to_float(images))

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred - to_float(x)))


class PixelEncoder:
    name, label = "pixels", "pixels"
    recipe = {"encoder": "pixels"}

    def __call__(self, images, progress=None):
        return images[:, ::4, ::4].reshape(len(images), -1) / np.float32(255)


def random_dataset():
    """Images of one brightness each, which are quickly learnt."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 200, (70, 1, 1, 1))
    images = (levels + random.integers(0, 50, (70, *SHAPE))).astype("uint8")
    return ImageDataset(
        name="random",
        train_images=images,
        train_labels=np.arange(70) % 10,
        test_images=images[:40],
        test_labels=np.arange(40) % 10,
        num_classes=10,
        fingerprint="random",
        class_names=tuple("0123456789"),
    )


def train_autoencoder(strategy, folder):
    """Plain gradient descent: Adam divides a wrong factor of the loss out again."""
    keras.utils.clear_session(free_memory=False)
    model = build_on_devices(
        strategy,
        lambda: LinearAutoencoder(
            image_shape=SHAPE, seed=0, optimizer=keras.optimizers.SGD(0.5, momentum=0.9)
        ),
    )
    return model, train(model, folder / f"autoencoder_{strategy}")


def train(model, folder, **options):
    run = RunFolder(folder, "random", "model", "key")
    return training.train(model, random_dataset(), run=run, seed=0, **PLAN, **options)


def compose_builder(folder, name):
    from hydra import compose, initialize_config_module

    configuration.register()
    plan = [f"training.{key}={value}" for key, value in PLAN.items()]
    folders = [f"results_dir={folder}/results", f"cache_dir={folder}/cache"]
    overrides = [f"model={name}", "preset=smoke", "training.strategy=mirrored", *plan, *folders]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("config", overrides=[*overrides, *small(name), *OPTIONS.get(name, [])])
    return RunBuilder(configuration.validate(config), [])


def built(builder):
    return build_model(builder, random_dataset(), choose_acceleration(builder.settings))


def copies(model, variable):
    """A variable as each device has it."""
    values = model.distribute_strategy.experimental_local_results(variable.value)
    return [value.numpy() for value in values]


def draws(model, generator):
    """Noise as each device draws it."""
    strategy = model.distribute_strategy
    noises = strategy.run(lambda: keras.random.normal((4,), seed=generator))
    return [noise.numpy().tolist() for noise in strategy.experimental_local_results(noises)]


def report_on(name, folder):
    """Trains a model of conf/model on two devices; its weights, and what became of it."""
    builder = compose_builder(folder, name)
    model = built(builder)
    validation = Validation(
        model,
        dataset=random_dataset(),
        headline="fid",
        encoder=PixelEncoder(),
        cache=Folder(folder / "cache"),
        method=builder.build_validation_method(),
        every=1,
        num_samples=20,
        batch_size=10,
    )
    result = train(model, folder / name, validation=validation)
    sampler = model.sampler(builder.build_methods()[-1])
    generators = [model.seed_generator]
    generators += [
        layer.seed_generator
        for layer in model._flatten_layers()
        if isinstance(layer, layers.Dropout) and layer.rate
    ]
    return training.weights(model), {
        "num_devices": num_devices(model),
        "losses": [row["loss"] for row in result.history],
        "validations": [row["validation_fid"] for row in result.history],
        "images": sampler.sample(*sampler.inputs(0, 3)).shape,
        "draws": [draws(model, generator) for generator in generators],
        "weights_agree": all(
            np.array_equal(*copies(model, variable)) for variable in model.trainable_variables
        ),
    }


def kill_and_resume(expected, folder):
    """Whether a training that was killed ends with the weights of one that was not.

    It is not validated, where the other was.
    """

    def build():
        return built(compose_builder(folder, RESUMED))

    def kill(monitor, batch, logs=None):
        end(monitor, batch, logs)
        if monitor.step == 13:
            raise Killed

    training.SECONDS_BETWEEN_CHECKPOINTS = 0.0  # so that it goes on within an epoch
    monitor_class = training.TrainingMonitor
    end, monitor_class.on_train_batch_end = monitor_class.on_train_batch_end, kill
    try:
        train(build(), folder / "killed")
    except Killed:
        monitor_class.on_train_batch_end = end
    resumed = build()
    train(resumed, folder / "killed")
    received = training.weights(resumed)
    return all(np.array_equal(expected[key], received[key]) for key in expected)


def refusals(folder):
    """What is said of batches that two devices cannot part."""
    for name, batch_size in (("vae", 15), ("ddgan", 12)):
        builder = compose_builder(folder, name)
        builder.settings["training"]["batch_size"] = batch_size
        try:
            built(builder)
        except UserError as error:
            yield str(error)


def halve_the_processor():
    """Must come before TensorFlow is first used, and so in a process of its own."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, halves)
    build_programs_quickly()


def main(folder):
    """Runs in a process of its own."""
    halve_the_processor()
    (one, one_result), (two, two_result) = (
        train_autoencoder(strategy, folder) for strategy in ("none", "mirrored")
    )
    changes = zip(one.get_weights(), two.get_weights(), strict=True)
    report = {
        "largest_difference": max(float(np.abs(a - b).max()) for a, b in changes),
        "losses": [[row["loss"] for row in result.history] for result in (one_result, two_result)],
        "refusals": list(refusals(folder)),
    }
    (folder / "report.json").write_text(json.dumps(report))


def main_of_models(folder):
    """Trains all models, likewise; they take long to compile for two devices."""
    halve_the_processor()
    reports = {name: report_on(name, folder) for name in trainings()}
    report = {
        "models": {name: told for name, (_, told) in reports.items()},
        "resumed": kill_and_resume(reports[RESUMED][0], folder),
    }
    (folder / "report.json").write_text(json.dumps(report))


def run_alone(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def report_of(function, folder):
    code = f"from tests.benchmark.test_devices import {function.__name__} as main"
    process = run_alone(f"from pathlib import Path; {code}; main(Path({str(folder)!r}))")
    assert process.returncode == 0, process.stderr
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_of(main, tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="module")
def models_report(tmp_path_factory):
    return report_of(main_of_models, tmp_path_factory.mktemp("models"))


@pytest.fixture(params=trainings())
def name_and_told(request, models_report):
    """A model and what was told of its training."""
    return request.param, models_report["models"][request.param]


def test_two_devices_learn_what_one_learns(report):
    one, two = report["losses"]
    assert one[-1] < 0.5 * one[0]
    np.testing.assert_allclose(one, two, rtol=1e-5)
    assert report["largest_difference"] < 1e-5


@pytest.mark.slow
def test_every_model_trains_on_two_devices(name_and_told):
    name, told = name_and_told
    assert told["num_devices"] == 2
    assert told["weights_agree"]
    assert np.isfinite(told["losses"]).all() and np.isfinite(told["validations"]).all()
    if name in ("vae", "ddim"):  # the others have no loss that falls
        assert told["losses"][-1] < told["losses"][0]
    assert told["images"] == [3, *SHAPE]


@pytest.mark.slow
def test_no_device_draws_the_noise_of_another(name_and_told):
    name, told = name_and_told
    generators = told["draws"]
    assert len(generators) > (name == "ddim")  # its dropout draws too
    for first, second in generators:
        assert first != second


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(models_report):
    assert models_report["resumed"]


def test_a_batch_that_cannot_be_parted_is_refused(report):
    vae, ddgan = report["refusals"]
    assert "must be a multiple of 2 for model=vae on 2 devices. Received: " in vae
    assert "training.batch_size=15" in vae
    assert "must be a multiple of 8 for model=ddgan on 2 devices. Received: " in ddgan


def test_jax_is_refused():
    pytest.importorskip("jax")
    process = run_alone(
        "from benchmark.devices import build_on_devices; build_on_devices('mirrored', None)",
        KERAS_BACKEND="jax",
    )
    assert "training.strategy=mirrored needs the backend tensorflow" in process.stderr
    assert "Received: KERAS_BACKEND=jax" in process.stderr

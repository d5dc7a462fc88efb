"""The same code under JAX: one process of its own has KERAS_BACKEND=jax, this one TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from PIL import Image

from benchmark import config as configuration
from benchmark import sampling, training
from benchmark.cli import RunBuilder
from benchmark.results import Folder, RunFolder
from benchmark.runner import build_model, choose_acceleration
from benchmark.validation import Validation
from models.samplers import DDPM
from tests.benchmark.test_devices import Killed, PixelEncoder, random_dataset
from tests.benchmark.test_multirun import SMALL
from tests.conftest import small, trainings
from tests.metrics.test_cost import CASES, count_case

pytestmark = pytest.mark.slow  # JAX takes long to compile

ROOT = Path(__file__).parents[1]
SHAPE = (28, 28, 1)
# Of each model a sampler that is a function of the latents alone.
DETERMINISTIC = {
    "vae": [],
    "dcgan": [],
    "r3gan": [],
    "distilled": ["sampler=consistency", "sampler.num_steps=1"],
    "flow": ["sampler=heun", "sampler.num_steps=3"],
    "meanflow": ["sampler=meanflow", "sampler.num_steps=2"],
    "ddpm": ["sampler=ddim", "sampler.num_steps=5", "sampler.eta=0.0", "model.standardize=true"],
}
COUNTS = (1, 5)
PLAN = {"batch_size": 16, "num_steps": 24, "num_checkpoints": 3}
OPTIONS = {"ddim": ["model.dropout=0.1", "model.standardize=true"]}
RESUMED = "ddim"  # the model with the most state: averages of its weights and, here, dropout


def builder_of(name, folder, *overrides):
    configuration.register()
    plan = [f"training.{key}={value}" for key, value in PLAN.items()]
    folders = [f"results_dir={folder}/results", f"cache_dir={folder}/cache"]
    settings = [f"model={name}", "preset=smoke", *plan, *folders, *overrides]
    with initialize_config_module("conf", version_base="1.3"):
        return RunBuilder(configuration.validate(compose("config", overrides=settings)), [])


def trained_builder(name, folder):
    return builder_of(name, folder, *small(name), *OPTIONS.get(name, []))


def built(builder):
    return build_model(builder, random_dataset(), choose_acceleration(builder.settings))


def sampled(name, folder, arrays=None):
    """Images of a model and the noise that they are made of; its weights too, if not given."""
    builder = builder_of(name, folder, *DETERMINISTIC[name])
    model = built(builder)
    if arrays is None:
        model.set_weights(perturbed(model.get_weights()))
    else:
        training.load_weights(model, arrays)
    sampler = choose_acceleration(builder.settings).apply(model.sampler(builder.build_methods()[0]))
    assert sampler.deterministic
    results = {} if arrays else training.weights(model)
    outputs = {}
    for count in COUNTS:
        latents, seeds = sampler.inputs(3, count)
        outputs |= {f"latents {count}": latents, f"seeds {count}": seeds}
        outputs[f"images {count}"] = sampler.sample(latents, seeds)
    return outputs, results


def perturbed(arrays):
    """Weights none of which is as it starts: some layers start as zeros."""
    random = np.random.default_rng(0)
    return [array + random.normal(0.0, 0.1, array.shape) for array in arrays]


def train(model, folder, **options):
    run = RunFolder(folder, "random", "model", "key")
    return training.train(model, random_dataset(), run=run, seed=0, **PLAN, **options)


def validation_of(builder, model, folder):
    return Validation(
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


def told_of_training(name, folder):
    """What becomes of a model of conf/model that is trained and validated under JAX."""
    builder = trained_builder(name, folder)
    model = built(builder)
    validation = validation_of(builder, model, folder)
    result = train(model, folder / name, validation=validation)
    last = training.weights(model)
    training.load_weights(model, result.best.weights)
    sampler = model.sampler(DDPM(num_steps=3) if name == "ddim" else builder.build_methods()[0])
    images = sampler.sample(*sampler.inputs(0, 3))
    return last, {
        "losses": [row["loss"] for row in result.history],
        "validations": [row["validation_fid"] for row in result.history],
        "best": [result.best.value, validation.distance(validation.sample())],
        "deterministic": sampler.deterministic,
        "images": images.shape,
        "range": [float(images.min()), float(images.max())],
        "spread": float(images.std(axis=0).max()),
    }


def kill_and_resume(expected, folder):
    """Whether a training that was killed ends with the weights of one that was not.

    It is not validated, where the other was.
    """

    def kill(monitor, batch, logs=None):
        end(monitor, batch, logs)
        if monitor.step == 13:
            raise Killed

    builder, folder = trained_builder(RESUMED, folder), folder / "killed"
    training.SECONDS_BETWEEN_CHECKPOINTS = 0.0  # so that it goes on within an epoch
    monitor_class = training.TrainingMonitor
    end, monitor_class.on_train_batch_end = monitor_class.on_train_batch_end, kill
    try:
        train(built(builder), folder)
    except Killed:
        monitor_class.on_train_batch_end = end
    resumed = built(builder)
    train(resumed, folder)
    received = training.weights(resumed)
    return all(np.array_equal(expected[key], received[key]) for key in expected)


def traces(folder):
    """How often a sampler's function is called for many batches, the last of them a part of one."""
    builder = builder_of("ddpm", folder, *small("ddpm"), *DETERMINISTIC["ddpm"])
    sampler = built(builder).sampler(builder.build_methods()[0])
    calls, predict = [], sampler.call
    sampler.call = lambda inputs: calls.append(inputs) or predict(inputs)
    sampling.sample(sampler, folder=Folder(folder / "one"), num_samples=2, batch_size=2)
    first = len(calls)
    images = sampling.sample(sampler, folder=Folder(folder / "many"), num_samples=7, batch_size=2)
    return {"first": first, "all": len(calls), "images": images.shape}


def compile_quickly():
    """Halves the time of compiling where results are compared within one process only."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)


def main(folder):
    """Runs in a process of its own, with JAX."""
    for name in DETERMINISTIC:
        with np.load(folder / f"{name}_weights.npz") as arrays:
            outputs, _ = sampled(name, folder, dict(arrays))
        np.savez(folder / f"{name}_jax.npz", **outputs)
    compile_quickly()
    report = {
        "backend": keras.backend.backend(),
        "traces": traces(folder),
        "operations": {name: count_case(name) for name in CASES},
    }
    (folder / "report.json").write_text(json.dumps(report))


def main_of_training(folder):
    """Trains all models, likewise."""
    compile_quickly()
    trained = {name: told_of_training(name, folder) for name in trainings()}
    report = {
        "backend": keras.backend.backend(),
        "models": {name: told for name, (_, told) in trained.items()},
        "resumed": kill_and_resume(trained[RESUMED][0], folder),
    }
    (folder / "report.json").write_text(json.dumps(report))


def run_under_jax(folder, *arguments, **environment):
    settings = {
        "KERAS_BACKEND": "jax",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),  # some are compiled several times
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),  # locks of its own
        **environment,
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("jax")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs TensorFlow here, to compare JAX with")
    return tmp_path_factory.mktemp("backends")


@pytest.fixture(scope="module")
def outputs(folder):
    """What TensorFlow makes of weights that JAX will be given."""
    outputs = {}
    for name in DETERMINISTIC:
        outputs[name], weights = sampled(name, folder)
        np.savez(folder / f"{name}_weights.npz", **weights)
    return outputs


def report_of(function, folder):
    code = f"from pathlib import Path; from tests.test_backends import {function.__name__} as main"
    process = run_under_jax(folder, "-c", f"{code}; main(Path('.'))")
    assert process.returncode == 0, process.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["backend"] == "jax"
    return report


@pytest.fixture(scope="module")
def report(folder, outputs):
    return report_of(main, folder)


@pytest.fixture(scope="module")
def training_report(folder):
    return report_of(main_of_training, folder)


@pytest.fixture(params=trainings())
def name_and_told(request, training_report):
    """A model and what was told of its training."""
    return request.param, training_report["models"][request.param]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_same_weights_make_the_same_images(folder, outputs, report, name, count):
    with np.load(folder / f"{name}_jax.npz") as arrays:
        received = dict(arrays)
    for key in (f"latents {count}", f"seeds {count}"):
        np.testing.assert_array_equal(received[key], outputs[name][key])
    expected = outputs[name][f"images {count}"]
    assert np.mean(np.abs(expected) < 1.0) > 0.5  # they are not clipped
    assert expected.std(axis=(1, 2)).min() > 1e-2  # nor flat
    np.testing.assert_allclose(received[f"images {count}"], expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_each_of_those_images_is_another(outputs, name):
    images = outputs[name][f"images {COUNTS[-1]}"]
    assert images.std(axis=0).mean() > 1e-2


def test_sampling_is_traced_once_whatever_the_number_of_images(report):
    assert report["traces"] == {"first": 1, "all": 1, "images": [7, *SHAPE]}


def test_operations_are_counted_alike(report):
    assert report["operations"] == {name: operations for name, (_, _, operations) in CASES.items()}


def test_every_model_trains_and_samples(name_and_told):
    name, told = name_and_told
    assert np.isfinite(told["losses"]).all() and np.isfinite(told["validations"]).all()
    if name in ("vae", "ddim"):  # the others have no loss that falls
        assert told["losses"][-1] < told["losses"][0]
    assert told["deterministic"] == (name not in ("ddgan", "ddim"))  # whose steps draw noise
    assert told["images"] == [3, *SHAPE] and told["spread"] > 0.0
    assert -1.0 <= told["range"][0] < told["range"][1] <= 1.0


def test_the_best_weights_are_those_that_were_validated(name_and_told):
    _, told = name_and_told
    best, measured = told["best"]
    assert best == min(told["validations"])
    assert measured == pytest.approx(best, abs=1e-6)


def test_a_killed_training_goes_on_bit_for_bit(training_report):
    assert training_report["resumed"]


def test_the_command_runs(folder):
    (folder / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), "uint8")
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / "pictures" / f"{number}.png")
    arguments = ["-m", "benchmark", "cache_dir=cache", *SMALL]
    process = run_under_jax(folder, *arguments, JAX_DISABLE_MOST_OPTIMIZATIONS="true")
    assert process.returncode == 0, process.stderr
    rows = pd.read_csv(folder / "results" / "trilemma.csv")
    (row,) = rows[rows["model"] == "vae"].to_dict("records")
    assert row["status"] == "finished"
    assert np.isfinite([row["kid_mean"], row["images_per_second"]]).all()
    (path,) = (folder / "results").glob("runs/*/*/*/run.json")
    assert json.loads(path.read_text())["environment"]["backend"] == "jax"

"""The best weights: what is measured of which weights, and that training does not notice."""

import keras
import numpy as np
import pytest

from benchmark import checkpoints, files, training
from benchmark import config as configuration
from benchmark.checkpoints import Progress
from benchmark.cli import RunBuilder
from benchmark.datasets import ImageDataset
from benchmark.datasets.mnist import load_mnist
from benchmark.errors import UserError
from benchmark.results import Folder, RunFolder
from benchmark.training import load_weights, weights
from benchmark.validation import Best, Validation, averaged_weights, is_better
from metrics.fid import fid
from models.base import to_uint8
from models.optimizers import AveragedAdam
from models.samplers import DDIM
from tests.conftest import small

PLAN = {"batch_size": 8, "num_steps": 12, "num_checkpoints": 3}
# Batch statistics; averages of the weights.
MODELS = ("dcgan", pytest.param("ddpm", marks=pytest.mark.slow))


class Killed(Exception):
    pass


class PixelEncoder:
    """Features are a coarse grid of pixels."""

    name, label, weights_hash, requires_classifier = "pixels", "pixels", "0", False
    recipe = {"encoder": "pixels"}

    def __call__(self, images, progress=None):
        return images[:, ::4, ::4].reshape(len(images), -1) / np.float32(255)


class Scripted:
    """A validation that gives the values that it is told, and keeps the weights that it sees."""

    headline, history_column = "fid_digits", "validation_fid_digits"
    encoder = PixelEncoder()

    def __init__(self, model, values):
        self.model = model
        self.values = list(values)
        self.seen = []

    def is_due(self, checkpoint, num_checkpoints):
        return True

    def sample(self):
        self.seen.append(weights(self.model))

    def distance(self, images):
        return self.values[len(self.seen) - 1]

    def rejected_fraction_of(self, images):
        return {}


@pytest.fixture(scope="module")
def dataset(shared_cache):
    whole = load_mnist(cache_dir=shared_cache)
    return ImageDataset(
        name="few",
        train_images=np.array(whole.train_images[:70]),
        train_labels=np.array(whole.train_labels[:70]),
        test_images=np.array(whole.test_images[:40]),
        test_labels=np.array(whole.test_labels[:40]),
        num_classes=10,
        fingerprint="few",
        class_names=whole.class_names,
    )


@pytest.fixture
def build(compose_config, dataset):
    def build_model(name):
        keras.utils.clear_session(free_memory=False)  # as a new process would be
        options = [f"training.{key}={value}" for key, value in PLAN.items()]
        config = compose_config(f"model={name}", "preset=smoke", *options, *small(name))
        return RunBuilder(configuration.validate(config), []).build_model(dataset.image_shape)

    return build_model


@pytest.fixture
def train(dataset, tmp_path):
    def train_model(model, folder, validation=None):
        run = RunFolder(tmp_path / folder, "few", "model", "key")
        return training.train(model, dataset, run=run, seed=0, validation=validation, **PLAN)

    return train_model


@pytest.fixture
def validation_of(dataset, tmp_path):
    def build_validation(model, every=1, num_samples=20, **options):
        method = DDIM(num_steps=3) if model.name == "ddpm" else None
        return Validation(
            model,
            dataset=options.get("dataset", dataset),
            headline="fid_digits",
            encoder=PixelEncoder(),
            cache=Folder(tmp_path / "cache"),
            method=method,
            every=every,
            num_samples=num_samples,
            batch_size=options.get("batch_size", 8),
        )

    return build_validation


def everything(model):
    """All that training goes on from: weights, batch statistics, seeds, moments and averages."""
    return checkpoints.state(model, Progress())


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def differ(left, right):
    return any(not np.array_equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("name", MODELS)
def test_validation_leaves_no_trace_in_the_training(build, train, validation_of, name):
    plain, validated = build(name), build(name)
    expected = train(plain, "plain").history
    received = train(validated, "validated", validation_of(validated)).history
    assert_same(everything(plain), everything(validated))
    assert [row["loss"] for row in received] == [row["loss"] for row in expected]
    assert all(np.isfinite(row["validation_fid_digits"]) for row in received)


def test_the_averages_are_validated(build, train):
    """After the last step, what was validated is what training ends with."""
    model = build("vae")
    model.compile(optimizer=AveragedAdam(1e-3))
    scripted = Scripted(model, [0.3, 0.2, 0.1])
    steps = []
    original = training.TrainingMonitor.on_train_batch_end

    class Watching(training.TrainingMonitor):
        def on_train_batch_end(self, batch, logs=None):
            original(self, batch, logs)
            steps.append(weights(self.model))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "TrainingMonitor", Watching)
        result = train(model, "averaged", scripted)
    assert_same(scripted.seen[-1], weights(model))
    assert differ(scripted.seen[-1], steps[-1])  # the averages are not the raw weights
    assert_same(result.best.weights, weights(model))


@pytest.fixture
def averaging():
    """A small model after two steps of an optimizer that averages the weights."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.update_statistics = lambda: None
    model.compile(optimizer=AveragedAdam(0.1), loss="mse")
    for step in range(2):
        model.train_on_batch(np.full((4, 2), step + 1.0), np.ones((4, 3)))
    return model


def test_the_averages_come_and_go_bit_for_bit(averaging):
    before = everything(averaging)
    with averaged_weights(averaging):
        averages = weights(averaging)
        assert differ(before, everything(averaging))
    assert_same(before, everything(averaging))
    averaging.optimizer.finalize_variable_values(averaging.trainable_variables)
    assert_same(averages, weights(averaging))


def test_the_weights_are_put_back_when_measuring_fails(averaging):
    before = everything(averaging)
    with pytest.raises(Killed), averaged_weights(averaging):
        raise Killed
    assert_same(before, everything(averaging))


@pytest.mark.parametrize(("values", "best"), [([3.0, 1.0, 2.0], 1), ([3.0, 2.0, -1.0], 2)])
def test_the_best_weights_are_those_of_the_lowest_value(build, train, values, best):
    model = build("vae")
    scripted = Scripted(model, values)
    result = train(model, "best", scripted)
    assert [row["validation_fid_digits"] for row in result.history] == values
    assert result.best.description == {
        "step": 4 * (best + 1),
        "measure": "fid_digits",
        "value": values[best],
        "instrument": "pixels",
    }
    assert_same(result.best.weights, scripted.seen[best])
    assert differ(result.best.weights, weights(model)) == (best != 2)


def test_another_instrument_s_values_leave_the_history(build, train, capsys):
    class Ending(Scripted):
        def is_due(self, checkpoint, num_checkpoints):
            if checkpoint == 3:
                raise Killed
            return True

    class OtherEncoder(PixelEncoder):
        label = "other pixels"

    with pytest.raises(Killed):
        model = build("vae")
        train(model, "other", Ending(model, [3.0, 1.0]))
    resumed = build("vae")
    scripted = Scripted(resumed, [2.0])
    scripted.encoder = OtherEncoder()
    result = train(resumed, "other", scripted)
    assert [row.get("validation_fid_digits") for row in result.history] == [None, None, 2.0]
    assert result.best.value == 2.0 and result.best.instrument == "other pixels"
    assert "measured with pixels so far" in " ".join(capsys.readouterr().out.split())


def test_what_is_measured_is_the_frechet_distance_to_test_images(build, validation_of, dataset):
    model = build("vae")
    validation = validation_of(model, num_samples=40)
    received = validation.distance(validation.sample())
    sampler = model.sampler()
    images = to_uint8(sampler.sample(*sampler.inputs(0, 40)))
    encode = PixelEncoder()
    generated = {"generated_features": encode(images)}
    expected = fid(real_features=encode(dataset.test_images), **generated)
    others = fid(real_features=encode(dataset.train_images[:40]), **generated)
    assert received == pytest.approx(expected, rel=1e-5)
    assert abs(others - expected) > 1e-4 * expected  # ten times as far as rounding


def test_batches_change_nothing_but_rounding(build, validation_of):
    model = build("vae")
    whole = validation_of(model, batch_size=20)
    for batch_size in (3, 100):
        parts = validation_of(model, batch_size=batch_size).sample()
        assert whole.distance(parts) == pytest.approx(whole.distance(whole.sample()), rel=1e-3)


def test_there_are_no_more_images_than_the_test_split_has(build, validation_of):
    assert len(validation_of(build("vae"), num_samples=1000).real_features) == 40


def test_one_test_image_is_too_few(build, validation_of):
    image = np.zeros((1, 28, 28, 1), "uint8")
    single = ImageDataset(
        name="single", train_images=image, train_labels=np.zeros(1, "int64"), test_images=image,
        test_labels=np.zeros(1, "int64"), num_classes=None, fingerprint="single",
    )  # fmt: skip
    with pytest.raises(UserError, match="training.validation.every=null"):
        validation_of(build("vae"), dataset=single)


def test_every_so_many_checkpoints_are_validated_and_the_last(build, validation_of, train):
    model = build("vae")
    history = train(model, "every", validation_of(model, every=2)).history
    assert ["validation_fid_digits" in row for row in history] == [False, True, True]
    folder = RunFolder("unused", "few", "model", "key")
    folder.write_text = lambda name, text: lines.extend(text.splitlines())
    lines = []
    folder.write_history(history)
    assert lines[0].endswith(",validation_fid_digits")
    assert [line.endswith(",") for line in lines[1:]] == [True, False, False]


def test_values_of_different_measures_or_instruments_do_not_compare():
    best = Best(step=4, measure="fid", value=0.1, instrument="one", weights={})
    assert is_better(0.05, "fid", "one", best) and not is_better(0.1, "fid", "one", best)
    assert is_better(9.0, "fid", "another", best) and is_better(9.0, "fid_digits", "one", best)


def test_it_says_what_is_measured_how(build, validation_of):
    told = {"measure": "fid_digits", "instrument": "pixels", "num_samples": 40}
    for name, sampler in (("vae", "decoder-mean"), ("ddpm", "ddim-3")):
        validation = validation_of(build(name), num_samples=50)
        assert validation.description == {**told, "sampler": sampler}


@pytest.fixture(scope="module")
def whole_training():
    """Kept between the tests: what a training that nobody stops comes to."""
    return {}


@pytest.mark.parametrize(
    ("write", "moment"),
    [
        (2, "before"),
        *(pytest.param(write, "after", marks=pytest.mark.slow) for write in (2, 3)),
    ],
)
def test_a_training_killed_around_a_checkpoint_has_the_same_best(
    build, train, validation_of, whole_training, monkeypatch, write, moment
):
    """A value is measured, and then the process ends, before or after its checkpoint's write."""
    if not whole_training:
        model = build("vae")
        result = train(model, "whole", validation_of(model))
        whole_training.update(state=everything(model), result=result)

    def kill(path, content):
        writes.append(path)
        if len(writes) < write or moment == "after":
            original(path, content)
        if len(writes) == write:
            raise Killed

    writes, original = [], files.write_atomically
    killed = build("vae")
    validation = validation_of(killed)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "write_atomically", kill)
        train(killed, "killed", validation)
    resumed = build("vae")
    received, expected = train(resumed, "killed", validation_of(resumed)), whole_training["result"]

    assert_same(whole_training["state"], everything(resumed))
    assert received.best.description == expected.best.description
    assert_same(received.best.weights, expected.best.weights)
    values = [[row["validation_fid_digits"] for row in run.history] for run in (expected, received)]
    assert values[0] == values[1]


def test_the_best_weights_survive_being_saved(build):
    model = build("vae")
    model.optimizer.build(model.trainable_variables)
    best = Best(step=4, measure="fid", value=0.25, instrument="pixels", weights=weights(model))
    arrays = checkpoints.state(model, Progress(best=best))
    other = build("vae")
    received = checkpoints.restore(other, arrays).best
    assert received.description == best.description
    assert_same(received.weights, best.weights)
    load_weights(other, received.weights)
    assert Best.from_arrays(everything(model)) is None

import dataclasses
import functools
import os
import signal
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from benchmark import checkpoints, console, interruption, machine, training
from benchmark import config as configuration
from benchmark.checkpoints import Progress
from benchmark.cli import RunBuilder
from benchmark.datasets import ImageDataset
from benchmark.interruption import Interruption
from benchmark.results import RunFolder
from metrics.cost import count_flops
from tests.conftest import small, trainings

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 28, 28, 1), dtype="uint8")
DATASET = ImageDataset(
    name="random",
    train_images=IMAGES,
    train_labels=np.arange(70) % 10,
    test_images=IMAGES[:20],
    test_labels=np.arange(20) % 10,
    num_classes=10,
    fingerprint="random",
    class_names=tuple("0123456789"),
)
PLAN = {"batch_size": 8, "num_steps": 12, "num_checkpoints": 3}
LONG_TO_COMPILE = ("ddgan", "ddim")
ADAM = "model.optimizer._target_=models.optimizers.AveragedAdam"


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def build(compose_config):
    def build_model(name, *overrides):
        keras.utils.clear_session(free_memory=False)  # as a new process would be
        config = compose_config(
            f"model={name}",
            "preset=smoke",
            *(f"training.{key}={value}" for key, value in PLAN.items()),
            *small(name),
            *overrides,
        )
        return RunBuilder(configuration.validate(config), []).build_model(IMAGES.shape[1:])

    return build_model


@pytest.fixture(scope="module")
def whole(build, tmp_path_factory):
    """What a training that nobody stops comes to, once for each model: weights and history."""

    @functools.cache
    def train_whole(name):
        model = build(name)
        history = train(model, tmp_path_factory.mktemp("whole")).history
        return model.get_weights(), history

    return train_whole


def train(model, folder, seed=0):
    run = RunFolder(folder, "random", "model", "key")
    return training.train(model, DATASET, run=run, seed=seed, **PLAN)


@pytest.mark.parametrize(
    ("name", "kill_step"),
    [
        pytest.param("vae", 2, marks=pytest.mark.slow),
        *(
            pytest.param(name, 9, marks=pytest.mark.slow if name in LONG_TO_COMPILE else ())
            for name in trainings()
        ),
    ],
)
def test_a_killed_training_goes_on_bit_for_bit(
    build, whole, name, kill_step, tmp_path, monkeypatch
):
    weights, history = whole(name)

    def kill(monitor, batch, logs=None):
        end(monitor, batch, logs)
        if monitor.step == kill_step:
            raise Killed

    end = training.TrainingMonitor.on_train_batch_end
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.TrainingMonitor, "on_train_batch_end", kill)
        train(build(name), tmp_path / "killed")
    resumed = build(name)
    resumed_history = train(resumed, tmp_path / "killed").history

    for expected, received in zip(weights, resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, received)
    assert [row["step"] for row in resumed_history] == [4, 8, 12]
    assert [row["loss"] for row in resumed_history] == [row["loss"] for row in history]


def test_a_training_that_starts_anew_adapts_the_model_and_one_that_goes_on_does_not(
    build, tmp_path, monkeypatch
):
    def adapt(model, images):
        adapted.append((images, int(model.optimizer.iterations)))

    def kill(monitor, batch, logs=None):
        end(monitor, batch, logs)
        if monitor.step == 9:
            raise Killed

    adapted, end = [], training.TrainingMonitor.on_train_batch_end
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.TrainingMonitor, "on_train_batch_end", kill)
        patch.setattr("models.vae.VAE.adapt", adapt)
        train(build("vae"), tmp_path)
    (images, step) = adapted.pop()
    np.testing.assert_array_equal(images, IMAGES)
    assert step == 0 and not adapted
    monkeypatch.setattr("models.vae.VAE.adapt", adapt)
    assert train(build("vae"), tmp_path).history[-1]["step"] == 12
    assert not adapted


def test_what_a_model_took_from_the_images_comes_with_a_checkpoint(build):
    first, resumed = (build("ddpm", "model.standardize=true") for _ in range(2))
    checkpoints.restore(first, {})
    first.adapt(IMAGES)
    checkpoints.restore(resumed, checkpoints.state(first, Progress()))
    for expected, received in zip(
        first.standardization.get_weights(), resumed.standardization.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(received, expected)
        assert received not in (0.0, 1.0)


def test_the_operations_of_a_step_are_counted_for_each_image(build, tmp_path):
    """At least three times those of the decoder, as the encoder is trained too."""
    model = build("vae", ADAM)
    train(model, tmp_path)
    state = RunFolder(tmp_path, "random", "model", "key").state
    decoding = count_flops(model.decoder, np.zeros((1, model.latent_dim), "float32"))
    assert 3 * decoding < state["train_flops_per_image"] < 6 * decoding
    train(model, tmp_path)
    assert RunFolder(tmp_path, "random", "model", "key").state == state  # nothing is left to do


def test_the_operations_of_the_optimizer_are_counted_too(build, tmp_path):
    """Of Muon: five times X X^T, its square, and its product with X, for each kernel X."""
    matrices = 0
    flops = []
    for overrides in ([ADAM], []):
        model = build("vae", *overrides)
        folder = tmp_path / str(len(overrides))
        train(model, folder)
        state = RunFolder(folder, "random", "model", "key").state
        flops.append(PLAN["batch_size"] * state["train_flops_per_image"])
    for variable in model.trainable_variables:
        if variable.name == "kernel":
            small, large = sorted((variable.shape[-1], np.prod(variable.shape[:-1])))
            matrices += 5 * (2 * 2 * small**2 * large + 2 * small**3)
    assert flops[1] - flops[0] == pytest.approx(matrices)


def test_the_order_of_the_images_is_part_of_the_seed(build, whole, tmp_path):
    _, first = whole("vae")
    other = train(build("vae"), tmp_path / "other", seed=1).history
    assert first[-1]["loss"] != other[-1]["loss"]


def test_paused_changes_no_bit_and_counts_as_no_training(build, whole, tmp_path, monkeypatch):
    def stand_still():
        with machine.paused():
            time.sleep(0.3)

    weights, _ = whole("vae")
    monkeypatch.setattr(console, "at_updates", [stand_still])
    paused, start = build("vae"), time.perf_counter()
    history = train(paused, tmp_path / "paused").history
    assert time.perf_counter() - start - history[-1]["seconds"] > 12 * 0.3
    for expected, received in zip(weights, paused.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, received)
    state = RunFolder(tmp_path / "paused", "random", "model", "key").state
    assert state["stage_seconds"]["training"] == pytest.approx(history[-1]["seconds"], abs=0.01)


@pytest.mark.parametrize("name", ["vae", pytest.param("dcgan", marks=pytest.mark.slow)])
def test_several_steps_at_once_are_the_same_steps(build, whole, name, tmp_path):
    """Two at a time, as 3 divide no checkpoint of 4 steps."""
    weights, expected = whole(name)
    several = build(name)
    several.steps_per_execution = 3
    received = train(several, tmp_path).history
    assert several.steps_per_execution == 2
    assert [row["step"] for row in received] == [4, 8, 12]
    assert received[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=1e-4)
    for weight, other in zip(weights, several.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


@pytest.mark.parametrize("num_classes", [None, 10])
def test_the_dataset_says_whether_images_are_mirrored(num_classes):
    model = SimpleNamespace(num_classes=num_classes)

    def first_batch(dataset):
        batch = next(iter(training.batches(model, dataset, batch_size=70, seed=0)))
        images, *labels = batch[0] if num_classes else (batch,)
        return np.array(images), [np.array(label) for label in labels]

    plain, labels = first_batch(DATASET)
    flipped, same_labels = first_batch(dataclasses.replace(DATASET, horizontal_flip=True))
    is_same = (plain == flipped).all(axis=(1, 2, 3))
    is_mirrored = (plain == flipped[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (is_same | is_mirrored).all() and 10 < is_mirrored.sum() < 60
    assert len(labels) == len(same_labels) == (num_classes is not None)
    for label, same in zip(labels, same_labels, strict=True):
        np.testing.assert_array_equal(label, same)


@pytest.mark.parametrize("name", ["reconstruction_loss", "kl_loss"])
def test_any_loss_that_is_not_a_number_stops_the_training(build, name, tmp_path, monkeypatch):
    """The key "loss" alone is not enough: here it stays finite."""
    model = build("vae")
    end = training.TrainingMonitor.on_train_batch_end
    monkeypatch.setattr(
        training.TrainingMonitor,
        "on_train_batch_end",
        lambda monitor, batch, logs: end(
            monitor, batch, {**logs, name: np.nan} if monitor.step == 5 else logs
        ),
    )
    result = train(model, tmp_path)
    assert result.diverged == f"{name} was nan at step 6"
    assert [row["step"] for row in result.history] == [4]


def test_a_real_divergence_is_noticed(build, tmp_path):
    model = build("vae", "model.optimizer.learning_rate=1e6")
    result = train(model, tmp_path)
    assert "loss" in result.diverged


class Clock:
    """Comes to each step of a training, and may do something there."""

    def __init__(self, monkeypatch, at_step):
        end = training.TrainingMonitor.on_train_batch_end

        def count(monitor, batch, logs=None):
            at_step(monitor)
            end(monitor, batch, logs)

        monkeypatch.setattr(training.TrainingMonitor, "on_train_batch_end", count)


def stop_at(step):
    """Sends this process a signal within step number `step`."""

    def stop(monitor):
        if monitor.step + monitor.model.steps_per_execution == step:
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 10
            while not interruption.is_requested() and time.monotonic() < deadline:
                time.sleep(0.001)  # another thread may be the one that the system tells

    return stop


def train_until_told(build, folder, name="vae", **watched):
    with pytest.raises(Interruption) as stopped, interruption.handled():
        train(build(name), folder, **watched)
    assert stopped.value.number == signal.SIGTERM
    run = RunFolder(folder, "random", "model", "key")
    return int(checkpoints.paths(run)[-1].stem)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("vae", "dcgan") else pytest.mark.slow)
        for name in trainings()
    ],
)
@pytest.mark.parametrize("step", [1, 4, 6, 12])
def test_a_signal_stops_after_the_step_and_nothing_is_done_twice(
    build, whole, name, step, tmp_path, monkeypatch
):
    """At the start, at the end of an epoch, within one, and after the last step."""
    weights, history = whole(name)
    with monkeypatch.context() as patch:
        Clock(patch, stop_at(step))
        assert train_until_told(build, tmp_path, name) == step
    steps = []
    Clock(monkeypatch, lambda monitor: steps.append(monitor.step + 1))
    resumed = build(name)
    received = train(resumed, tmp_path).history
    assert steps == list(range(step + 1, 13))
    for expected, weight in zip(weights, resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, weight)
    losses = [{key: row[key] for key in row if key != "seconds"} for row in received]
    assert losses == [{key: row[key] for key in row if key != "seconds"} for row in history]
    seconds = [row["seconds"] for row in received]
    assert seconds == sorted(seconds)


def test_a_checkpoint_is_due_after_a_time(build, whole, tmp_path, monkeypatch):
    """A training killed right after it goes on from there, with the means of the steps before."""

    def kill(monitor):
        if monitor.step == 6:
            raise Killed

    weights, history = whole("vae")
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        Clock(patch, kill)
        train(build("vae"), tmp_path)
    run = RunFolder(tmp_path, "random", "model", "key")
    assert [path.stem for path in checkpoints.paths(run)] == ["00000005", "00000006"]
    resumed = build("vae")
    received = train(resumed, tmp_path).history
    assert [row["loss"] for row in received] == [row["loss"] for row in history]
    for expected, weight in zip(weights, resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, weight)


def test_several_steps_at_once_go_on_within_an_epoch(build, whole, tmp_path, monkeypatch):
    """After 2 of 4 steps 4 at once would be too many."""
    weights, _ = whole("vae")
    with monkeypatch.context() as patch:
        Clock(patch, stop_at(6))
        train_until_told(build, tmp_path)
    resumed = build("vae")
    resumed.steps_per_execution = 4
    assert [row["step"] for row in train(resumed, tmp_path).history] == [4, 8, 12]
    assert resumed.steps_per_execution == 2
    for weight, other in zip(weights, resumed.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)

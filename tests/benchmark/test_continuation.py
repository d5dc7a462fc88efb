import numpy as np
import pytest

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.continuation import take_start
from benchmark.errors import UserError
from benchmark.results import RunFolder
from benchmark.training import weights
from benchmark.training_cost import cost_notes, cost_of, train_cost
from tests.conftest import small

SHAPE = (28, 28, 1)
STATE = {"train_seconds": 100.0, "images_seen": 6400, "train_flops_per_image": 1e9}


@pytest.fixture
def settings_of(compose_config, tmp_path):
    def settings(*overrides):
        chosen = ["model=vae", "preset=smoke", *small("vae"), f"results_dir={tmp_path}"]
        return configuration.validate(compose_config(*chosen, *overrides))

    return settings


@pytest.fixture
def finished(settings_of, tmp_path):
    """A model of another seed, and the folder that its finished run left."""
    model = RunBuilder({**settings_of(), "seed": 7}, []).build_model(SHAPE)
    folder = RunFolder(tmp_path, "mnist", "vae", "aaaa")
    folder.update_state(**STATE)
    folder.write_arrays("weights.npz", weights(model))
    return model, folder


def test_training_goes_on_from_the_weights_of_a_run(settings_of, finished):
    model, folder = finished
    settings = settings_of(f"start_from={folder.path}", "training.num_steps=600")
    start = take_start(settings, "mnist")
    assert settings["start_from"] == "aaaa"
    own = RunBuilder(settings, []).build_model(SHAPE)
    start.give_weights(own)
    for expected, received in zip(model.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, received)


def test_the_key_of_a_run_names_it_too(settings_of, finished, tmp_path):
    _, folder = finished
    key = "0123456789abcdef"
    folder.path.rename(folder.path.with_name(key))
    assert take_start(settings_of("start_from=01234567"), "mnist").run.key == key
    (folder.path.with_name("01234567ffffffff")).mkdir()
    with pytest.raises(UserError, match="folder of a finished run"):
        take_start(settings_of("start_from=01234567"), "mnist")


def test_a_training_that_begins_anew_starts_from_nothing(settings_of):
    assert take_start(settings_of(), "mnist") is None


def test_both_trainings_are_the_cost_and_stand_in_the_notes(settings_of, finished):
    _, folder = finished
    start = take_start(settings_of(f"start_from={folder.path}"), "mnist")
    state = {"train_seconds": 40.0, "images_seen": 600, "train_flops_per_image": 2e9}
    state["started_from"] = cost_of(start.run)
    assert train_cost(state) == {
        "train_seconds": 140.0,
        "images_seen": 7000,
        "train_pflops": pytest.approx((6400e9 + 1200e9) / 1e15),
    }
    note = "trained 40 s besides the 100 s of the run that it continues, run aaaa"
    assert cost_notes(state) == [note]
    chain = {**STATE, "started_from": {"run": "bbbb", **train_cost(state)}}
    assert train_cost(chain)["train_seconds"] == 240.0


def test_another_run_is_refused(settings_of, finished):
    _, folder = finished
    named = f"start_from={folder.path}"
    with pytest.raises(UserError, match="folder of a finished run.*start_from=nosuch"):
        take_start(settings_of("start_from=nosuch"), "mnist")
    with pytest.raises(UserError, match="on dataset fashion_mnist.*a run on mnist"):
        take_start(settings_of(named), "fashion_mnist")
    settings = settings_of(named, "model.widths=[16]")
    start = take_start(settings, "mnist")
    with pytest.raises(UserError, match="of the same network as model=vae"):
        start.give_weights(RunBuilder(settings, []).build_model(SHAPE))

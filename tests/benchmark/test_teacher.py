import json

import numpy as np
import pytest
import yaml

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.errors import UserError
from benchmark.results import RunFolder
from benchmark.teacher import take_teacher
from benchmark.training import weights
from benchmark.training_cost import cost_notes, cost_of, train_cost
from tests.conftest import small

SHAPE = (28, 28, 1)


@pytest.fixture
def settings_of(compose_config, tmp_path):
    def settings(*overrides):
        folder = f"results_dir={tmp_path}"
        return configuration.validate(compose_config("preset=smoke", folder, *overrides))

    return settings


@pytest.fixture
def train_teacher(settings_of, tmp_path):
    """Writes what a finished run of a DDPM leaves; its weights are those of another seed."""

    def train(key, *overrides, dataset="mnist"):
        settings = settings_of("model=ddpm", *small("ddpm"), *overrides)
        model = RunBuilder({**settings, "seed": 7}, []).build_model(SHAPE)
        folder = RunFolder(tmp_path, dataset, settings["model"]["name"], key)
        folder.write_config(settings)
        folder.update_state(train_seconds=100.0, images_seen=6400, train_flops_per_image=1e9)
        folder.write_arrays("weights.npz", weights(model))
        return model, folder

    return train


def test_the_run_of_the_same_dataset_preset_and_seed_teaches(settings_of, train_teacher):
    model, folder = train_teacher("aaaa", "model.num_classes=10")
    train_teacher("bbbb", "seed=1")
    settings = settings_of("model=distilled")
    teacher = take_teacher(settings, "mnist")
    assert settings["teacher"] == "aaaa"
    assert settings["model"]["num_classes"] == 10
    student = RunBuilder(settings, []).build_model(SHAPE)
    student.learn_from(teacher.weights)
    for ours, theirs in zip(student.student.get_weights(), model.unet.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_folder_names_the_teacher(settings_of, train_teacher):
    _, folder = train_teacher("bbbb", "seed=1")
    settings = settings_of("model=distilled", f"teacher={folder.path}")
    assert take_teacher(settings, "mnist").run.path == folder.path
    assert settings["teacher"] == "bbbb"


def test_its_training_is_part_of_the_cost(settings_of, train_teacher):
    _, folder = train_teacher("aaaa")
    teacher = take_teacher(settings_of("model=distilled"), "mnist")
    state = {"train_seconds": 40.0, "images_seen": 600, "train_flops_per_image": 2e9}
    assert train_cost({**state, "teacher": json.loads(json.dumps(cost_of(teacher.run)))}) == {
        "train_seconds": 140.0,
        "images_seen": 7000,
        "train_pflops": pytest.approx((6400e9 + 1200e9) / 1e15),
    }
    (note,) = cost_notes({**state, "teacher": cost_of(teacher.run)})
    assert note == "trained 40 s besides the 100 s of its teacher, run aaaa"
    assert cost_notes(state) == []


def test_without_a_teacher_it_is_said_how_to_get_one(settings_of, train_teacher):
    train_teacher("bbbb", "seed=1")
    with pytest.raises(UserError, match="no teacher.*model=ddpm preset=smoke seed=0, or give"):
        take_teacher(settings_of("model=distilled"), "mnist")


def test_several_that_could_teach_are_listed(settings_of, train_teacher):
    train_teacher("aaaa")
    train_teacher("bbbb", "training.num_steps=50")
    with pytest.raises(UserError, match="2 runs.*teacher=.*aaaa, teacher=.*bbbb"):
        take_teacher(settings_of("model=distilled"), "mnist")


def test_what_is_no_teacher_is_refused(settings_of, train_teacher, tmp_path):
    with pytest.raises(UserError, match="folder of a finished run.*teacher=nosuch"):
        take_teacher(settings_of("model=distilled", "teacher=nosuch"), "mnist")
    _, folder = train_teacher("aaaa")
    named = f"teacher={folder.path}"
    with pytest.raises(UserError, match="on dataset fashion_mnist.*model=ddpm on mnist"):
        take_teacher(settings_of("model=distilled", named), "fashion_mnist")
    with pytest.raises(UserError, match="must be that of the teacher, None.*num_classes=10"):
        take_teacher(settings_of("model=distilled", named, "model.num_classes=10"), "mnist")
    config = yaml.safe_load((folder.path / "config.yaml").read_text())
    config["model"]["_target_"] = "models.flow.FlowModel"
    folder.write_config(config)
    with pytest.raises(UserError, match="must be a run of model=ddpm"):
        take_teacher(settings_of("model=distilled", named), "mnist")


def test_other_models_have_no_teacher(settings_of):
    assert take_teacher(settings_of("model=vae"), "mnist") is None
    with pytest.raises(UserError, match="model=vae has no teacher.*teacher=somewhere"):
        settings_of("model=vae", "teacher=somewhere")

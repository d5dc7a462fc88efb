"""The photograph that comes with matplotlib, and what may take its place."""

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.errors import EnvironmentProblem


@pytest.fixture
def load(compose_config, tmp_path):
    def load(*overrides):
        options = ["dataset=sample_picture", f"cache_dir={tmp_path}/cache", *overrides]
        return RunBuilder(configuration.validate(compose_config(*options)), []).load_dataset()

    return load


def test_the_photograph_is_there_without_a_network(load):
    dataset = load()
    assert dataset.name == "grace_hopper" and dataset.num_classes is None
    assert dataset.train_images.shape == (1, 64, 64, 3)
    np.testing.assert_array_equal(dataset.test_images, dataset.train_images)
    image = dataset.train_images[0].astype(int)
    assert image.std() > 50
    red, _, blue = image[:16, -8:].mean(axis=(0, 1))
    assert blue > red + 50  # the sky-blue background of its upper right corner


def test_a_picture_or_a_folder_of_pictures_may_take_its_place(load, tmp_path):
    (tmp_path / "mine").mkdir()
    for index in (1, 2):
        Image.new("L", (9, 9), index).save(tmp_path / "mine" / f"{index}.png")
    folder = load(f"dataset.source={tmp_path}/mine")
    assert folder.name == "mine" and folder.train_images[:, 0, 0, 0].tolist() == [1, 2]
    picture = load(f"dataset.source={tmp_path}/mine/2.png", "dataset.name=two")
    assert picture.name == "two" and picture.train_images[:, 0, 0, 0].tolist() == [2]


def test_missing_sample_data_is_told(load, monkeypatch, tmp_path):
    monkeypatch.setattr(
        matplotlib.cbook, "get_sample_data", lambda name, asfileobj: str(tmp_path / name)
    )
    with pytest.raises(EnvironmentProblem, match="sample data.*not installed.*dataset.source="):
        load()

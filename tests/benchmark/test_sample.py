import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from benchmark import config as configuration
from benchmark import pretrained, sample
from benchmark.cli import RunBuilder
from benchmark.errors import UserError
from benchmark.pretrained import __main__ as packing
from benchmark.results import RunFolder
from benchmark.training import weights
from tests.conftest import small


@pytest.fixture(scope="module")
def run(compose_config, shared_cache, tmp_path_factory):
    """The folder of a run whose samples are not all grey, as they are before training."""
    options = ["model=ddgan", "preset=smoke", *small("ddgan"), f"cache_dir={shared_cache}"]
    settings = configuration.validate(compose_config(*options))
    folder = RunFolder(tmp_path_factory.mktemp("results"), "mnist", "ddgan", "0123456789abcdef")
    folder.write_config(settings)
    rng = np.random.default_rng(0)
    arrays = weights(RunBuilder(settings, ()).build_model((28, 28, 1)))
    changed = {key: array + 0.1 * rng.normal(size=array.shape) for key, array in arrays.items()}
    folder.write_arrays("weights.npz", changed)
    return folder.path


def images_of(*arguments, path):
    assert sample.main([*arguments, "count=5", f"out={path}"]) == 0
    return np.load(path)


def test_a_runs_weights_draw_the_images_that_the_run_would(run, tmp_path):
    images = images_of(f"run={run}", path=tmp_path / "images.npy")
    settings, shape, model = sample.trained(run)
    (method,) = RunBuilder(settings, ()).build_methods()
    sampler = model.sampler(method)
    expected = np.asarray(sampler.sample(*sampler.inputs(0, 5)))
    np.testing.assert_allclose(images / 127.5 - 1, expected, atol=1 / 127)
    assert images.shape == (5, *shape) and images.dtype == np.uint8


def test_the_seed_decides_and_not_the_batches(run, tmp_path, monkeypatch):
    images = images_of(f"run={run}", path=tmp_path / "images.npy")
    monkeypatch.setattr(sample, "BATCH", 2)
    again = images_of(f"run={run}", path=tmp_path / "again.npy")
    assert np.abs(images.astype(int) - again).max() <= 1
    other = images_of(f"run={run}", "seed=7", path=tmp_path / "other.npy")
    assert np.abs(images.astype(int) - other).max() > 1


def test_a_grid_shows_all_images(run, tmp_path):
    assert sample.main([f"run={run}", "count=7", f"out={tmp_path}/grid.png"]) == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (3 * 58 + 2, 3 * 58 + 2)  # 3 x 3 images, twice as large, on 2 pixels


def test_packed_weights_are_small_and_draw_the_same(run, tmp_path, monkeypatch):
    images = images_of(f"run={run}", path=tmp_path / "images.npy")
    monkeypatch.chdir(tmp_path)
    assert packing.main([str(run)]) == 0
    content = (tmp_path / "ddgan.npz").read_bytes()
    assert len(content) < 0.3 * (run / "weights.npz").stat().st_size  # halves, no discriminator
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.setitem(pretrained.PACKAGED, "ddgan", hashlib.sha256(content).hexdigest())
    packed = images_of("model=ddgan", path=tmp_path / "packed.npy")
    assert np.abs(images.astype(int) - packed).mean() < 1
    monkeypatch.setitem(pretrained.PACKAGED, "ddgan", "0" * 64)
    with pytest.raises(ValueError, match="damaged or another file"):
        pretrained.load("ddgan")


@pytest.mark.parametrize("model", pretrained.PACKAGED)
def test_each_packaged_model_draws(model, tmp_path):
    settings, arrays = pretrained.load(model)
    assert settings["preset"] == "quick" and "results_dir" not in json.dumps(settings)
    assert all(array.dtype == np.float16 for array in arrays)
    images = images_of(f"model={model}", path=tmp_path / "images.npy")
    assert images.std() > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "cannot read the arguments"),
        (["model=ddpm", "run=here"], "cannot read the arguments"),
        (["model=ddpm", "steps=3"], "cannot read the arguments"),
        (["model=ddpm", "count=0"], "`count` must be a whole number from 1"),
        (["model=ddpm", "count=many"], "`count` must be a whole number"),
        (["model=ddpm", "seed=-1"], "`seed` must be a whole number from 0"),
        (["model=ddpm", "out=grid.gif"], "`out` must end in .png or .npy"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        sample.parse(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=nosuch"], "no weights of model=nosuch are packaged"),
        (["run=nosuch"], "'nosuch' is not the folder of a finished run"),
    ],
)
def test_what_is_not_there_is_said(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        sample.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_sampler_is_refused_with_those_there_are(run, capsys):
    with pytest.raises(SystemExit) as end:
        sample.main([f"run={run}", "sampler=ddim-3"])
    assert end.value.code == 2
    assert "`sampler` must be one of ddgan-2" in capsys.readouterr().err

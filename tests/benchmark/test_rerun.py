import numpy as np
import pytest
import yaml

from benchmark import config as configuration
from benchmark import console, rerun, runner
from benchmark.cli import RunBuilder
from benchmark.errors import UserError
from benchmark.rerun import difference_of_weights, parse
from benchmark.results import RunFolder
from benchmark.runner import run
from benchmark.stored_results import collect_rows
from tests.benchmark.test_runner import SMALL, VAE


def write_config(folder, **settings):
    run_folder = RunFolder(folder, "mnist", "vae", "key")
    run_folder.write_config({"model": {"name": "vae"}, "teacher": None, **settings})
    return run_folder.path


def test_the_settings_are_those_of_the_folder_but_for_where_files_go(tmp_path):
    path = write_config(tmp_path, seed=7, force=True, results_dir="gone", cache_dir="gone")
    stored, settings = parse([str(path)])
    assert (stored.path, settings["seed"], settings["force"]) == (path, 7, False)
    assert settings["results_dir"] == str(path / "rerun")
    assert settings["cache_dir"] == configuration.user_cache_dir()
    _, settings = parse([str(path), "results_dir=elsewhere", "cache_dir=here"])
    assert (settings["results_dir"], settings["cache_dir"]) == ("elsewhere", "here")


def test_a_teacher_is_found_beside_the_run(tmp_path):
    path = write_config(tmp_path, teacher="abc")
    assert parse([str(path)])[1]["teacher"] == str(tmp_path / "runs" / "mnist" / "ddpm" / "abc")


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["a", "seed=1"], ["results_dir=a"], ["not/there"]]
)
def test_other_arguments_are_refused(arguments):
    with pytest.raises(UserError, match="cannot read the arguments|is not the folder of a run"):
        parse(arguments)


@pytest.mark.parametrize(
    "part",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "keras.models.load_model", "filepath": "model.keras"},
        {"_target_": "hydra.utils.get_method", "path": "os.system"},
        {"_target_": "hydra.utils.instantiate"},
        {"_target_": "benchmark.files.write_atomically"},
        {"_target_": ["os", "system"]},
    ],
)
def test_a_configuration_that_names_other_code_is_not_built(tmp_path, part):
    path = write_config(tmp_path, training={"schedules": [part]})
    with pytest.raises(UserError, match="code outside this program"):
        parse([str(path)])


def test_configurations_of_this_program_are_built(compose_config, tmp_path):
    for model in ("ddpm", "distilled", "r3gan"):
        settings = configuration.validate(compose_config(f"model={model}", "preset=smoke"))
        path = write_config(tmp_path / model, **settings)
        assert parse([str(path)])[1]["training"] == settings["training"]


def test_weights_are_compared():
    weights = {"a": np.zeros(3), "b": np.ones(2)}
    assert difference_of_weights(weights, dict(weights)) == "the same, bit for bit"
    assert difference_of_weights(weights, {"a": np.zeros(3)}) == "of different networks"
    other = {**weights, "b": np.array([1.0, 1.25])}
    assert difference_of_weights(weights, other) == "they differ by at most 0.25"


def test_a_run_comes_out_the_same(compose_config, shared_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "NUM_SHOWN", 100)
    folders = [f"results_dir={tmp_path}", f"cache_dir={shared_cache}"]
    few = [override for override in SMALL if "metric." not in override]
    config = compose_config(*few, *VAE, "metric=[fid_digits]", *folders)
    run(RunBuilder(configuration.validate(config), ["model.widths=[8]"]))
    (row,) = collect_rows(tmp_path).query("model == 'vae'").to_dict("records")
    (path,) = tmp_path.glob("runs/mnist/vae/*")
    with console.console.capture() as captured:
        rerun.main([str(path), f"cache_dir={shared_cache}"])
    value = f"{row['fid_digits']:.6g}"
    assert "weights: the same, bit for bit" in captured.get()
    assert f"decoder-mean: classifier FID {value} before, {value} now" in captured.get()
    again = collect_rows(path / "rerun").query("model == 'vae'")
    assert again["overrides"].tolist() == ["model.widths=[8]"]
    assert len(collect_rows(tmp_path).query("model == 'vae'")) == 1  # it is no row of the first


def test_a_configuration_of_the_wrong_kind_is_one_line(tmp_path):
    path = write_config(tmp_path)
    (path / "config.yaml").write_text(yaml.safe_dump(["a"]))
    with pytest.raises(UserError, match="it has no config.yaml to read"):
        parse([str(path)])

"""The whole way from a configuration to tables and figures, small but with every part real."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark import config as configuration
from benchmark import console, results
from benchmark import run as runner
from benchmark.cli import Parts
from benchmark.datasets.mnist import load_mnist
from benchmark.errors import EnvironmentProblem, UserError
from benchmark.report import published
from benchmark.results import Folder, RunFolder
from benchmark.run import run

SMALL = [
    "preset=smoke",
    "training.num_steps=8",
    "training.batch_size=16",
    "training.validation.num_samples=20",
    "num_samples=120",
    "metric.kid.subset_size=100",
    "metric.kid_digits.subset_size=100",
    "metric.latency.max_seconds=0.2",
    "metric.latency.max_batch_size=8",
    "metric.mode_coverage.minimum_accuracy=0.97",
    "sampling.batch_size=40",
]
MODELS = {"vae": ["decoder"], "dcgan": ["generator"], "ddpm": ["ddpm-30", "ddim-10"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Shared by the tests, so that one finds what another has trained."""
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture
def start(compose_config, folders, shared_cache, capsys):
    def run_with(*overrides):
        config = compose_config(
            *SMALL, f"results_dir={folders}/results", f"cache_dir={shared_cache}", *overrides
        )
        with console.console.capture() as captured:
            rows = run(Parts(configuration.validate(config), []))
        return rows, captured.get()

    return run_with


def diffusion_options(model):
    """Fewer time steps: 30 passes do what 200 do."""
    samplers = {
        "ddpm": "samplers=[{_target_: models.samplers.DDPM, num_steps: 30},"
        "{_target_: models.samplers.DDIM, num_steps: 10}]",
        "ddim": "samplers=[{_target_: models.samplers.DDIM, num_steps: 10}]",
    }
    return ["model.schedule.num_timesteps=30", samplers[model]] if model in samplers else []


@pytest.mark.parametrize("model", MODELS)
def test_a_run_writes_its_rows_files_and_report(start, folders, model):
    rows, text = start(f"model={model}", *diffusion_options(model))
    ours = rows[rows["model"] == model]
    assert sorted(ours["sampler"]) == sorted(MODELS[model])
    assert (ours["status"] == "finished").all()
    measured = ["kid_mean", "kid_digits_mean", "latency_ms_per_pass_p50", "modes_covered"]
    assert ours[[*measured, "images_per_second", "coverage"]].notna().all(axis=None)
    assert set(rows.loc[rows["status"] == "sanity", "model"]) == {
        "test_images",
        "noise",
        "repeated_image",
    }
    assert "Training" in text
    assert re.search(r"this run took .*: data .*, training .*, report ", text)
    for path in ours["path"]:
        folder = folders / "results" / path
        images = np.load(folder / "samples.npy")
        assert images.shape == (120, 28, 28, 1)
        assert Image.open(folder / "grid.png").size[0] > 280
        assert json.loads((folder / "latency.json").read_text())["batch_1"]["pass_ms"]
        assert (folder / "process.gif").exists() == (model == "ddpm")
        run_folder = folder.parents[1]
        stages = json.loads((run_folder / "run.json").read_text())["stage_seconds"]
        assert stages["training"] > 0 and stages["report"] > 0
        for stage in ("sampling", "measuring", "latency"):
            assert stages[stage].keys() == set(MODELS[model])
        expected = {"config.yaml", "run.json", "history.csv", "loss.png"}
        expected |= {"weights.npz", "weights_best.npz"}
        assert expected <= {entry.name for entry in run_folder.iterdir()}
        assert not (run_folder / "checkpoints").exists()
        pictures = {"reconstructions.png", "divergences.png", "manifold.png", "latents.png"}
        assert (pictures <= {entry.name for entry in run_folder.iterdir()}) == (model == "vae")
    assert ("collapsed_latents" in ours and ours["collapsed_latents"].notna().all()) == (
        model == "vae"
    )
    table = pd.read_csv(folders / "results" / "trilemma.csv")
    assert model in set(table["model"])
    assert (folders / "results" / "report.html").exists()
    assert (folders / "results" / "figures" / "mnist_smoke_pareto.png").exists()


def test_a_finished_run_is_found(start):
    start("model=vae")
    _, text = start("model=vae")
    assert "finished already" in text
    assert "Training" not in text


def test_the_best_weights_are_measured_beside_the_last_ones(start, folders):
    """Once the run is there, asking for them trains nothing."""
    start("model=vae")
    rows, text = start("model=vae", "sampling.checkpoint=both")
    assert "Training vae" not in text and "Measuring decoder@best" in text
    ours = rows[(rows["model"] == "vae") & (rows["dataset"] == "mnist")]
    ours = ours[ours["judge"] == ours[ours["checkpoint"] == "best"]["judge"].iloc[0]]
    ours = ours.set_index("checkpoint")
    assert ours.loc["best", "path"] == ours.loc["last", "path"] + "@best"
    table = (folders / "results" / "trilemma.md").read_text()
    assert "| Checkpoint |" in table and "| best " in table

    run_folder = (folders / "results" / ours.loc["last", "path"]).parents[1]
    history = pd.read_csv(run_folder / "history.csv")
    assert history["validation_kid"].notna().tolist() == [False, True, False, True]
    best = json.loads((run_folder / "run.json").read_text())["best"]
    lowest = history.loc[history["validation_kid"].idxmin()]
    assert (best["step"], best["validation_kid"]) == (lowest["step"], lowest["validation_kid"])
    last, chosen = (np.load(run_folder / f"weights{name}.npz") for name in ("", "_best"))
    same = all(np.array_equal(last[name], chosen[name]) for name in last.files)
    assert same == (best["step"] == history["step"].iloc[-1])

    _, again = start("model=vae", "sampling.checkpoint=best")
    assert "finished already" in again


def test_missing_best_weights_are_told(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"weights_best.npz is missing; force=true"):
        RunFolder(tmp_path, "mnist", "vae", "key").read_weights("best")


class Killed(Exception):
    pass


class PixelEncoder:
    """Features are the pixels."""

    name, label, recipe = "pixels", "pixels", {"encoder": "pixels"}

    def __call__(self, images, progress=None):
        return images.reshape(len(images), -1) / np.float32(255)


@pytest.fixture
def train_in(compose_config, shared_cache, tmp_path):
    dataset = load_mnist(cache_dir=shared_cache)
    judge = SimpleNamespace(
        dataset=dataset, encoder=PixelEncoder(), cache=Folder(tmp_path / "cache")
    )
    config = compose_config(*SMALL, "model=vae")
    parts = Parts(configuration.validate(config), [])

    def train(name):
        folder = RunFolder(tmp_path, "mnist", "vae", name)
        acceleration = runner.choose_acceleration(parts.settings)
        model = runner.build_model(parts, dataset, acceleration)
        assert runner.trained(parts, model, judge, folder)
        return folder

    return train


def test_a_run_killed_at_the_end_of_its_training_keeps_both_weights(train_in, monkeypatch):
    """After each file that the end of a training writes; the best weights are the first."""
    whole, written = train_in("whole"), []

    def kill(path, content):
        original(path, content)
        if path.name not in written and "checkpoints" not in path.parts:
            written.append(path.name)
            raise Killed

    original = results.write_atomically
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_atomically", kill)
        for _ in range(20):
            try:
                train_in("killed")
                break
            except Killed:
                pass
    killed = train_in("killed")
    assert written.index("weights_best.npz") < written.index("weights.npz")
    assert {"config.yaml", "run.json", "history.csv", "loss.png"} <= set(written)
    for checkpoint in ("last", "best"):
        expected, received = (run.read_weights(checkpoint) for run in (whole, killed))
        assert expected.keys() == received.keys()
        assert all(np.array_equal(expected[name], received[name]) for name in expected)
    assert killed.state["best"] == whole.state["best"]


@pytest.mark.parametrize(
    ("model", "overrides", "message"),
    [
        ("vae", ["dataset.image_size=30"], "32 x 32 is the next size"),
        ("dcgan", ["dataset.image_size=30"], "32 x 32 is the next size"),
        ("ddpm", ["dataset.image_size=30"], "32 x 32 is the next size"),
        ("ddpm", ["model.num_classes=7"], "`model.num_classes` must be 10, the classes of mnist"),
        ("ddgan", ["training.batch_size=6"], "`training.batch_size` must be a multiple of 4"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_first(
    start, monkeypatch, model, overrides, message
):
    """Before the classifier is trained and features are encoded."""
    monkeypatch.setattr(runner, "build_judge", lambda *arguments: pytest.fail("too late"))
    with pytest.raises(UserError, match=message):
        start(f"model={model}", *overrides)


def test_classes_need_labels():
    parts = SimpleNamespace(settings={"model": {"num_classes": 10}})
    dataset = SimpleNamespace(num_classes=None, name="faces")
    with pytest.raises(UserError, match="must be null, as faces has no labels.*num_classes=10"):
        runner.build_model(parts, dataset, None)


def test_ddim_takes_the_weights_of_ddpm(start):
    start("model=ddpm", *diffusion_options("ddpm"))
    rows, text = start("model=ddim", *diffusion_options("ddim"))
    assert "finished already" in text
    assert set(rows.loc[rows["model"] == "ddpm", "run"].unique()).__len__() == 1


def test_another_metric_option_reuses_the_weights(start):
    start("model=vae")
    _, text = start("model=vae", "metric.prdc.nearest_k=3")
    assert "Training vae" not in text
    assert "Measuring decoder" in text


def test_force_does_it_again(start):
    start("model=vae")
    _, text = start("model=vae", "force=true")
    assert "Training vae" in text


def test_a_diverged_run_is_kept_and_shown(start, folders):
    overrides = ["model=vae", "model.optimizer.learning_rate=1e9"]
    rows, text = start(*overrides)
    assert "diverged" in text
    row = rows[rows["status"] == "diverged"].iloc[0]
    assert "loss was" in row["notes"]
    assert np.isnan(row["kid_mean"])
    assert "diverged" in (folders / "results" / "trilemma.md").read_text()
    _, again = start(*overrides)
    assert "Training vae" not in again


def test_stacked_mnist_is_trained_judged_and_reported(start, folders):
    rows, text = start("model=vae", "dataset=stacked_mnist")
    assert "Training vae" in text
    ours = rows[(rows["dataset"] == "stacked_mnist") & (rows["model"] == "vae")].iloc[0]
    assert np.load(folders / "results" / ours["path"] / "samples.npy").shape == (120, 28, 28, 3)
    assert ours["num_modes"] == 1000 and 1 <= ours["modes_covered"] <= 120
    assert ours["classifier_accuracy"] > 0.97 and np.isfinite(ours["kid_digits_mean"])
    assert "120 samples, not the 26,000" in ours["notes"]
    assert (folders / "results/figures/stacked-mnist_smoke_class_histograms.png").exists()
    assert published.TITLE in (folders / "results" / "trilemma.md").read_text()

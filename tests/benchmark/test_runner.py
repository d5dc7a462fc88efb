"""The whole way from a configuration to tables and figures, small but with every part real."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark import config as configuration
from benchmark import console, files, runner, sampling
from benchmark.cli import RunBuilder
from benchmark.datasets.mnist import load_mnist
from benchmark.errors import Divergence, EnvironmentProblem, UserError
from benchmark.evaluation import SANITY_ROWS
from benchmark.report.terminal import report
from benchmark.results import Folder, RunFolder
from benchmark.runner import run
from benchmark.sampling import NotFinite
from benchmark.stored_results import collect_rows
from tests.conftest import small

SMALL = [
    "preset=smoke",
    "encoder=digits",
    "~metric.memorisation",
    "training.num_steps=4",
    "training.batch_size=16",
    "training.validation.num_samples=10",
    "num_samples=24",
    "num_reference_images=60",
    "metric.kid.subset_size=20",
    "metric.kid_digits.subset_size=20",
    "metric.latency.min_repeats=3",
    "metric.latency.max_seconds=0.02",
    "metric.latency.max_batch_size=2",
    "sampling.batch_size=10",
]
METRICS = {"kid", "kid_digits", "prdc", "vendi", "mode_coverage", "latency"}
VAE = ["model=vae", *small("vae")]
MODELS = {"vae": ["decoder-mean"], "dcgan": ["generator"], "ddpm": ["ddpm-10", "ddim-5"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Shared by the tests, so that one finds what another has trained."""
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(autouse=True)
def few_illustrations(monkeypatch):
    monkeypatch.setattr(runner, "NUM_SHOWN", 100)


@pytest.fixture
def start(compose_config, folders, shared_cache, monkeypatch):
    """Runs what the overrides say; tables and figures are written where a test is about them."""

    def run_with(*overrides, with_report=False):
        if not with_report:
            monkeypatch.setattr(runner, "report", lambda folder, **_: None)
        folder = f"results_dir={folders}/results"
        config = compose_config(*SMALL, folder, f"cache_dir={shared_cache}", *overrides)
        with console.console.capture() as captured:
            run(RunBuilder(configuration.validate(config), []))
        monkeypatch.setattr(runner, "report", report)
        return collect_rows(config.results_dir), captured.get()

    return run_with


def shrunk(model):
    """A small network and, where there are time steps, few: 10 passes do what 200 do."""
    samplers = {
        "ddpm": "samplers=[{_target_: models.samplers.DDPM, num_steps: 10},"
        "{_target_: models.samplers.DDIM, num_steps: 5}]",
        "ddim": "samplers=[{_target_: models.samplers.DDIM, num_steps: 5}]",
    }
    steps = ["model.schedule.num_timesteps=10", samplers[model]] if model in samplers else []
    return [f"model={model}", *steps, *small(model)]


def rows_of(rows, model="vae", dataset="mnist"):
    return rows[(rows["model"] == model) & (rows["dataset"] == dataset)]


def samples_folder(folders, row):
    return (folders / "results" / row["path"]).parents[1]


def measured_anew(text, model="decoder-mean"):
    """The metrics that a run measured of its samples, by what it said."""
    _, _, after = text.partition(f"Measuring {model}\n")
    said = after.partition("▸")[0]
    return {name for name in METRICS | {"brightness", "memorisation"} if f"  {name}: " in said}


@pytest.mark.parametrize("model", MODELS)
def test_a_run_writes_its_rows_files_and_report(start, folders, model):
    rows, text = start(*shrunk(model))
    ours = rows_of(rows, model)
    assert sorted(ours["sampler"]) == sorted(MODELS[model])
    assert (ours["status"] == "finished").all() and (ours["sampling_seed"] == 0).all()
    measured = ["kid_mean", "kid_digits_mean", "latency_ms_per_image_p50", "modes_covered"]
    assert ours[[*measured, "images_per_second", "coverage"]].notna().all(axis=None)
    assert (ours["images_seen"] == 64).all() and (ours["train_pflops"] > 0).all()
    assert set(rows.loc[rows["status"] == "sanity", "model"]) == set(SANITY_ROWS)
    assert "Training" in text
    assert re.search(r"this run took .*: data .*, training .*, report ", text)
    for _, row in ours.iterrows():
        folder = samples_folder(folders, row)
        images = np.load(folder / "samples.npy")
        assert images.shape == (24, 28, 28, 1)
        assert Image.open(folder / "grid.png").size[0] > 280
        assert json.loads((folder / "latency.json").read_text())["batch_1"]
        assert (folder / "process.gif").exists() == (model == "ddpm")
        run_folder = folder.parents[1]
        assert (run_folder / "reconstruction.gif").exists() == (model == "ddpm")
        stages = json.loads((run_folder / "run.json").read_text())["stage_seconds"]
        assert stages["training"] > 0 and "report" in stages
        for stage in ("sampling", "measuring", "latency"):
            assert stages[stage].keys() == set(MODELS[model])
        expected = {"config.yaml", "run.json", "history.csv", "loss.png", "learning.gif"}
        expected |= {"weights.npz", "weights_best.npz"}
        assert expected <= {entry.name for entry in run_folder.iterdir()}
        assert not (run_folder / "checkpoints").exists()
        assert not (run_folder / "pictures").exists()
        pictures = {"reconstructions.png", "divergences.png", "manifold.png", "latents.png"}
        assert (pictures <= {entry.name for entry in run_folder.iterdir()}) == (model == "vae")
    assert ("collapsed_latents" in ours and ours["collapsed_latents"].notna().all()) == (
        model == "vae"
    )


def test_a_finished_run_is_found(start):
    start(*VAE)
    _, text = start(*VAE)
    assert "already finished" in text
    assert "Training" not in text and "Measuring" not in text


def test_another_option_of_a_metric_measures_that_metric_alone(start):
    before = rows_of(start(*VAE)[0])
    rows, text = start(*VAE, "metric.prdc.nearest_k=3")
    assert measured_anew(text) == {"prdc"} and "Training" not in text
    rows, text = start(*VAE)
    assert measured_anew(text) == {"prdc"}
    pd.testing.assert_frame_equal(rows_of(rows), before)


def test_another_way_of_compiling_measures_the_speed_alone(start):
    start(*VAE)
    _, text = start(*VAE, "sampling.jit=true")
    assert measured_anew(text) == {"latency"}
    start(*VAE)


def test_another_encoder_adds_a_row(start):
    before = rows_of(start(*VAE)[0])
    rows, text = start(*VAE, "encoder=inception_v3", "encoder.image_size=75")
    assert measured_anew(text) == {"kid", "prdc"}
    ours = rows_of(rows)
    added = ours[~ours["path"].isin(before["path"])]
    assert len(added) == 1 and "inception_v3" in added["kid_encoder"].iloc[0]
    kept = ours[ours["path"].isin(before["path"])].reset_index(drop=True)
    assert kept[before.columns].equals(before.reset_index(drop=True))
    alike = ["vendi", "kid_digits_mean", "latency_ms_per_image_p50", "run"]
    assert added[alike].values.tolist() == kept[alike].values[:1].tolist()


def test_other_numbers_of_samples_add_rows_of_the_same_samples(start, folders):
    """More samples extend those that are there, fewer are the first of them."""
    before = rows_of(start(*VAE)[0])
    first = np.load(samples_folder(folders, before.iloc[0]) / "samples.npy")
    for num_samples, expected in ((37, 37), (21, 37)):
        rows, text = start(*VAE, f"num_samples={num_samples}")
        assert measured_anew(text) == METRICS - {"latency"}
        ours = rows_of(rows)
        (row,) = (row for _, row in ours[ours["num_samples"] == num_samples].iterrows())
        images = np.load(samples_folder(folders, row) / "samples.npy")
        np.testing.assert_array_equal(images[: len(first)], first)
        assert len(images) == expected and row["sample_seconds"] > 0
    assert set(before["path"]) <= set(ours["path"])
    assert f"N={num_samples};" in row["protocol"]


def test_sampling_seeds_are_rows_of_which_the_first_is_timed(start, folders):
    before = rows_of(start(*VAE)[0])
    rows, text = start(*VAE, "sampling.seeds=2")
    assert measured_anew(text, "decoder-mean@sampling1") == METRICS - {"latency"}
    ours = rows_of(rows)
    assert set(before["path"]) <= set(ours["path"])
    (row,) = (row for _, row in ours[ours["sampling_seed"] == 1].iterrows())
    assert np.isnan(row["latency_ms_per_image_p50"]) and row["sampler"] == "decoder-mean"
    own, other = (
        np.load(samples_folder(folders, each) / "samples.npy") for each in (before.iloc[0], row)
    )
    assert len(other) == 24 and (own[:24] != other).any()
    _, again = start(*VAE, "sampling.seeds=2")
    assert "already finished" in again


BRIGHTNESS = """
class Brightness:
    requires_sampler = False
    minimum_samples = 1

    def __call__(self, evaluation):
        return {"brightness_mean": float(evaluation.generated_images.mean())}
"""


@pytest.fixture
def more_metrics(tmp_path, monkeypatch):
    """Overrides that add a metric of one file, and one that the other tests leave out."""
    (tmp_path / "brightness.py").write_text(BRIGHTNESS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runner, "measure_sanity_rows", lambda *arguments: None)
    return [
        "+metric.brightness={_target_: brightness.Brightness}",
        "+metric.memorisation={_target_: metrics.memorisation.Memorisation}",
    ]


def test_a_metric_is_added_by_one_file_and_its_options(start, folders, more_metrics):
    start(*VAE)
    rows, text = start(*VAE, *more_metrics)
    assert measured_anew(text) == {"brightness", "memorisation"}
    row = rows_of(rows)[rows_of(rows)["brightness_mean"].notna()].iloc[0]
    images = np.load(samples_folder(folders, row) / "samples.npy")[: int(row["num_samples"])]
    assert row["brightness_mean"] == images.mean()
    assert (samples_folder(folders, row) / "neighbours.png").exists()
    _, text = start(*VAE)
    assert "already finished" in text  # of the metrics that are asked for now


def test_weights_and_samples_of_the_older_layout_are_found(start, folders, tmp_path, monkeypatch):
    """There, metrics.json lay beside the samples, and samples.json had no key."""
    row = rows_of(start(*VAE)[0]).iloc[0]
    old = samples_folder(folders, row).parents[1]
    run_folder = tmp_path / "results" / old.relative_to(folders / "results")
    shutil.copytree(old, run_folder)
    folder = run_folder / "samplers" / "decoder-mean"
    images = np.load(folder / "samples.npy")[:24]
    np.save(folder / "samples.npy", images)
    for name in ("measurements", "features"):
        shutil.rmtree(folder / name)
    (folder / "samples.json").write_text('{"num_samples": 24, "seconds": 1.5}')
    (folder / "metrics.json").write_text('{"key": "k", "row": {"model": "old"}, "details": {}}')
    monkeypatch.setattr(runner, "measure_sanity_rows", lambda *arguments: None)
    rows, text = start(*VAE, f"results_dir={tmp_path}/results")
    assert "Training" not in text and measured_anew(text) == METRICS
    (row,) = (row for _, row in rows.iterrows() if row["path"].count("decoder-mean/"))
    assert row["model"] == "vae" and row["sample_seconds"] == 1.5
    np.testing.assert_array_equal(np.load(folder / "samples.npy"), images)


def test_the_best_weights_are_measured_beside_the_last_ones(start, folders):
    """Once the run is there, asking for them trains nothing."""
    start(*VAE)
    rows, text = start(*VAE, "sampling.checkpoint=both")
    assert "Training vae" not in text and "Measuring decoder-mean@best" in text
    ours = rows_of(rows)
    best = ours[ours["checkpoint"] == "best"].iloc[0]
    last = ours[(ours["checkpoint"] == "last") & (ours["protocol"] == best["protocol"])].iloc[0]
    assert best["path"] == last["path"].replace("decoder-mean", "decoder-mean@best")

    run_folder = samples_folder(folders, last).parents[1]
    history = pd.read_csv(run_folder / "history.csv")
    assert history["validation_fid_digits"].notna().tolist() == [False, True, False, True]
    state = json.loads((run_folder / "run.json").read_text())
    best, validation = state["best"], state["validation"]
    lowest = history.loc[history["validation_fid_digits"].idxmin()]
    assert (best["step"], best["value"]) == (lowest["step"], lowest["validation_fid_digits"])
    assert best["measure"] == validation["measure"] == last["headline"] == "fid_digits"
    assert last["classifier"].startswith(validation["instrument"])
    assert validation["sampler"] == last["validation_sampler"] == last["sampler"]
    kept, chosen = (np.load(run_folder / f"weights{name}.npz") for name in ("", "_best"))
    same = all(np.array_equal(kept[name], chosen[name]) for name in kept.files)
    assert same == (best["step"] == history["step"].iloc[-1])

    _, again = start(*VAE, "sampling.checkpoint=best")
    assert "already finished" in again


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
    evaluator = SimpleNamespace(
        dataset=dataset,
        encoder=PixelEncoder(),
        description={"headline": "fid"},
        cache=Folder(tmp_path / "cache"),
    )
    config = compose_config(*SMALL, *VAE)
    builder = RunBuilder(configuration.validate(config), [])

    def train(name):
        folder = RunFolder(tmp_path, "mnist", "vae", name)
        acceleration = runner.choose_acceleration(builder.settings)
        model = runner.build_model(builder, dataset, acceleration)
        assert runner.trained(builder, model, evaluator, folder)
        return folder

    return train


@pytest.mark.slow
def test_a_run_killed_at_the_end_of_its_training_keeps_both_weights(train_in, monkeypatch):
    """After each kind of file that its end writes; the best weights are the first of weights."""
    whole, written = train_in("whole"), []
    kinds = {"history.csv", "learning.gif", "weights_best.npz", "loss.png", "manifold.png"}
    kinds |= {"weights.npz"}

    def kill(path, content):
        original(path, content)
        if path.name in kinds - set(written):
            written.append(path.name)
            raise Killed

    original = files.write_atomically
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", kill)
        for _ in range(20):
            try:
                train_in("killed")
                break
            except Killed:
                pass
    killed = train_in("killed")
    assert written.index("weights_best.npz") < written.index("weights.npz")
    assert set(written) == kinds
    for checkpoint in ("last", "best"):
        expected, received = (run.read_weights(checkpoint) for run in (whole, killed))
        assert expected.keys() == received.keys()
        assert all(np.array_equal(expected[name], received[name]) for name in expected)
    assert killed.state["best"] == whole.state["best"]


@pytest.mark.parametrize(
    ("model", "overrides", "message"),
    [
        ("vae", ["dataset.image_size=30", "model.widths=[8,8]"], "32 x 32 is the next size"),
        ("dcgan", ["dataset.image_size=30", "model.widths=[8,8]"], "32 x 32 is the next size"),
        ("ddpm", ["dataset.image_size=30"], "32 x 32 is the next size"),
        ("ddpm", ["model.num_classes=7"], "`model.num_classes` must be 10, the classes of mnist"),
        ("ddgan", ["training.batch_size=6"], "`training.batch_size` must be a multiple of 4"),
        ("vae", ["training.batch_size=1000000000"], "`training.batch_size` is too large"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_first(
    start, monkeypatch, model, overrides, message
):
    """Before the classifier is trained and features are encoded."""
    monkeypatch.setattr(runner, "build_evaluator", lambda *arguments: pytest.fail("too late"))
    with pytest.raises(UserError, match=message):
        start(f"model={model}", *overrides)


@pytest.mark.parametrize(("reference", "is_warned_of"), [("null", True), ("1000", False)])
def test_a_schedule_that_does_not_end_in_noise_is_warned_of_at_the_start(
    start, monkeypatch, reference, is_warned_of
):
    monkeypatch.setattr(runner, "trained", lambda *arguments: False)
    monkeypatch.setattr(runner, "measure_sanity_rows", lambda *arguments: None)
    monkeypatch.setattr(runner, "show", lambda *arguments: None)
    schedule = ["model/schedule=linear", f"model.schedule.reference_timesteps={reference}"]
    _, text = start("model=ddpm", *small("ddpm"), *schedule)
    warnings = [line for line in text.splitlines() if "warning: the noise schedule" in line]
    assert len(warnings) == is_warned_of


def test_classes_need_labels():
    builder = SimpleNamespace(settings={"model": {"num_classes": 10}})
    dataset = SimpleNamespace(num_classes=None, name="faces")
    with pytest.raises(UserError, match="must be null, as faces has no labels.*num_classes=10"):
        runner.build_model(builder, dataset, None)


def test_ddim_takes_the_weights_of_ddpm(start):
    start(*shrunk("ddpm"))
    rows, text = start(*shrunk("ddim"))
    assert "already finished" in text
    assert set(rows.loc[rows["model"] == "ddpm", "run"].unique()).__len__() == 1


def test_force_does_it_again(start):
    start(*VAE)
    _, text = start(*VAE, "force=true")
    assert "Training vae" in text


def test_a_diverged_run_is_kept_and_shown(start, folders, monkeypatch):
    overrides = [*VAE, "model.optimizer.learning_rate=1e9"]
    with pytest.raises(Divergence, match="the training diverged: .*loss was"):
        start(*overrides)
    rows = collect_rows(folders / "results")
    row = rows[rows["status"] == "diverged"].iloc[0]
    assert "loss was" in row["notes"]
    assert np.isnan(row["kid_mean"])
    assert not (folders / "results" / row["path"] / "pictures").exists()
    monkeypatch.setattr(runner, "trained", None)  # it is not trained again
    with pytest.raises(Divergence):
        start(*overrides)


def test_samples_that_are_no_numbers_are_a_row_with_the_reason(start, folders, monkeypatch):
    def generate(sampler, inputs):
        raise NotFinite("2 of 10 samples have values that are not finite numbers")

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "generate", generate)
        rows, text = start(*VAE, "seed=3")
    assert "warning: 2 of 10 samples" in text
    (row,) = rows[(rows["model"] == "vae") & (rows["seed"] == 3)].to_dict("records")
    assert row["status"] == "failed" and row["notes"].startswith("2 of 10 samples")
    assert np.isnan(row["kid_mean"]) and row["images_seen"] == 64
    rows, text = start(*VAE, "seed=3")  # they may be numbers elsewhere
    assert "Training" not in text
    (row,) = rows[(rows["model"] == "vae") & (rows["seed"] == 3)].to_dict("records")
    assert row["status"] == "finished" and row["kid_mean"] > 0


@pytest.mark.parametrize("name", ["run.json", "weights.npz"])
def test_a_damaged_file_of_the_run_itself_is_told_with_the_way_out(start, folders, name):
    rows, _ = start(*VAE, "seed=4")
    (path,) = set(rows.loc[(rows["model"] == "vae") & (rows["seed"] == 4), "path"])
    run_path = (folders / "results" / path).parents[3]
    (run_path / name).write_bytes(b"{")
    for path in run_path.glob("samplers/*/samples.npy"):
        path.unlink()
    with pytest.raises(EnvironmentProblem, match=f"{name} is damaged .*force=true repeats"):
        start(*VAE, "seed=4")
    rows, text = start(*VAE, "seed=4", "force=true")
    assert "Training vae" in text


def test_a_run_that_fails_has_a_row_with_the_reason_until_it_succeeds(start, folders, monkeypatch):
    def write_losses(*arguments, **options):
        raise ZeroDivisionError("no\nloss")

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(runner, "loss_curves", write_losses)
        start(*VAE, "seed=5")

    def rows_of_seed():
        rows = collect_rows(folders / "results")
        return rows[(rows["model"] == "vae") & (rows["seed"] == 5)].to_dict("records")

    (row,) = rows_of_seed()
    assert (row["status"], row["notes"]) == ("failed", "ZeroDivisionError: no loss")
    assert row["images_seen"] == 64
    start(*VAE, "seed=5")
    (row,) = rows_of_seed()
    assert row["status"] == "finished"


def test_the_row_of_a_run_that_went_on_from_another_says_from_which(start, folders):
    rows, _ = start(*VAE, "seed=5")
    (key,) = rows.loc[(rows["model"] == "vae") & (rows["seed"] == 5), "run"]
    rows, text = start(*VAE, "seed=5", f"start_from={key}")
    (row,) = rows[rows["overrides"] == f"start_from={key}"].to_dict("records")
    assert row["status"] == "finished" and row["run"] != key
    assert f"the run that it continues, run {key}" in row["notes"]
    assert row["images_seen"] == 2 * 64


def test_where_a_run_went_on_is_on_record_with_where_it_began(tmp_path):
    folder = RunFolder(tmp_path, "mnist", "vae", "key")
    first, second = ({"device": name} for name in ("a processor", "another"))
    for environment in (first, first, second):
        runner.record_environment(folder, environment)
    assert folder.state["environment"] == second
    assert folder.state["earlier_environments"] == [first]


@pytest.mark.slow
def test_stacked_mnist_is_trained_judged_and_reported(start, folders):
    rows, text = start(*VAE, "dataset=stacked_mnist")
    assert "Training vae" in text
    ours = rows_of(rows, dataset="stacked_mnist").iloc[0]
    images = np.load(samples_folder(folders, ours) / "samples.npy")
    assert images.shape == (24, 28, 28, 3)
    assert ours["num_modes"] == 1000 and 1 <= ours["modes_covered"] <= 24
    assert ours["classifier_accuracy"] > 0.97 and np.isfinite(ours["kid_digits_mean"])
    assert "24 samples, not the 26,000" in ours["notes"]


def test_tables_and_figures_are_of_all_runs(start, folders, more_metrics):
    """Of those of the tests before, with a metric that is described nowhere."""
    rows, text = start(*VAE, *more_metrics, with_report=True)
    assert "Training" not in text and "Writing the report" in text
    (brightness,) = rows["brightness_mean"].dropna()
    results = folders / "results"
    table = pd.read_csv(results / "trilemma.csv")
    assert {*MODELS, *SANITY_ROWS} == set(table["model"])
    assert table["brightness_mean"].dropna().tolist() == [brightness]
    for text in ((results / name).read_text() for name in ("trilemma.md", "report.html")):
        assert "diverged" in text and "brightness_mean" in text
    assert list((results / "figures").glob("mnist_smoke_*pareto.png"))

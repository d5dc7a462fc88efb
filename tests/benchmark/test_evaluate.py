"""`python -m benchmark.evaluate`, the whole way: files of samples in, a row of the tables out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark import config as configuration
from benchmark import console
from benchmark.cli import RunBuilder
from benchmark.datasets.mnist import load_mnist
from benchmark.evaluation import build_evaluator
from benchmark.external import measure
from benchmark.external.samples import take_samples
from benchmark.stored_results import collect_rows
from tests.conftest import options

ROOT = Path(__file__).parents[2]
SMALL = [
    "preset=smoke",
    "encoder=digits",  # it is built in no time
    "num_samples=120",
    "num_reference_images=150",
    "metric.kid.subset_size=100",
    "metric.kid_digits.subset_size=100",
]
INCEPTION = ["encoder=inception_v3", "encoder.image_size=75"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Shared by the tests, as their rows stand in one table."""
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def images(shared_cache):
    """120 test images that the row `test_images` does not consist of."""
    return np.array(load_mnist(cache_dir=shared_cache).test_images[:120])


@pytest.fixture
def start(compose_config, folders, shared_cache, monkeypatch):
    """Measures; sanity rows and tables are made where a test is about them."""

    def start_with(*overrides, alone=True):
        if alone:
            monkeypatch.setattr(measure, "report", lambda folder, **_: collect_rows(folder))
            monkeypatch.setattr(measure, "measure_sanity_rows", lambda *arguments: None)
        config = compose_config(
            *SMALL,
            f"results_dir={folders}/results",
            f"cache_dir={shared_cache}",
            *overrides,
            config_name="evaluate",
        )
        builder = RunBuilder(configuration.validate_evaluation(config), [])
        with console.console.capture() as captured:
            rows = measure.evaluate(builder, *take_samples(builder))
        return rows, captured.get()

    return start_with


@pytest.fixture
def start_with_file(start, folders, images):
    def start_with(name="real", images=images, overrides=(), alone=True):
        np.savez(folders / f"{name}.npz", samples=images)
        return start(f"samples={folders}/{name}.npz", *overrides, alone=alone)

    return start_with


def test_samples_become_a_row_of_the_tables(start_with_file, folders, images):
    rows, text = start_with_file(overrides=INCEPTION, alone=False)
    (row,) = (row for _, row in rows.iterrows() if row["model"] == "real")
    assert "120 images of 28x28x1 from real.npz, array `samples`" in text
    assert row["sampler"] == "external" and row["status"] == "finished"
    assert row["num_samples"] == 120
    measured = ["kid_mean", "kid_digits_mean", "modes_covered", "mode_kl", "precision", "coverage"]
    assert row[[*measured, "authenticity", "headline"]].notna().all()
    unknown = {"seed", "latency_ms_per_image_p50", "images_per_second", "train_seconds"}
    assert not unknown & set(rows.columns)  # and no other row is timed
    assert row["notes"] == "samples made elsewhere (real.npz, array `samples`): speed not measured"
    folder = (folders / "results" / row["path"]).parents[1]
    np.testing.assert_array_equal(np.load(folder / "samples.npy"), images[:100])
    assert Image.open(folder / "grid.png").size[0] > 280
    state = json.loads((folder / "run.json").read_text())
    assert state["source"]["num_images"] == 120 and len(state["source"]["sha256"]) == 64
    assert state["environment"]["versions"]["keras"]
    table = pd.read_csv(folders / "results" / "trilemma.csv")
    assert {"real", "test_images", "noise"} <= set(table["model"])
    assert str(folders) not in (folders / "results" / "trilemma.csv").read_text()
    assert "real" in (folders / "results" / "report.html").read_text()


def test_real_images_score_as_real_images(start_with_file):
    rows, _ = start_with_file(overrides=INCEPTION, alone=False)
    rows = rows[rows["protocol"].str.match("inception.*N=120;")].set_index("model")
    assert abs(rows.loc["real", "kid_mean"] - rows.loc["test_images", "kid_mean"]) < 0.002
    assert rows.loc["real", "kid_mean"] < rows.loc["noise", "kid_mean"] / 20
    assert rows.loc["real", "coverage"] > 0.8


def test_a_run_would_be_measured_alike(compose_config, shared_cache):
    """The key of all that measures is the same, so the rows share a table and its sanity rows."""
    evaluators = []
    for name, validate in (
        ("config", configuration.validate),
        ("evaluate", configuration.validate_evaluation),
    ):
        extra = ["samples=any.npz"] if name == "evaluate" else []
        config = compose_config(*SMALL, f"cache_dir={shared_cache}", *extra, config_name=name)
        builder = RunBuilder(validate(config), [])
        evaluators.append(build_evaluator(builder, builder.load_dataset()))
    run, evaluation = evaluators
    assert run.row_key("smoke") == evaluation.row_key("smoke")
    assert run.description == evaluation.description
    assert run.metric_settings == evaluation.metric_settings


def test_another_encoder_adds_a_row_of_the_same_samples(start_with_file):
    start_with_file("recoded", overrides=INCEPTION)
    rows, text = start_with_file("recoded")
    assert "already measured: kid_digits, fid_digits, vendi, mode_coverage, memorisation" in text
    pair = rows[rows["model"] == "recoded"]
    assert len(pair) == 2 and pair["run"].nunique() == 1
    assert pair["kid_encoder"].nunique() == 2


def test_the_same_samples_are_found_and_measured_again_by_force(start_with_file):
    start_with_file()
    rows, text = start_with_file()
    assert "already been measured" in text and "Measuring real" not in text
    count = (rows["model"] == "real").sum()
    rows, text = start_with_file(overrides=["force=true"])
    assert "Measuring real" in text and "already measured: kid," not in text
    assert (rows["model"] == "real").sum() <= count


def test_other_samples_of_the_name_stand_beside_and_are_told(start_with_file, images):
    start_with_file("twice")
    rows, text = start_with_file("twice", 255 - images)
    assert "twice is also the name of other samples" in text
    pair = rows[rows["model"] == "twice"]
    assert len(pair) == pair["run"].nunique() == 2
    notes = pair.set_index("run").loc[pair.sort_values("kid_mean")["run"].iloc[-1], "notes"]
    assert "255 - x" in notes


def test_the_same_samples_of_another_name_are_another_row(start_with_file):
    start_with_file()
    rows, text = start_with_file(overrides=["name=again"])
    assert "also the name" not in text
    pair = rows[rows["model"].isin(["real", "again"])].set_index("model")
    assert pair["run"].nunique() == 2
    assert pair.loc["real", "kid_mean"] == pytest.approx(pair.loc["again", "kid_mean"], rel=1e-4)


def test_a_folder_of_jpegs_leaves_its_warning_in_the_notes(start, folders, images):
    folder = folders / "jpegs"
    folder.mkdir()
    for index, image in enumerate(np.concatenate([images, 255 - images[:1]])):
        Image.fromarray(image[..., 0]).save(folder / f"{index}.jpg")
    rows, text = start(f"samples={folder}", alone=False)
    notes = rows.set_index("model").loc["jpegs", "notes"]
    for warning in ("121 images are JPEG", "120 of 121 samples, drawn with seed 0"):
        assert warning in notes and f"warning: {warning}" in text
    markdown = (folders / "results" / "trilemma.md").read_text()
    assert "121 images are JPEG" in markdown


def command(*arguments, folder=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "benchmark.evaluate", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (None, [], "`samples` is missing"),
        (None, ["samples=nosuch.npz"], "does not exist"),
        (None, ["sample=a.npz"], "unknown key 'sample'. Did you mean samples?"),
        (None, ["model=vae", "samples=a.npz"], "unknown key 'model'"),
        (None, ["samples=a=b.npz"], "needs quotes inside quotes: 'samples=\"a=b.npz\"'"),
        (lambda x: x.astype("float32") / 255, [], "np.rint(x * 255)"),
        (lambda x: x.transpose(0, 3, 1, 2), [], "x.transpose(0, 2, 3, 1)"),
        (lambda x: x[:50], [], "num_samples=50 metric.kid.subset_size=25"),
        (lambda x: x, ["num_samples=99"], "subset_size=100"),
        (lambda x: x, ["name=noise"], "rows that check the measurement"),
        (lambda x: x, ["dataset=nosuch"], "fashion_mnist, image_folder, mnist"),
        (lambda x: x, ["dataset.image_size=32"], "resize them to 32x32"),
    ],
)
def test_mistakes_end_with_one_line(tmp_path, shared_cache, images, make, arguments, message):
    given = [f"results_dir={tmp_path}/results", f"cache_dir={shared_cache}", *SMALL]
    if make is not None:
        np.save(tmp_path / "samples.npy", make(images))
        given.append(f"samples={tmp_path}/samples.npy")
    result = command(*given, *arguments)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert "Traceback" not in result.stdout


def test_wrong_samples_are_refused_before_tensorflow_is_imported(tmp_path, shared_cache, images):
    np.save(tmp_path / "samples.npy", np.repeat(images, 3, axis=-1))
    code = (
        "import sys; from benchmark.evaluate import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [
            sys.executable, "-c", code, f"samples={tmp_path}/samples.npy",
            f"results_dir={tmp_path}", f"cache_dir={shared_cache}", *SMALL,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "three channels are equal" in result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_folder_that_cannot_be_written_is_the_environments_fault():
    result = command("samples=any.npz", "results_dir=/dev/null/results")
    assert result.returncode == 3
    assert "results_dir" in result.stderr


def test_help_shows_the_command_and_the_options():
    result = command("--help")
    assert result.returncode == 0
    assert "python -m benchmark.evaluate samples=samples.npz" in result.stdout
    for group in ("dataset", "encoder", "metric", "preset"):
        assert f"{group}: {', '.join(options(group))}" in result.stdout


def test_the_whole_configuration_is_shown_without_samples(tmp_path):
    result = command("--cfg", "job", f"hydra.run.dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert "samples: ???" in result.stdout and "training" not in result.stdout

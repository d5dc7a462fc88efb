import json
import shutil

import pandas as pd
import pytest

from benchmark.errors import UserError
from benchmark.report import page
from benchmark.report.columns import KEYS
from benchmark.report.publish import (
    MOST_BYTES,
    NUM_IMAGES,
    commands,
    publish,
    without_folders,
)
from benchmark.report.tables import complete
from benchmark.stored_results import StoredRow, collect_rows

TABLES = ("trilemma.md", "trilemma.tex", "trilemma_by_model.csv")


@pytest.fixture(scope="module")
def published(seeds_dir, tmp_path_factory):
    """The results of `seeds`, published twice, the second time into the same folder."""
    target = tmp_path_factory.mktemp("published") / "reference"
    (target / "runs/mnist/gone").mkdir(parents=True)
    (target / "runs/mnist/gone/run.json").write_text("{}")
    publish(seeds_dir, target)
    return target


def test_the_same_tables_follow_from_what_is_published(seeds_dir, published):
    for name in TABLES:
        assert (published / name).read_text() == (seeds_dir / name).read_text()
    pd.testing.assert_frame_equal(
        collect_rows(published)[["run", "kid_mean", "path"]],
        collect_rows(seeds_dir)[["run", "kid_mean", "path"]],
    )


def test_the_same_figures_follow_from_what_is_published(seeds_dir, published):
    drawn = sorted((seeds_dir / "figures").glob("*.png"))
    assert drawn
    for path in drawn:
        assert (published / "figures" / path.name).read_bytes() == path.read_bytes()


def test_few_samples_and_no_weights_are_published(published):
    row = StoredRow(published, collect_rows(published)["path"][0])
    assert len(row.samples(1000)) == NUM_IMAGES
    names = {path.name for path in published.rglob("*") if path.is_file()}
    kept = {"metrics.json", "latency.json", "run.json", "config.yaml", "history.csv", "samples.npy"}
    assert kept <= names and not names & {"weights.npz", "process.gif", "report.html"}
    assert not (published / "runs/mnist/gone").exists()
    assert sum(path.stat().st_size for path in published.rglob("*.*")) < MOST_BYTES


def test_machine_and_commands_stand_beside_it(published):
    text = (published / "README.md").read_text()
    command = (
        "python -m benchmark --multirun dataset=mnist preset=quick model=dcgan,ddpm,vae "
        "seed=10,11,12"
    )
    assert command in text
    assert "- device: a processor" in text and "keras 3.15.0" in text


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(page, "draw_group", lambda *arguments: {})


def test_chosen_rows_are_published_with_their_checks(seeds_dir, tmp_path, undrawn):
    publish(seeds_dir, tmp_path / "some", {"seed": ["10", "12"], "model": ["vae"]})
    rows = collect_rows(tmp_path / "some")
    trained = rows[rows["status"] == "finished"]
    assert sorted(trained["seed"]) == [10, 12] and set(trained["model"]) == {"vae"}
    assert (rows["status"] == "sanity").sum() == 3


def test_folders_of_a_machine_are_left_out_of_the_configuration():
    dataset = {"name": "mnist", "cache_dir": "/home/someone/.cache"}
    config = {"seed": 0, "results_dir": "/tmp/results", "dataset": dataset, "widths": [1, 2]}
    expected = {"seed": 0, "dataset": {"name": "mnist"}, "widths": [1, 2]}
    assert without_folders(config) == expected


def test_samples_of_the_first_seed_alone_are_published(published):
    stored = published.glob("runs/*/*/*/samplers/*/samples.npy")
    found = {path.parents[2].name[:6] for path in stored}
    assert found == {"seed10"}
    assert list(published.glob("runs/mnist/vae/seed12*/samplers/*/measurements/*/metrics.json"))


def test_json_files_are_published_without_indentation(published, seeds_dir):
    for path in published.rglob("metrics.json"):
        content = path.read_text()
        assert content.count("\n") == 1
        original = seeds_dir / path.relative_to(published)
        assert json.loads(content) == json.loads(original.read_text())


def test_samples_of_other_sampling_seeds_are_not_published(seeds_dir, tmp_path, undrawn):
    results = shutil.copytree(seeds_dir, tmp_path / "results")
    (first,) = results.glob("runs/mnist/vae/seed10*/samplers/decoder")
    again = shutil.copytree(first, first.with_name(f"{first.name}@sampling1"))
    (path,) = again.glob("measurements/*/metrics.json")
    content = json.loads(path.read_text())
    content["row"]["sampling_seed"] = 1
    path.write_text(json.dumps(content))
    publish(results, tmp_path / "reference")
    for folder, is_first in ((first, True), (again, False)):
        target = tmp_path / "reference" / folder.relative_to(results)
        assert list(target.glob("measurements/*/metrics.json"))
        assert (target / "samples.npy").exists() == is_first


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"seed": ["99"]}, "no results of trained models with seed=99"),
        ({"colour": ["red"]}, "expected one of seed, dataset"),
    ],
)
def test_what_cannot_be_chosen_is_told(seeds_dir, tmp_path, chosen, message):
    with pytest.raises(UserError, match=message):
        publish(seeds_dir, tmp_path / "none", chosen)
    assert not (tmp_path / "none").exists()


def test_results_are_not_published_over_themselves(seeds_dir):
    with pytest.raises(UserError, match="another folder"):
        publish(seeds_dir, seeds_dir)
    assert not collect_rows(seeds_dir).empty


def test_what_is_too_large_to_commit_is_refused(seeds_dir, tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr("benchmark.report.publish.MOST_BYTES", 1000)
    with pytest.raises(UserError, match="more than the 1,000"):
        publish(seeds_dir, tmp_path / "large")


def test_commands_name_another_number_of_samples_than_the_presets(rows):
    assert commands(complete(rows)) == [
        "python -m benchmark --multirun dataset=mnist preset=quick model=ddpm,vae,dcgan seed=0 "
        "num_samples=5000"
    ]
    of_a_dataset = complete(rows.assign(preset="standard", num_samples=26_000))
    assert "num_samples" not in commands(of_a_dataset)[0]


def test_commands_name_what_differs(rows):
    rows = complete(rows).assign(num_samples=2000.0)
    vae = rows[rows["model"] == "vae"].assign(overrides="model.latent_dim=2", seed=7.0)
    assert commands(pd.concat([rows, vae]).reindex(columns=KEYS)) == [
        "python -m benchmark --multirun dataset=mnist preset=quick model=ddpm,vae,dcgan seed=0",
        "python -m benchmark --multirun dataset=mnist preset=quick model=vae seed=7 "
        "model.latent_dim=2",
    ]


def test_commands_name_the_sampling_seeds(rows):
    rows = complete(rows).assign(num_samples=2000.0)
    again = rows[rows["model"] == "ddpm"].assign(sampling_seed=1.0)
    assert commands(pd.concat([rows.assign(sampling_seed=0.0), again]).reindex(columns=KEYS)) == [
        "python -m benchmark --multirun dataset=mnist preset=quick model=ddpm seed=0 "
        "sampling.seeds=2",
        "python -m benchmark --multirun dataset=mnist preset=quick model=vae,dcgan seed=0",
    ]

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark import console, stored_results
from benchmark.results import RunFolder, external_folder, row_folder, sanity_folder
from benchmark.stored_results import StoredRow, StoredRun, collect_rows


def picture(name):
    """The content of a small picture."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, format=name.rpartition(".")[2].upper())
    return buffer.getvalue()


@pytest.fixture
def stored(tmp_path):
    """A results folder with a row of each kind; a sampler is measured in two ways."""

    def write(folder, key, **columns):
        details = {"counts": [1, 2]}
        numbers = {"modes": {"details": details}}
        columns = {"dataset": "mnist", "status": "finished", **columns}
        content = {"row": columns, "numbers": numbers}
        row_folder(folder, key).write_json("metrics.json", content)

    run = RunFolder(tmp_path, "mnist", "vae", "key")
    run.update_state(status="trained")
    run.write_config({"model": {"latent_dim": 2}})
    run.write_history([{"step": 1, "images_seen": 8, "seconds": 0.1, "loss": 0.5}])
    samples = run.sampler("decoder", "best")
    samples.write_array("samples.npy", np.arange(5, dtype="uint8").reshape(5, 1, 1, 1))
    for folder, name in ((run, "loss.png"), (samples, "grid.png"), (samples, "process.gif")):
        folder.write_image(name, picture(name))
    write(samples, "one", model="vae", kid_mean=0.5, kid_encoder="one")
    write(samples, "two", model="vae", mine=7.0, kid_encoder="two")
    samples.write_json("metrics.json", {"row": {"model": "an old layout's"}})
    diverged = RunFolder(tmp_path, "mnist", "dcgan", "key")
    diverged.update_state(
        status="diverged", row={"dataset": "mnist", "model": "dcgan", "status": "diverged"}
    )
    write(sanity_folder(tmp_path, "mnist", "noise", "k"), "one", model="noise")
    external = external_folder(tmp_path, "mnist", "my_model", "k")
    external.write_json("run.json", {"source": "a file"})
    external.write_image("grid.png", picture("grid.png"))
    write(external, "one", model="my_model")
    return collect_rows(tmp_path)


def test_rows_of_runs_samples_sanity_checks_and_divergences_are_collected(stored, tmp_path):
    assert {"model", "kid_mean", "mine", "path"} <= set(stored.columns)
    assert sorted(stored["model"]) == ["dcgan", "my_model", "noise", "vae", "vae"]
    assert collect_rows(tmp_path).columns.tolist() == stored.columns.tolist()
    paths = stored.set_index("model")["path"]
    assert paths["my_model"] == "external/mnist/my_model/k/measurements/one"
    assert len(set(paths["vae"])) == 2


def test_the_files_behind_a_row_are_found(stored, tmp_path):
    for path in stored.loc[stored["model"] == "vae", "path"]:
        row = StoredRow(tmp_path, path)
        assert row.name == "decoder@best"
        assert row.samples(3).ravel().tolist() == [0, 1, 2]
        assert row.details("modes") == {"counts": [1, 2]} and row.details("other") == {}
        assert [picture.name for picture in row.pictures] == ["grid.png", "process.gif"]
        assert row.run.key == "key" and row.run.state["status"] == "trained"
        assert row.run.config == {"model": {"latent_dim": 2}}
        assert row.run.history["loss"].tolist() == [0.5]
        assert [picture.name for picture in row.run.pictures] == ["loss.png"]


def test_rows_without_runs_samples_or_files_have_nothing_behind_them(stored, tmp_path):
    paths = stored.set_index("model")["path"]
    diverged, noise = (StoredRow(tmp_path, paths[model]) for model in ("dcgan", "noise"))
    assert diverged.run.state["status"] == "diverged" and diverged.samples(1) is None
    assert diverged.run.history is None and diverged.run.config == {}
    assert noise.run is None and noise.details("modes") and noise.pictures == []
    external = StoredRow(tmp_path, paths["my_model"])
    assert external.run.state == {"source": "a file"}
    assert [picture.name for picture in external.run.pictures] == ["grid.png"]
    assert external.pictures == []  # they are the run's
    for nothing in ("", np.nan, None):
        row = StoredRow(tmp_path, nothing)
        assert (row.run, row.name, row.pictures, row.details("modes")) == (None, "", [], {})


def test_runs_are_told_apart_by_their_folders(stored, tmp_path):
    paths = stored.loc[stored["model"] == "vae", "path"]
    assert len({StoredRow(tmp_path, path).run for path in paths}) == 1


def test_no_results_are_no_rows(tmp_path):
    rows = collect_rows(tmp_path)
    assert isinstance(rows, pd.DataFrame)
    assert rows.empty


@pytest.fixture
def told(monkeypatch):
    texts = []
    monkeypatch.setattr(console, "say", lambda text, style="": texts.append(text))
    return texts


def cut(content):
    return content[: len(content) // 2]


DAMAGES = {
    "empty": lambda content: b"",
    "cut": cut,
    "foreign": lambda content: b"\x89PNG\r\n\x1a\n\x00\xff" * 20,
    "a list": lambda content: b"[1, 2]",
    "a text": lambda content: b"results",
    "deep": lambda content: b"[" * 100_000,
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    "name", ["run.json", "config.yaml", "history.csv", "loss.png", "samplers/decoder@best/grid.png"]
)
def test_a_damaged_file_of_a_run_is_told_once_and_left_out(stored, tmp_path, told, name, how):
    path = tmp_path / "runs" / "mnist" / "vae" / "key" / name
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    for _ in range(2):
        run = StoredRun(path.parents[name.count("/")])
        state, config, history = run.state, run.config, run.history
        row = StoredRow(tmp_path, stored.loc[stored["model"] == "vae", "path"].iloc[0])
        pictures = [file.name for file in (*run.pictures, *row.pictures)]
    assert (state == {}) == (name == "run.json")
    assert (config == {}) == (name == "config.yaml")
    assert (history is None) == (name == "history.csv")
    whole = {"loss.png", "grid.png", "process.gif"} - {path.name}
    assert set(pictures) == whole
    assert list(stored_results.damages) == [path]
    (warning,) = told
    assert warning.startswith(f"warning: {path} is damaged (") and warning.endswith("skipped")


def test_empty_cells_of_a_history_are_missing_numbers(stored, tmp_path):
    path = tmp_path / "runs" / "mnist" / "vae" / "key" / "history.csv"
    path.write_text("step,images_seen,seconds,loss\n1,8,0.5,\n2,16,1.0,0.25\n")
    history = StoredRun(path.parent).history
    assert history["step"].tolist() == [1, 2] and history["loss"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("step,images_seen\n1,8\n", "it has no column seconds"),
        ("step,images_seen,seconds,loss,loss\n1,8,0.5,1,1\n", "it names a column twice"),
        ("step,images_seen,seconds\n1,8\n", "more or fewer numbers"),
        ("step,images_seen,seconds\n1,8,soon\n", "could not convert"),
    ],
)
def test_a_history_of_another_form_is_damaged(stored, tmp_path, content, reason):
    path = tmp_path / "runs" / "mnist" / "vae" / "key" / "history.csv"
    path.write_text(content)
    assert StoredRun(path.parent).history is None
    assert reason in stored_results.damages[path]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", ["runs", "sanity", "external"])
def test_damaged_numbers_take_no_other_rows_with_them(stored, tmp_path, told, kind, how):
    path = next(path for path in stored["path"] if path.startswith(kind) and "measure" in path)
    path = tmp_path / path / "metrics.json"
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    rows = collect_rows(tmp_path)
    assert len(rows) == len(stored) - 1
    assert [text for text in told if str(path) in text] == told
    assert list(stored_results.damages) == [path]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"row": {}},
        {"row": [], "numbers": {}},
        {"row": {"dataset": "mnist", "model": "vae", "status": "finished"}},
        {"row": {"dataset": "mnist", "model": "vae", "status": "finished"}, "numbers": {"a": 1}},
        {"row": {"dataset": "mnist", "model": 7, "status": "finished"}, "numbers": {}},
        {"row": {"dataset": "m", "model": "v", "status": "f", "fid": [1]}, "numbers": {}},
        {"row": {"dataset": "m", "model": "v", "status": "f", "fid": {"a": 1}}, "numbers": {}},
    ],
)
def test_numbers_of_another_schema_are_left_out(stored, tmp_path, told, content):
    path = tmp_path / stored.loc[stored["model"] == "noise", "path"].item() / "metrics.json"
    path.write_text(json.dumps(content))
    assert "noise" not in set(collect_rows(tmp_path)["model"])
    assert len(told) == 1


@pytest.mark.parametrize(
    "array", [np.zeros(3, "uint8"), np.zeros((3, 2, 2, 1)), np.array([{}], dtype=object)]
)
def test_samples_of_another_kind_are_left_out(stored, tmp_path, told, array):
    row = StoredRow(tmp_path, stored.loc[stored["model"] == "vae", "path"].iloc[0])
    np.save(row.samples_path / "samples.npy", array)
    assert row.samples(3) is None
    assert len(told) == 1


def test_what_was_mended_is_no_longer_listed(stored, tmp_path, told):
    run = RunFolder(tmp_path, "mnist", "vae", "key")
    (run.path / "run.json").write_text("{")
    collect_rows(tmp_path)
    assert len(stored_results.damages) == 1
    run.remove("run.json")
    collect_rows(tmp_path)
    assert stored_results.damages == {}

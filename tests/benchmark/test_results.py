import threading

import numpy as np
import pandas as pd
import pytest

from benchmark import console, results
from benchmark.results import RunFolder, StoredRow, row_folder


def test_one_process_works_in_a_run_folder_and_the_next_waits(tmp_path):
    order, begun, told = [], threading.Event(), threading.Event()

    def work():
        with RunFolder(tmp_path, "mnist", "vae", "key").lock():
            begun.set()
            told.wait(10)
            order.append("first")

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "say", lambda text, style="": (order.append(text), told.set()))
        with RunFolder(tmp_path, "mnist", "vae", "key").lock():
            order.append("second")
    thread.join()
    assert order[1:] == ["first", "second"]
    assert order[0].startswith("waiting: another run is working in ")


def test_samples_of_the_best_weights_have_a_folder_of_their_own(tmp_path):
    run = RunFolder(tmp_path, "mnist", "vae", "key")
    assert run.sampler("decoder").path == run.path / "samplers" / "decoder"
    assert run.sampler("decoder", "best").path == run.path / "samplers" / "decoder@best"
    other = run.sampler("decoder", "best", 1).path
    assert other == run.path / "samplers" / "decoder@best@sampling1"


def test_clearing_keeps_the_lock(tmp_path):
    run = RunFolder(tmp_path, "mnist", "vae", "key")
    with run.lock():
        run.write_json("run.json", {})
        run.write_json("samplers/decoder/metrics.json", {})
        run.clear()
        assert [path.name for path in run.path.iterdir()] == [".lock"]


@pytest.fixture
def stored(tmp_path):
    """A results folder with a row of each kind; a sampler is measured in two ways."""

    def write(folder, key, **columns):
        details = {"counts": [1, 2]}
        numbers = {"modes": {"details": details}}
        content = {"row": {"status": "finished", **columns}, "numbers": numbers}
        row_folder(folder, key).write_json("metrics.json", content)

    run = RunFolder(tmp_path, "mnist", "vae", "key")
    run.update_state(status="trained")
    run.write_config({"model": {"latent_dim": 2}})
    run.write_history([{"step": 1, "loss": 0.5}])
    samples = run.sampler("decoder", "best")
    samples.write_array("samples.npy", np.arange(5, dtype="uint8").reshape(5, 1, 1, 1))
    for folder, name in ((run, "loss.png"), (samples, "grid.png"), (samples, "process.gif")):
        folder.write_image(name, b"")
    write(samples, "one", model="vae", kid_mean=0.5, kid_encoder="one")
    write(samples, "two", model="vae", mine=7.0, kid_encoder="two")
    samples.write_json("metrics.json", {"row": {"model": "an old layout's"}})
    diverged = RunFolder(tmp_path, "mnist", "dcgan", "key")
    diverged.update_state(status="diverged", row={"model": "dcgan", "status": "diverged"})
    write(results.sanity_folder(tmp_path, "mnist", "noise", "k"), "one", model="noise")
    external = results.external_folder(tmp_path, "mnist", "my_model", "k")
    external.write_json("run.json", {"source": "a file"})
    external.write_image("grid.png", b"")
    write(external, "one", model="my_model")
    return results.collect_rows(tmp_path)


def test_rows_of_runs_samples_sanity_checks_and_divergences_are_collected(stored, tmp_path):
    assert {"model", "kid_mean", "mine", "path"} <= set(stored.columns)
    assert sorted(stored["model"]) == ["dcgan", "my_model", "noise", "vae", "vae"]
    assert results.collect_rows(tmp_path).columns.tolist() == stored.columns.tolist()
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
    rows = results.collect_rows(tmp_path)
    assert isinstance(rows, pd.DataFrame)
    assert rows.empty

import json
import threading

import numpy as np
import pandas as pd
import pytest

from benchmark import console, results
from benchmark.errors import EnvironmentProblem
from benchmark.results import COLUMNS, Folder, RunFolder


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"a/0": np.arange(6.0).reshape(2, 3), "text": np.array("äöü")}
    Folder(tmp_path).write_arrays("file.npz", arrays)
    received = Folder(tmp_path).read_arrays("file.npz")
    assert received.keys() == arrays.keys()
    np.testing.assert_array_equal(received["a/0"], arrays["a/0"])
    assert str(received["text"]) == "äöü"


@pytest.mark.parametrize("damage", [slice(0, 100), slice(0, -1)])
def test_a_cut_file_is_noticed(tmp_path, damage):
    folder = Folder(tmp_path)
    folder.write_arrays("file.npz", {"a": np.zeros(100)})
    path = tmp_path / "file.npz"
    path.write_bytes(path.read_bytes()[damage])
    with pytest.raises(EnvironmentProblem, match="damaged"):
        folder.read_arrays("file.npz")
    assert folder.recall_arrays("file.npz") is None


def test_a_changed_array_is_noticed(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.zeros(3), sha256=np.array("0" * 64))
    with pytest.raises(EnvironmentProblem, match="checksum"):
        Folder(tmp_path).read_arrays("file.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    results.write_atomically(path, b"old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(results.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        results.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


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


def test_clearing_keeps_the_lock(tmp_path):
    run = RunFolder(tmp_path, "mnist", "vae", "key")
    with run.lock():
        run.write_json("run.json", {})
        run.write_json("samplers/decoder/metrics.json", {})
        run.clear()
        assert [path.name for path in run.path.iterdir()] == [".lock"]


def test_rows_of_runs_samples_sanity_checks_and_divergences_are_collected(tmp_path):
    run = RunFolder(tmp_path, "mnist", "vae", "key")
    run.update_state(status="trained")
    run.sampler("decoder").write_json(
        "metrics.json", {"row": {"model": "vae", "kid_mean": 0.5, "mine": 7.0}}
    )
    diverged = RunFolder(tmp_path, "mnist", "dcgan", "key")
    diverged.update_state(status="diverged", row={"model": "dcgan", "status": "diverged"})
    results.sanity_folder(tmp_path, "mnist", "k", "noise").write_json(
        "metrics.json", {"row": {"model": "noise"}}
    )
    results.external_folder(tmp_path, "mnist", "my_model", "k").write_json(
        "metrics.json", {"row": {"model": "my_model"}}
    )
    rows = results.collect_rows(tmp_path)
    assert list(rows.columns) == [*COLUMNS, "mine"]
    assert sorted(rows["model"]) == ["dcgan", "my_model", "noise", "vae"]
    assert rows.set_index("model").loc["my_model", "path"] == "external/mnist/my_model/k"
    path = rows.set_index("model").loc["vae", "path"]
    assert json.loads((tmp_path / path / "metrics.json").read_text())["row"]["mine"] == 7.0


def test_no_results_are_no_rows(tmp_path):
    rows = results.collect_rows(tmp_path)
    assert isinstance(rows, pd.DataFrame)
    assert rows.empty
    assert list(rows.columns) == list(COLUMNS)


def test_the_digest_depends_on_content_not_order():
    assert results.digest({"a": 1, "b": 2}) == results.digest({"b": 2, "a": 1})
    assert results.digest({"a": 1}) != results.digest({"a": 2})

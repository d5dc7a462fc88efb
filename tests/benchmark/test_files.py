"""Files are whole or absent, and a damaged one is noticed."""

import numpy as np
import pytest

from benchmark import files
from benchmark.errors import EnvironmentProblem
from benchmark.files import Folder, digest


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
    files.write_atomically(path, b"old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_digest_depends_on_content_not_order():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})

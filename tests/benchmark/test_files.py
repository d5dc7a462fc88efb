"""Files are whole or absent, and a damaged one is noticed."""

import contextlib
import errno
import os
import resource
import shutil

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


@contextlib.contextmanager
def largest_file(num_bytes):
    """No process may write a larger file, as where a quota is used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def rows_in_parts():
    return iter(np.zeros((2, 10, 100), "uint8"))


WRITES = {
    "json": lambda folder: folder.write_json("file", {"text": "x" * 2000}),
    "text": lambda folder: folder.write_text("file", "x" * 2000),
    "array": lambda folder: folder.write_array("file", np.zeros(500)),
    "arrays": lambda folder: folder.write_arrays("file", {"a": np.zeros(500)}),
    "parts": lambda folder: folder.write_array_in_parts("file", rows_in_parts(), 20),
}


@pytest.mark.parametrize("kind", WRITES)
def test_a_disk_without_room_leaves_the_old_file_and_says_what_is_needed(tmp_path, kind):
    (tmp_path / "file").write_bytes(b"old")
    with largest_file(1000), pytest.raises(EnvironmentProblem) as problem:
        WRITES[kind](Folder(tmp_path))
    text = str(problem.value)
    assert text.startswith(f"{tmp_path / 'file'} cannot be written (File too large): it needs ")
    needed = int(text.partition("needs ")[2].partition(" bytes")[0].replace(",", ""))
    assert 2000 <= needed < 6000
    free = int(text.partition("bytes, ")[2].partition(" are free")[0].replace(",", ""))
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_whatever_the_disk_answers_is_one_line(tmp_path, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(EnvironmentProblem, match=os.strerror(number)):
        Folder(tmp_path).write_text("file", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for write in (*WRITES.values(), lambda folder: folder.lock().__enter__()):
        with pytest.raises(EnvironmentProblem, match="cannot be written"):
            write(Folder(tmp_path / "file" / "folder"))


def test_other_errors_are_not_taken_for_the_disks(tmp_path):
    with pytest.raises(FileNotFoundError):
        with files.atomic_path(tmp_path / "file"):
            raise FileNotFoundError(errno.ENOENT, "of something else")


def test_who_locks_a_folder_sweeps_what_the_dead_have_left(tmp_path):
    folder = Folder(tmp_path)
    left = [tmp_path / ".weights.npz.123", tmp_path / "samplers" / "a" / ".samples.npy.4567"]
    kept = [tmp_path / ".row.lock", tmp_path / "samplers" / "a" / "samples.npy"]
    left[1].parent.mkdir(parents=True)
    for path in (*left, *kept):
        path.write_text("x")
    with folder.lock():
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in kept)


def test_where_others_may_write_only_old_files_are_swept(tmp_path):
    old, new = tmp_path / ".report.html.12", tmp_path / ".report.html.34"
    for path in (old, new):
        path.write_text("x")
    os.utime(old, (0, 0))
    files.sweep(tmp_path, ".*", hours=1)
    assert not old.exists() and new.exists()


DAMAGES = (b"", b"{", b"[1]", b"\xff\x00", b"[" * 100_000)


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_json_file_is_noticed(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(EnvironmentProblem, match="file.json is damaged"):
        Folder(tmp_path).read_json("file.json")
    assert Folder(tmp_path).recall_json("file.json") == {}


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_array_is_noticed(tmp_path, content):
    (tmp_path / "file.npy").write_bytes(content)
    assert Folder(tmp_path).recall_array("file.npy") is None


def test_an_array_that_changed_is_noticed_by_its_checksum(tmp_path):
    folder, checksums = Folder(tmp_path), []
    assert folder.recall_array("file.npy") is None
    folder.write_array_in_parts("file.npy", rows_in_parts(), 20, before=checksums.append)
    np.testing.assert_array_equal(folder.recall_array("file.npy", *checksums), np.zeros((20, 100)))
    content = bytearray((tmp_path / "file.npy").read_bytes())
    content[-7] ^= 1
    (tmp_path / "file.npy").write_bytes(content)
    assert folder.recall_array("file.npy", *checksums) is None
    assert folder.recall_array("file.npy") is not None


def test_the_digest_depends_on_content_not_order():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})

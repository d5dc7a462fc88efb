import importlib.metadata

import keras
import pytest
import tensorflow
from packaging.requirements import Requirement

from benchmark import acceleration, doctor, machine
from benchmark.doctor import NOTE, OK, PROBLEM


def test_a_machine_that_can_run_is_ready(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctor.main([f"cache_dir={tmp_path}/cache"]) == 0
    text = capsys.readouterr().out
    for part in ("Python 3.", "numpy", "processor", "GiB of memory", "GB free", "mnist", "XLA"):
        assert part in text
    assert "Ready" in text and "problem" not in text
    assert not list(tmp_path.iterdir())  # it leaves nothing behind


def test_a_backend_that_is_not_there_is_a_problem(capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuch")
    assert doctor.main([]) == 3
    text = capsys.readouterr().out
    assert "KERAS_BACKEND=nosuch" in text and "To fix before a run can work: 1" in text


@pytest.mark.parametrize("arguments", [["results"], ["seed=1"], ["results_dir="]])
def test_other_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        doctor.main(arguments)
    assert end.value.code == 2
    assert "cannot read the arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        ("numpy>=2.0", ""),
        ("numpy>=99", "but >=99 is needed"),
        ("no-such-package>=1", "no-such-package is not installed"),
    ],
)
def test_packages_are_compared_with_what_is_needed(requirement, problem):
    assert problem in doctor._what_is_wrong(Requirement(requirement))
    assert bool(problem) == bool(doctor._what_is_wrong(Requirement(requirement)))


def test_a_package_that_is_too_old_is_a_problem(monkeypatch):
    needed = ["numpy>=99", "tensorboard>=99 ; extra == 'tensorboard'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    _, *found = doctor.check_software()
    assert [finding.kind for finding in found] == [PROBLEM, NOTE]
    assert "numpy" in found[0].text and "tensorboard" in found[1].text
    assert all("pip install" in finding.fix for finding in found)


class TestGPU:
    @pytest.fixture(autouse=True)
    def present(self, monkeypatch, tmp_path):
        """A machine with an Nvidia driver and a card."""
        (tmp_path / "0000:01:00.0").mkdir()
        for module in (doctor, machine):
            monkeypatch.setattr(module, "GPUS", tmp_path)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def test_that_works(self, monkeypatch):
        monkeypatch.setattr(acceleration, "has_gpu", lambda: True)
        found = doctor.check_gpu()
        assert found.kind == OK and "computes on a GPU" in found.text

    def test_that_is_hidden(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        found = doctor.check_gpu()
        assert found.kind == NOTE and "CUDA_VISIBLE_DEVICES=-1 hides" in found.text

    @pytest.mark.parametrize(
        ("has_cuda", "reason"), [(False, "built without CUDA"), (True, "its CUDA libraries")]
    )
    def test_that_tensorflow_cannot_use(self, monkeypatch, has_cuda, reason):
        monkeypatch.setattr(tensorflow.test, "is_built_with_cuda", lambda: has_cuda)
        found = doctor.check_gpu()
        assert found.kind == NOTE and reason in found.text and "[gpu]" in found.fix

    def test_that_jax_cannot_use(self, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
        found = doctor.check_gpu()
        assert found.kind == NOTE and "jax[cuda12]" in found.fix

    def test_that_is_not_there(self, monkeypatch, tmp_path):
        monkeypatch.setattr(doctor, "GPUS", tmp_path / "none")
        found = doctor.check_gpu()
        assert found.kind == OK and "no Nvidia GPU" in found.text


def test_folders_must_be_writable_and_have_room(tmp_path, monkeypatch):
    assert doctor.check_folder("results_dir", tmp_path / "new" / "folder").kind == OK
    (tmp_path / "file").write_text("")
    found = doctor.check_folder("results_dir", tmp_path / "file" / "folder")
    assert found.kind == PROBLEM and "results_dir=<folder>" in found.fix
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 10**6)
    assert doctor.check_folder("results_dir", tmp_path).kind == NOTE

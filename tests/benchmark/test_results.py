import os
import socket
import threading

import pytest

from benchmark import console
from benchmark.results import RunFolder


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
    folder = RunFolder(tmp_path, "mnist", "vae", "key").path
    expected = (
        f"waiting: {folder} is in use by process {os.getpid()} on {socket.gethostname()} since"
    )
    assert order[0].startswith(expected)
    assert [path.name for path in folder.iterdir()] == [".lock"]  # nobody holds it now


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
        assert sorted(path.name for path in run.path.iterdir()) == [".holder", ".lock"]

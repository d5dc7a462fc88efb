"""A run of a sweep in a process of its own: what reaches it, and what its end says."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from benchmark import interruption
from benchmark.errors import EnvironmentProblem
from benchmark.interruption import Interruption
from benchmark.own_process import CAN_FORK, in_own_process

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="the work stays in this process")
SECONDS = 30  # that a process gets to be told something


def test_the_work_is_done_in_another_process(tmp_path):
    in_own_process(lambda: (tmp_path / "pid").write_text(str(os.getpid())))
    assert int((tmp_path / "pid").read_text()) != os.getpid()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGALRM])
def test_a_process_that_is_killed_is_told_by_its_signal(number):
    with pytest.raises(EnvironmentProblem, match=f"killed by {number.name}"):
        in_own_process(lambda: os.kill(os.getpid(), number))


def test_a_process_that_leaves_without_a_word_is_told_by_its_code():
    with pytest.raises(EnvironmentProblem, match="ended with code 7"):
        in_own_process(lambda: os._exit(7))


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_signal_to_this_process_stops_the_other_one_which_saves(tmp_path, number):
    def work():
        with interruption.handled(), interruption.saves_first():
            (tmp_path / "ready").touch()
            deadline = time.monotonic() + SECONDS
            while not interruption.is_requested() and time.monotonic() < deadline:
                time.sleep(0.01)
            (tmp_path / "saved").touch()

    def stop():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Interruption) as stopped:
        in_own_process(work)
    thread.join()
    assert stopped.value.number == number
    assert (tmp_path / "saved").exists()


def test_handlers_of_signals_are_put_back():
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    in_own_process(lambda: None)
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before


def test_no_backend_is_imported_before_the_process_is_made():
    code = (
        "import sys; from benchmark import cli, own_process; "
        "from benchmark.machine import seated; "
        "assert not {'keras', 'tensorflow', 'jax'} & sys.modules.keys(), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

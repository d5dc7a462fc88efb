import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from benchmark import interruption
from benchmark.interruption import Interruption

ROOT = Path(__file__).parents[2]
WORKER = """
    import sys, time
    from pathlib import Path
    from benchmark import interruption
    began = Path(sys.argv[1])
    with interruption.handled(), interruption.saves_first():
        began.touch()
        for _ in range(400):  # a step that lasts long
            time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_where_it_comes(number):
    with pytest.raises(Interruption) as stopped, interruption.handled():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert stopped.value.number == number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_saves_first_stops_at_the_next_check(number):
    done = []
    with pytest.raises(Interruption) as stopped, interruption.handled():
        with interruption.saves_first():
            interruption.check()
            os.kill(os.getpid(), number)
            done.append(interruption.is_requested())
            interruption.check()
            done.append("too far")
    assert done == [True]
    assert stopped.value.number == number


def test_a_signal_after_the_last_check_is_not_lost():
    with pytest.raises(Interruption), interruption.handled():
        with interruption.saves_first():
            os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")


def test_afterwards_signals_do_what_they_did_before():
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with pytest.raises(Interruption), interruption.handled():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before
    assert not interruption.is_requested()
    interruption.check()


def test_in_another_thread_nothing_is_handled():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with interruption.handled():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path / "began")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "began").exists():
        time.sleep(0.02)
    process.send_signal(number)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "stopping after this step; a second signal stops at once" in line
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(5) == -number

"""Runs that share a machine, as real processes where it matters: locks are theirs."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmark import console, machine
from benchmark.errors import EnvironmentProblem
from benchmark.machine import measuring_alone

ROOT = Path(__file__).parents[2]
WORKER = """
    import sys, time
    from pathlib import Path
    from benchmark import console, machine
    counted = Path(sys.argv[1])
    with machine.seated(), console.progress("step", 10**6) as update:
        counted.write_text("0")
        for count in range(10**6):
            start = machine.working_seconds()
            time.sleep(0.002)
            update(count)
            counted.with_suffix(".new").write_text(str(count))
            counted.with_suffix(".new").replace(counted)
            if machine.working_seconds() - start > 1.0:
                counted.with_suffix(".clock").write_text("the clock went on")
"""


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    """The locks of this test alone, its processes included."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(machine, "num_seats", lambda: 2)


@pytest.fixture
def start(tmp_path):
    """Starts a process that works in a seat; returns what it has counted so far."""
    processes = []

    def start_worker(name, code=WORKER):
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / name)]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=os.environ))
        return processes[-1], lambda: int((tmp_path / name).read_text())

    yield start_worker
    for process in processes:
        process.kill()
        process.wait()


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.02)
    pytest.fail("it did not happen")


def test_the_folder_of_the_locks_is_the_users_own(tmp_path):
    folder = machine.lock_folder()
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    assert folder.name.endswith(f"-{os.getuid()}")  # some users have no name
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(EnvironmentProblem, match="belongs to another user: set TMPDIR"):
        machine.lock_folder()


def test_a_folder_that_somebody_else_has_made_is_refused(monkeypatch):
    maker = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: maker + 1)
    with pytest.raises(EnvironmentProblem, match="belongs to another user: set TMPDIR"):
        machine.lock_folder()


@pytest.mark.parametrize(
    ("processors", "gpus", "visible", "seats"),
    [
        (1, 0, None, 2),
        (2, 0, None, 2),
        (8, 0, None, 4),
        (64, 0, "", 32),
        (64, 1, None, 2),
        (64, 4, None, 8),
        (64, 4, "1", 2),
        (64, 4, "-1", 32),
        (4, 8, None, 2),
    ],
)
def test_seats_follow_the_processors_and_gpus_that_may_be_used(
    monkeypatch, tmp_path, processors, gpus, visible, seats
):
    monkeypatch.undo()
    for number in range(gpus):
        (tmp_path / "gpus" / f"0000:{number:02x}:00.0").mkdir(parents=True)
    monkeypatch.setattr(machine, "GPUS", tmp_path / "gpus")
    monkeypatch.setattr(machine, "usable_processors", lambda: list(range(processors)))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.num_seats() == seats


def test_a_run_stands_still_while_another_measures_and_then_goes_on(start, tmp_path):
    _, count = start("worker")
    wait_until(lambda: count() > 10)
    with measuring_alone():
        before = count()
        time.sleep(1.5)
        assert count() == before
    wait_until(lambda: count() > before + 10)
    assert not (tmp_path / "worker.clock").exists()


def test_dead_runs_keep_nobody_waiting(start):
    process, count = start("worker")
    wait_until(lambda: count() > 10)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with console.console.capture() as captured:
        with measuring_alone():
            pass
        with machine.seated():
            assert machine.place.seat == 0
    assert "waiting" not in captured.get()


def test_no_more_runs_work_at_a_time_than_there_are_seats(start, monkeypatch):
    told = []
    first, count = start("first")
    _, count_of_second = start("second")
    wait_until(lambda: count() > 10 and count_of_second() > 10)

    def say(text, style=""):
        told.append(text)
        first.kill()

    monkeypatch.setattr(console, "say", say)
    with machine.seated():
        assert first.wait(10) == -signal.SIGKILL
    assert told == ["waiting: 2 other runs are active on this machine"]


def test_runs_that_measure_in_turn_and_wait_for_each_others_files_all_end(start, tmp_path):
    """Each holds now the speed lock, now a lock that others want, over and over."""
    code = """
        import sys
        from pathlib import Path
        from benchmark import console, machine
        from benchmark.results import Folder
        machine.num_seats, machine.SECONDS_BETWEEN_LOOKS = lambda: 3, 0.0
        folder = Folder(Path(sys.argv[1]).parent)
        with machine.seated(), console.progress("step", 30) as update:
            for step in range(30):
                with folder.waiting_lock("shared"):
                    update(step)
                with machine.measuring_alone():
                    update(step)  # a loop within a measurement
        Path(sys.argv[1]).write_text("30")
    """
    workers = [start(name, code) for name in ("a", "b", "c", "d")]
    for process, _ in workers:
        assert process.wait(60) == 0
    assert [count() for _, count in workers] == [30] * 4


def test_the_second_measurement_waits_with_a_message(start, monkeypatch):
    code = """
        import sys, time
        from pathlib import Path
        from benchmark import machine
        with machine.measuring_alone():
            Path(sys.argv[1]).write_text("1")
            time.sleep(60)
    """
    process, count = start("first", code)
    wait_until(lambda: count() == 1)
    told = []
    monkeypatch.setattr(console, "say", lambda text, style="": (told.append(text), process.kill()))
    with measuring_alone():
        pass
    assert told == ["waiting: another run is measuring its speed on this machine"]


def test_a_measurement_that_fails_lets_the_next_one_begin():
    with pytest.raises(ZeroDivisionError), measuring_alone():
        raise ZeroDivisionError
    with console.console.capture() as captured, measuring_alone():
        pass
    assert "waiting" not in captured.get()


def test_a_run_alone_pays_nothing_noticeable():
    with machine.seated():
        start = time.perf_counter()
        for _ in range(10_000):
            machine.pause()
        assert time.perf_counter() - start < 0.5
    assert machine.place.seat is None and machine.pause not in console.at_updates


def test_a_clock_leaves_out_the_time_of_waiting():
    start, real = machine.working_seconds(), time.perf_counter()
    with machine.paused():
        time.sleep(0.2)
    real = time.perf_counter() - real
    assert machine.working_seconds() - start < real - 0.19


def test_the_locks_do_not_depend_on_the_working_directory(monkeypatch, tmp_path):
    before = machine.lock_folder()
    monkeypatch.chdir(tmp_path)
    assert machine.lock_folder() == before
    assert before.is_absolute()

"""Coordinates the runs of one user on one machine: how many work at a time, and which ones pause.

A run holds a seat from start to end, and the seat's working lock while it works. A run that
measures its speed takes the speed lock, then the working locks of all other seats. A run that
finds the speed lock taken releases its working lock until the speed lock is free.

This cannot deadlock: no run waits while it holds its working lock, so the holder of the speed lock,
which waits only for working locks, gets them all; and it needs nothing that a waiting run holds.
The lock files, a fixed number per seat, stay; the operating system releases the locks of processes
that have ended.
"""

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark import console
from benchmark.errors import EnvironmentProblem
from metrics.host import usable_processors

SECONDS_BETWEEN_LOOKS = 0.25
GPUS = Path("/proc/driver/nvidia/gpus")


class Place:
    """Where this process works, and for how long it has been paused."""

    def __init__(self) -> None:
        self.seat: int | None = None
        self.working: FileLock | None = None
        self.idle_seconds = 0.0
        self.last_look = 0.0
        self.is_measuring = False


place = Place()


def lock_folder() -> Path:
    """The folder of locks, which all runs of this user share.

    Raises:
        EnvironmentProblem: If it belongs to another user or cannot be created.
    """
    user = getattr(os, "getuid", lambda: 0)()  # not the name, which some users lack
    folder = Path(tempfile.gettempdir()) / f"generative-trilemma-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"{folder} cannot be created ({error.strerror}): set TMPDIR to another folder"
        ) from error
    if folder.is_symlink() or folder.stat().st_uid != user:
        raise EnvironmentProblem(f"{folder} belongs to another user: set TMPDIR to another folder")
    return folder


def num_seats() -> int:
    """How many runs work at a time: one for every two processors that this process may use.

    At least two, and at most two per GPU on a machine with GPUs.
    """
    seats = max(2, len(usable_processors()) // 2)
    gpus = num_gpus()
    return min(seats, 2 * gpus) if gpus else seats


def num_gpus() -> int:
    """How many Nvidia GPUs this process may use, determined without a backend."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    if visible is None:
        return present
    named = [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return min(present, len(named))


def describe_process() -> str:
    """Describes this process to others that wait for it."""
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}"


def working_lock(seat: int) -> FileLock:
    return FileLock(lock_folder() / f"working-{seat}.lock")


def speed_lock() -> FileLock:
    return FileLock(lock_folder() / "speed.lock")


@contextlib.contextmanager
def seated() -> Iterator[None]:
    """Waits for a free seat, with a message, and holds it for a run, which pauses on request."""
    seat, lock = _take_seat()
    place.seat, place.working = seat, working_lock(seat)
    console.at_updates.append(pause)
    try:
        _acquire(place.working)
        yield
    finally:
        console.at_updates.remove(pause)
        place.working.release()
        place.seat = place.working = None
        lock.release()


def _take_seat() -> tuple[int, FileLock]:
    locks = [FileLock(lock_folder() / f"seat-{seat}.lock") for seat in range(num_seats())]
    is_told = False
    while True:
        for seat, lock in enumerate(locks):
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return seat, lock
        if not is_told:
            console.say(
                f"waiting: {num_seats()} other runs are active on this machine", style="yellow"
            )
            is_told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def pause() -> None:
    """Pauses while another run measures its speed; costs almost nothing if none does.

    Call it often in anything that takes long; it checks the lock only a few times a second.
    """
    now = time.monotonic()
    if place.working is None or place.is_measuring:
        return
    if now - place.last_look < SECONDS_BETWEEN_LOOKS:
        return
    place.last_look = now
    lock = speed_lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with paused():
            _acquire(lock, "paused: another run is measuring its speed")
    lock.release()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """For a block that waits for other runs: frees the working lock and stops the run's clock."""
    start = time.perf_counter()
    if place.working is not None:
        place.working.release()
    yield
    # After an exception the run ends: it must not wait again.
    if place.working is not None:
        _acquire(place.working)
    place.idle_seconds += time.perf_counter() - start


@contextlib.contextmanager
def waited_for(lock: FileLock, describe: Callable[[], str] | None = None) -> Iterator[None]:
    """Holds a lock that another run may hold for long; counts as paused while waiting.

    Args:
        lock: The lock.
        describe: Returns the message to show before waiting; `None` for no message.
    """
    with paused():
        _acquire(lock, describe)
    try:
        yield
    finally:
        lock.release()


def working_seconds() -> float:
    """A clock: `time.perf_counter` minus the time for which this process was paused."""
    return time.perf_counter() - place.idle_seconds


@contextlib.contextmanager
def measuring_alone() -> Iterator[None]:
    """Waits, with a message, until no other run measures its speed or works on this machine."""
    with contextlib.ExitStack() as locks:
        with paused():
            speed = speed_lock()
            _acquire(speed, "waiting: another run is measuring its speed on this machine")
            locks.callback(speed.release)
            for seat in set(range(num_seats())) - {place.seat}:
                other = working_lock(seat)
                _acquire(other, "waiting until another run pauses")
                locks.callback(other.release)
        place.is_measuring = True
        locks.callback(setattr, place, "is_measuring", False)
        yield


def _acquire(lock: FileLock, message: str | Callable[[], str] | None = None) -> None:
    """Takes a lock; shows the message first if it has to wait."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if message:
            console.say(message if isinstance(message, str) else message(), style="yellow")
        lock.acquire()

"""One measurement of speed at a time on this machine."""

import contextlib
import getpass
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark import console


def lock_path() -> Path:
    """A file that all runs of this user share, whatever their folders."""
    return Path(tempfile.gettempdir()) / f"generative-trilemma-{getpass.getuser()}-speed.lock"


@contextlib.contextmanager
def measuring_alone() -> Iterator[None]:
    """Waits, with a message, until no other run measures its speed on this machine."""
    lock = FileLock(lock_path())
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.say("waiting: another run is measuring its speed on this machine", style="yellow")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

"""Stopping at a signal: training saves its state first, everything else stops where it is.

A second signal ends the program at once. Even then no file is left incomplete, as all writes are
atomic; only the work since the last checkpoint is lost.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from benchmark import console

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SIGNALLED = 128  # plus the signal's number: the exit code of a signalled program, as in shells


class Interruption(KeyboardInterrupt):
    """The program was asked to stop.

    Attributes:
        number: The signal, `signal.SIGINT` for Ctrl-C.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


class Request:
    """The signal that asked this process to stop, and whether it may stop anywhere."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_saving = False


request = Request()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within the block the first signal raises an `Interruption`, and the second kills.

    Signals reach only the main thread; in another thread the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, _handle) for number in SIGNALS}
    try:
        yield
    finally:
        request.number = None
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def saves_first() -> Iterator[None]:
    """Within the block only `check`, called after a save, raises an `Interruption`."""
    request.is_saving = True
    try:
        yield
    finally:
        request.is_saving = False
    check()


def is_requested() -> bool:
    """Whether this process was asked to stop."""
    return request.number is not None


def check() -> None:
    """Stops if the process was asked to.

    Raises:
        Interruption: If a signal was received.
    """
    if request.number is not None:
        raise Interruption(request.number)


def _handle(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_DFL)
    request.number = number
    with contextlib.suppress(RuntimeError):  # Python refuses to print while it prints
        console.console.show_cursor(True)  # progress bars hide it, and a second signal kills
        if request.is_saving:
            console.say("stopping after this step; a second signal stops at once", style="yellow")
    if not request.is_saving:
        raise Interruption(number)

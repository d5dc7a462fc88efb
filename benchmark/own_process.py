"""A run of a sweep in a process of its own, whose death ends that run and no other.

The process is a copy of this one (`fork`), which has imported no backend and holds no GPU, so
that it begins at once. Where the system makes no such copies, the run stays in this process.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from benchmark.errors import EnvironmentProblem
from benchmark.interruption import SIGNALLED, SIGNALS, Interruption

STANDARD_INPUT = 0
CAN_FORK = sys.platform == "linux"  # macOS has it too, but its own libraries break in a copy


def in_own_process(work: Callable[[], None]) -> None:
    """Does the work in a process of its own, and passes signals on to it.

    Args:
        work: Tells its own errors.

    Raises:
        Interruption: If the work was stopped by a signal.
        EnvironmentProblem: If its process was killed, or ended without saying why.
    """
    if not CAN_FORK or threading.current_thread() is not threading.main_thread():
        work()
        return
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work,))
    here, early = os.getpid(), []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if os.getpid() != here:  # the copy, until it has handlers of its own
            raise Interruption(number)
        if process.pid is None:
            early.append(number)
        elif number != signal.SIGINT or not _is_in_foreground():  # else the terminal signals both
            os.kill(process.pid, number)

    earlier = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        process.start()
        for number in early:
            pass_on(number, None)
        process.join()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    code = process.exitcode or 0
    if code - SIGNALLED in SIGNALS:
        raise Interruption(code - SIGNALLED)
    if -code in SIGNALS:  # the second one
        raise Interruption(-code)
    if code < 0:
        raise EnvironmentProblem(
            f"the process of this run was killed by {signal.Signals(-code).name}"
            + (", as a system does where memory runs out" if -code == signal.SIGKILL else "")
            + "; the same command resumes from its last checkpoint"
        )
    if code > 0:
        raise EnvironmentProblem(f"the process of this run ended with code {code}")


def _work(work: Callable[[], None]) -> None:
    try:
        work()
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, Interruption) else signal.SIGINT
        sys.exit(SIGNALLED + number)


def _is_in_foreground() -> bool:
    """Whether this process reads from a terminal that sends its signals to this group."""
    try:
        return os.tcgetpgrp(STANDARD_INPUT) == os.getpgrp()
    except OSError:
        return False

"""Isolates each run of a sweep in a process, so that a crash ends only that run.

The process is forked from this one, which has imported no backend and holds no GPU, so it starts at
once. On systems without a safe `fork`, the run stays in this process.
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
CAN_FORK = sys.platform == "linux"  # macOS can too, but its system libraries break in a fork


def in_own_process(work: Callable[[], None]) -> None:
    """Does the work in a separate process, and forwards signals to it.

    Args:
        work: What to do; it reports its own errors.

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
        if os.getpid() != here:  # the child, until it installs its own handlers
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
    if -code in SIGNALS:  # the second signal
        raise Interruption(-code)
    if code < 0:
        raise EnvironmentProblem(
            f"the process of this run was killed by {signal.Signals(-code).name}"
            + (", as happens when memory runs out" if -code == signal.SIGKILL else "")
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

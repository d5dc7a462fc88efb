"""What the terminal shows: stages, progress and results."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

WIDTH_OF_LOGS = 100
SECONDS_BETWEEN_LINES = 15  # of progress where the output is not a terminal

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=WIDTH_OF_LOGS)

label = ""  # prefix of each line of a run that shares its output with others
at_updates: list[Callable[[], None]] = []  # called whenever a run reports progress


def stage(title: str) -> None:
    """Announces a stage of the run."""
    console.print(f"\n{label}[bold cyan]▸ {title}[/bold cyan]")


def say(text: str, style: str = "") -> None:
    """Prints a line below the current stage."""
    console.print(f"{label}  {text}", style=style, markup=False, soft_wrap=True)


def set_label(own_label: str) -> None:
    """Prepares for output shared with other processes: no progress bars, and labelled lines."""
    global console, label
    console = Console(highlight=False, width=WIDTH_OF_LOGS, force_terminal=False)
    label = own_label


@contextlib.contextmanager
def progress(description: str, total: int, start: int = 0) -> Iterator[Callable[..., None]]:
    """Shows a loop's progress and the time left.

    On a terminal this is a bar; elsewhere an occasional line, so that logs stay short.

    Args:
        description: What is counted.
        total: Where the count ends.
        start: Where it starts, for a loop that resumes.

    Yields:
        `update(completed, text="")`.
    """
    show = _bar if console.is_terminal else _lines
    with show(description, total, start) as update:

        def update_and_act(completed: int, text: str = "") -> None:
            update(completed, text)
            for act in at_updates:
                act()

        yield update_and_act


@contextlib.contextmanager
def _bar(description: str, total: int, start: int) -> Iterator[Callable[..., None]]:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, completed=start, text="")
        yield lambda completed, text="": bar.update(task, completed=completed, text=text)


@contextlib.contextmanager
def _lines(description: str, total: int, start: int) -> Iterator[Callable[..., None]]:
    began = last = time.monotonic()

    def update(completed: int, text: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if completed < total and now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        left = (now - began) * (total - completed) / max(1, completed - start)
        say(
            f"{description} {completed}/{total}  {text}  {duration(left)} left".replace(
                "    ", "  "
            )
        )

    yield update


def table(
    titles: list[str], right: list[bool], body: list[list[str]], end: list[list[str]]
) -> None:
    """Prints rows, then a rule and the rows of `end`."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title, is_right in zip(titles, right, strict=True):
        shown.add_column(title, justify="right" if is_right else "left", no_wrap=True)
    for cells in body:
        shown.add_row(*cells)
    if body and end:
        shown.add_section()
    for cells in end:
        shown.add_row(*cells, style="dim")
    console.print(shown)


@contextlib.contextmanager
def quiet_standard_error() -> Iterator[None]:
    """Captures what native code writes to standard error; shows it only if the block fails."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(original, kept.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def duration(seconds: float) -> str:
    """Formats a time span: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"

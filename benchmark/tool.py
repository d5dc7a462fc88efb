"""What the smaller commands share: help, errors as one line, options that are whole numbers."""

import sys
from collections.abc import Callable

from benchmark import cli
from benchmark.errors import UserError

Work = Callable[[list[str]], int | None]
Main = Callable[..., int]  # with arguments, or of the command line


def command(usage: str | Callable[[], str], *, resumes: bool = False) -> Callable[[Work], Main]:
    """Makes the `main` of a command out of what it does with its arguments.

    `--help` shows how it is used. An error of the user or of the machine ends it with one line and
    the exit code of `benchmark.cli`; else the exit code is what it returns, or 0.

    Args:
        usage: What `--help` shows, or a function that says it.
        resumes: Whether the same command goes on where it was stopped.
    """

    def decorate(work: Work) -> Main:
        def main(arguments: list[str] | None = None) -> int:
            arguments = sys.argv[1:] if arguments is None else arguments
            if {"-h", "--help"} & set(arguments):
                print(usage if isinstance(usage, str) else usage())
                return 0
            with cli.exit_on_user_error(resumes=resumes):
                return work(arguments) or 0

        main.__doc__ = work.__doc__
        return main

    return decorate


def whole_number(name: str, text: str, least: int, most: int) -> int:
    """The number that an option has.

    Raises:
        UserError: If it is none, or not from `least` to `most`.
    """
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UserError(
            f"`{name}` must be a whole number from {least} to {most:,}. Received: {name}={text}"
        )
    return int(text)

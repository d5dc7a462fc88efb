"""What the smaller commands share: help, errors as one line, options that are whole numbers."""

import sys
from collections.abc import Callable

from benchmark import cli
from benchmark.errors import UserError

Work = Callable[[list[str]], int | None]
Main = Callable[..., int]  # by default, with the arguments of the command line


def command(usage: str | Callable[[], str], *, resumes: bool = False) -> Callable[[Work], Main]:
    """Turns a function of a command's arguments into its `main`.

    `--help` shows the usage. A user or environment error ends the command with one line and the
    exit code of `benchmark.cli`; else the exit code is what the function returns, or 0.

    Args:
        usage: What `--help` shows, or a function that returns it.
        resumes: Whether the same command resumes where it was stopped.
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
    """Parses an option that is a whole number.

    Raises:
        UserError: If it is not one, or not from `least` to `most`.
    """
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UserError(
            f"`{name}` must be a whole number from {least} to {most:,}. Received: {name}={text}"
        )
    return int(text)

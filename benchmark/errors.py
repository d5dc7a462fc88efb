"""Errors that are not defects: each is reported in one line, without a traceback."""


class UserError(Exception):
    """A mistake of the user; the message says what is wrong and how to fix it.

    The command line prints the message alone and leaves with exit code 2.
    """


class Divergence(Exception):
    """A training that ended in values that are not numbers; the results have a row that says so.

    The command line prints the message alone and leaves with exit code 4.
    """


class EnvironmentProblem(Exception):
    """A right request that this machine cannot serve now: no network, no disk, no package.

    The command line prints the message alone and leaves with exit code 3.
    """

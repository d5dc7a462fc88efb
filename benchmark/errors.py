"""Errors that are not defects: each is reported in one line, without a traceback."""


class UserError(Exception):
    """A mistake of the user; the message says what is wrong and how to fix it.

    The command line prints only the message and exits with code 2.
    """


class Divergence(Exception):
    """Training diverged to NaN or infinite values; a row of the results records it.

    The command line prints only the message and exits with code 4.
    """


class EnvironmentProblem(Exception):
    """A valid request that this machine cannot fulfil now: no network, no disk, no package.

    The command line prints only the message and exits with code 3.
    """

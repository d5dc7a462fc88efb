"""How a run ends and where it went on, as its run.json tells it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from benchmark.errors import Divergence, EnvironmentProblem, UserError
from benchmark.results import RunFolder


@contextlib.contextmanager
def recorded_failure(folder: RunFolder, row: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Leaves a row with the reason if the block raises an error; a later run takes it away.

    Args:
        folder: The run's folder.
        row: Returns the columns that are known of the run.
    """
    if folder.state.get("failure"):
        folder.update_state(failure=None)
    try:
        yield
    except Exception as error:
        known = isinstance(error, UserError | EnvironmentProblem)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        with contextlib.suppress(EnvironmentProblem):  # there may be no room to say so
            failure = {**row(), "status": "failed", "notes": " ".join(reason.split())}
            folder.update_state(failure=failure)
        raise


def check_divergence(folder: RunFolder) -> None:
    """Tells a run whose training diverged by an exit code of its own.

    Raises:
        Divergence: If it did.
    """
    state = folder.state
    if state.get("status") == "diverged":
        raise Divergence(f"the training diverged: {state['row']['notes']}")


def record_environment(folder: RunFolder, environment: dict[str, Any]) -> None:
    """Says where a run trains, and where it did before, if that was elsewhere."""
    state = folder.state
    before, others = state.get("environment"), state.get("earlier_environments", [])
    if before not in (None, environment):
        others = [*others, before]
    entries = {"earlier_environments": others} if others else {}
    folder.update_state(status="training", environment=environment, **entries)

"""How a run ended and where it ran, as recorded in its run.json."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmark.errors import Divergence, EnvironmentProblem, UserError
from benchmark.files import is_held
from benchmark.results import Folder, RunFolder, stored_measurements

FAILURE = "failure"  # in run.json: the row of a run that failed
BEGUN = "begun"  # in run.json: the row of a run in progress, or whose process was killed
IN_ITS_PLACE = ("kid_digits_mean", "kid_mean")  # if the headline is not among the metrics
KILLED = "its process ended before the run did: it was killed, or the machine stopped"


@contextlib.contextmanager
def recorded_failure(folder: RunFolder, row: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Records a row with the reason if the block raises an error or its process is killed.

    Args:
        folder: The run's folder, whose lock this process holds.
        row: Returns the columns that are known of the run.
    """
    folder.update_state(**{BEGUN: _failed(row(), KILLED)})
    try:
        yield
    except Exception as error:
        known = isinstance(error, UserError | EnvironmentProblem)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        with contextlib.suppress(EnvironmentProblem):  # the disk may be full
            folder.update_state(**{FAILURE: _failed(row(), reason), BEGUN: None})
        raise
    except KeyboardInterrupt:
        with contextlib.suppress(EnvironmentProblem):
            forget_failure(folder)
        raise
    forget_failure(folder)


def _failed(row: dict[str, Any], reason: str) -> dict[str, Any]:
    return {**row, "status": "failed", "notes": " ".join(reason.split())}


def forget_failure(folder: RunFolder) -> None:
    """Removes the row that says why an earlier process did not finish the run."""
    if folder.state.get(FAILURE) or folder.state.get(BEGUN):
        folder.update_state(**{FAILURE: None, BEGUN: None})


def failure_of(path: Path, state: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a run that failed or whose process was killed; `None` while it is in progress.

    Args:
        path: The run's folder.
        state: What its run.json says.
    """
    if state.get(BEGUN) and not is_held(path):
        return state[BEGUN]
    return state.get(FAILURE)


def settled(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """A state to copy elsewhere, where no process works on the run; arguments as `failure_of`."""
    if BEGUN not in state:
        return state
    kept = {key: value for key, value in state.items() if key not in (BEGUN, FAILURE)}
    failure = failure_of(path, state)
    return {**kept, FAILURE: failure} if failure else kept


def check_divergence(folder: RunFolder) -> None:
    """Reports a diverged training, which has its own exit code.

    Raises:
        Divergence: If the training diverged.
    """
    state = folder.state
    if state.get("status") == "diverged":
        raise Divergence(f"the training diverged: {state['row']['notes']}")


def record_environment(folder: RunFolder, environment: dict[str, Any]) -> None:
    """Records where a run trains, and where it trained before if that was elsewhere."""
    state = folder.state
    before, others = state.get("environment"), state.get("earlier_environments", [])
    if before not in (None, environment):
        others = [*others, before]
    entries = {"earlier_environments": others} if others else {}
    folder.update_state(status="training", environment=environment, **entries)


def objective(folder: RunFolder, num_samples: int) -> float:
    """What an option search minimizes: the headline of quality of a run's best sampler.

    Args:
        folder: The run's folder.
        num_samples: Only rows of this many images count, as the number biases some distances.

    Returns:
        The lowest headline, or KID where that was not measured; infinity without either.
    """
    found = [math.inf]
    for path in sorted((folder.path / "samplers").glob("*")):
        for measurement in stored_measurements(Folder(path)):
            row = measurement["row"]
            if row.get("num_samples") == num_samples:
                found += [row[key] for key in (row["headline"], *IN_ITS_PLACE) if key in row][:1]
    return min(found)

"""Training checkpoints: the last two are kept, each in one checksummed file.

If the last one is damaged, the one before it is used. A checkpoint of another format or network is
rejected. One written by another version of Keras or its backend is accepted with a warning.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from benchmark import console
from benchmark.errors import EnvironmentProblem
from benchmark.provenance import installed_version
from benchmark.results import RunFolder
from benchmark.validation import Best

CHECKPOINTS = "checkpoints"  # subfolder of a run's folder
NUM_KEPT = 2
FORMAT = 1
MOST_DIFFERENCES = 3  # listed for a checkpoint that does not fit


@dataclass
class Progress:
    """How far training has come.

    Attributes:
        step: Steps done.
        seconds: How long they took.
        history: See `benchmark.training.Training`.
        best: The best weights so far by validation; `None` without validation.
        running_means: The values of the model's metrics, which average over the steps since the
            last entry of the history.
    """

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Best | None = None
    running_means: list[np.ndarray] = field(default_factory=list)


def save(run: RunFolder, model: keras.Model, progress: Progress) -> None:
    """Writes a checkpoint and removes all but the last two."""
    run.write_arrays(f"{CHECKPOINTS}/{progress.step:08d}.npz", state(model, progress))
    for path in paths(run)[:-NUM_KEPT]:
        path.unlink()


def load(run: RunFolder, model: keras.Model) -> Progress:
    """Loads the last intact checkpoint into a model; without one, leaves the model unchanged.

    Raises:
        EnvironmentProblem: If all are damaged, or of another format or network.
    """
    problems = []
    for path in reversed(paths(run)):
        try:
            arrays = run.read_arrays(f"{CHECKPOINTS}/{path.name}")
        except EnvironmentProblem as problem:
            problems.append(str(problem))
            continue
        if problems:
            text = f"warning: {problems[0]}; using {path} instead"
            console.say(text, style="yellow")
        return restore(model, arrays or {}, str(path))
    if problems:
        raise EnvironmentProblem(
            f"{'; '.join(problems)}. There is no other checkpoint: force=true trains from scratch"
        )
    return restore(model, {}, "")


def paths(run: RunFolder) -> list[Any]:
    """The checkpoints of a run, oldest first."""
    return sorted((run.path / CHECKPOINTS).glob("[0-9]*.npz"))


def state(model: keras.Model, progress: Progress) -> dict[str, np.ndarray]:
    """Everything that training resumes from, as arrays by name."""
    arrays: dict[str, Any] = {
        name: keras.ops.convert_to_numpy(variable)
        for name, variable in stateful_variables(model).items()
    }
    record = {
        "format": FORMAT,
        "versions": versions(),
        "step": progress.step,
        "seconds": progress.seconds,
        "history": progress.history,
    }
    arrays["record"] = np.array(json.dumps(record))
    return arrays if progress.best is None else {**arrays, **progress.best.to_arrays()}


def restore(model: keras.Model, arrays: dict[str, np.ndarray], source: str = "") -> Progress:
    """Loads a saved `state` into a model, unless it is empty.

    Args:
        model: A compiled model; its optimizer is built if necessary.
        arrays: What `state` returned.
        source: The file that it comes from, for messages.

    Raises:
        EnvironmentProblem: If the state does not fit.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    if not arrays:
        return Progress()
    record = json.loads(str(arrays.get("record", "{}")))
    if record.get("format") != FORMAT:
        raise mismatch(source, f"its format is {record.get('format')}, not {FORMAT}")
    variables = stateful_variables(model)
    if differences := differences_of(variables, arrays):
        raise mismatch(source, "; ".join(differences))
    if record["versions"] != versions():
        console.say(f"warning: {source} {written_by(record['versions'])}", style="yellow")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return Progress(
        step=record["step"],
        seconds=record["seconds"],
        history=record["history"],
        best=Best.from_arrays(arrays),
        running_means=[array for name, array in arrays.items() if name.startswith("metrics/")],
    )


def stateful_variables(model: keras.Model) -> dict[str, Any]:
    """The variables of a model, its seed generators and metrics included, and of its optimizer."""
    kinds = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    return {
        f"{kind}/{index:04d} {variable.path}": variable
        for kind, variables in kinds.items()
        for index, variable in enumerate(variables)
    }


def differences_of(variables: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[str]:
    """The first few differences between the variables of a model and of a checkpoint."""
    saved = {
        name: array.shape
        for name, array in arrays.items()
        if name.startswith(("model/", "optimizer/", "metrics/"))
    }
    found = [f"it lacks {name}" for name in variables if name not in saved]
    found += [f"the network lacks {name}" for name in saved if name not in variables]
    found += [
        f"{name} has the shape {saved[name]}, not {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in saved and saved[name] != tuple(variable.shape)
    ]
    more = len(found) - MOST_DIFFERENCES
    return [*found[:MOST_DIFFERENCES], *([f"and {more} more"] if more > 0 else [])]


def mismatch(source: str, reason: str) -> EnvironmentProblem:
    return EnvironmentProblem(f"{source} does not fit: {reason}. force=true trains from scratch")


def versions() -> dict[str, str]:
    """The versions of Keras and of its backend."""
    return {name: installed_version(name) for name in ("keras", keras.backend.backend())}


def written_by(saved: dict[str, str]) -> str:
    """Says which versions wrote a checkpoint, and which ones continue."""
    others = ", ".join(f"{name} {version}" for name, version in saved.items())
    own = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"was written by {others}; training goes on with {own}, and may differ in the last bits"

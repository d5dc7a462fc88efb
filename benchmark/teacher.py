"""The trained diffusion model that another model learns from, and where it is found."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import UserError
from benchmark.results import RunFolder
from benchmark.stored_results import StoredRun

MODEL = "ddpm"  # the model of the runs to look for
TARGET = "models.diffusion.DiffusionModel"
KEY = re.compile("[0-9a-f]{8,}")


class Teacher:
    """A finished training of a diffusion model.

    Attributes:
        run: The `StoredRun`.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run = run

    @property
    def options(self) -> dict[str, Any]:
        """The options that build it, for `model.teacher` of a configuration."""
        model = {**self.run.trusted_config()["model"], "name": "teacher", "_partial_": True}
        del model["optimizer"]  # a teacher is not trained
        return model

    @property
    def weights(self) -> list[np.ndarray]:
        """Its last weights, in the order of `keras.Model.weights`."""
        arrays = run_folder_of(self.run.path).read_weights("last")
        return [arrays[key] for key in sorted(arrays)]


def take_teacher(settings: dict[str, Any], dataset_name: str) -> Teacher | None:
    """Finds the teacher of a run, and puts the options that build it into the run's settings.

    Args:
        settings: The configuration, changed in place: `teacher` becomes the key of its run.
        dataset_name: Name of the dataset.

    Returns:
        The `Teacher`, `None` for a model that has none.

    Raises:
        UserError: If a required teacher is missing or of the wrong kind, or if its configuration
            names code outside this program.
    """
    if "teacher" not in settings["model"]:
        return None
    path = settings["teacher"]
    run = given(settings, dataset_name) if path else found(settings, dataset_name)
    teacher = Teacher(run)
    model = settings["model"]
    classes = teacher.options.get("num_classes")
    if model["num_classes"] not in (None, classes):
        raise UserError(
            f"`model.num_classes` must be that of the teacher, {classes}, or null. "
            f"Received: model.num_classes={model['num_classes']}"
        )
    settings["model"] = {**model, "num_classes": classes, "teacher": teacher.options}
    settings["teacher"] = run.key
    return teacher


def given(settings: dict[str, Any], dataset_name: str) -> StoredRun:
    """The run that `teacher` names, if it is suitable."""
    path = settings["teacher"]
    run = named_run(path, settings["results_dir"])
    if not run.config or not run_folder_of(run.path).has_weights:
        raise UserError(
            "`teacher` must be the folder of a finished run, such as "
            f"results/runs/mnist/{MODEL}/<key>. Received: teacher={path}"
        )
    target, taught = run.config["model"]["_target_"], run.path.parent.parent.name
    if target != TARGET or taught != dataset_name:
        raise UserError(
            f"`teacher` must be a run of model={MODEL} on dataset {dataset_name}. Received: "
            f"teacher={path}, a run of model={run.config['model']['name']} on {taught}"
        )
    return run


def found(settings: dict[str, Any], dataset_name: str) -> StoredRun:
    """The only finished run of the results folder with the same dataset, preset and seed."""
    folder = Path(settings["results_dir"], "runs", dataset_name, MODEL)
    runs = [
        StoredRun(path.parent) for path in sorted(folder.glob(f"*/{RunFolder.WEIGHTS['last']}"))
    ]
    same = {key: settings[key] for key in ("preset", "seed")}
    runs = [run for run in runs if same.items() <= run.config.items()]
    if len(runs) == 1:
        return runs[0]
    alike = f"preset={same['preset']} seed={same['seed']}"
    if not runs:
        raise UserError(
            f"there is no teacher: {folder} has no finished run with {alike}. Train it, python -m "
            f"benchmark model={MODEL} {alike}, or give teacher=<run folder>"
        )
    raise UserError(
        f"{len(runs)} runs with {alike} could be the teacher. Give one of them: "
        + ", ".join(f"teacher={run.path}" for run in runs)
    )


def named_run(name: str, results_dir: str | Path) -> StoredRun:
    """The run in a folder, or the only run in the results whose key starts with `name`.

    Args:
        name: A path, or the start of a key, such as a row's `run`.
        results_dir: The results folder.
    """
    path = Path(name).expanduser()
    alike = []
    if KEY.fullmatch(name) and not path.exists():
        alike = list(Path(results_dir).glob(f"runs/*/*/{name}*"))
    return StoredRun((alike[0] if len(alike) == 1 else path).resolve())


def run_folder_of(path: Path) -> RunFolder:
    """The `RunFolder` of a run's path."""
    *_, dataset, model, key = path.parts
    return RunFolder(path.parents[3], dataset, model, key)

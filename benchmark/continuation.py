"""Training that starts from another run's weights: `start_from=<run folder>`."""

from typing import Any

import keras

from benchmark.errors import UserError
from benchmark.results import RunFolder
from benchmark.stored_results import StoredRun
from benchmark.teacher import Teacher, named_run, run_folder_of
from benchmark.training import load_weights
from benchmark.training_cost import cost_of


class Start:
    """A finished run whose weights another training starts from.

    Its last weights are used, the averages if there are any; the optimizer's moments and the
    learning rate start afresh.

    Attributes:
        run: The `StoredRun`.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run = run

    def give_weights(self, model: keras.Model) -> None:
        """Loads its weights into a model.

        Raises:
            UserError: If they belong to another network.
        """
        arrays = run_folder_of(self.run.path).read_weights("last")
        shapes = [tuple(variable.shape) for variable in model.weights]
        if [arrays[name].shape for name in sorted(arrays)] != shapes:
            raise UserError(
                f"`start_from` must be a run of the same network as model={model.name}. "
                f"Received: start_from={self.run.path}, whose weights have other shapes"
            )
        load_weights(model, arrays)


def take_start(settings: dict[str, Any], dataset_name: str) -> Start | None:
    """The run that a training starts from.

    Args:
        settings: The configuration, changed in place: `start_from` becomes the run's key.
        dataset_name: Name of the dataset.

    Returns:
        The `Start`, `None` for a training from scratch.

    Raises:
        UserError: If it is not a finished run on the same dataset.
    """
    path = settings["start_from"]
    if path is None:
        return None
    run = named_run(path, settings["results_dir"])
    if not (run.path / RunFolder.WEIGHTS["last"]).is_file():
        raise UserError(
            "`start_from` must be the folder of a finished run, such as "
            f"results/runs/mnist/vae/<key>. Received: start_from={path}"
        )
    trained_on = run.path.parent.parent.name
    if trained_on != dataset_name:
        raise UserError(
            f"`start_from` must be a run on dataset {dataset_name}. Received: "
            f"start_from={path}, a run on {trained_on}"
        )
    settings["start_from"] = run.key
    return Start(run)


def take_weights(
    model: keras.Model, folder: RunFolder, teacher: Teacher | None, start: Start | None
) -> None:
    """Gives the model the weights of its teacher and of the run it starts from, if any."""
    if teacher:
        model.learn_from(teacher.weights)
        folder.update_state(teacher=cost_of(teacher.run))
    if start:
        start.give_weights(model)
        folder.update_state(started_from=cost_of(start.run))

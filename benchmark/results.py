"""The only reader and writer of the results folder.

    results/runs/<dataset>/<model>/<key>/   one trained model
        config.yaml  run.json  history.csv  weights.npz  weights_best.npz  *.png  learning.gif
        checkpoints/  pictures/ while it trains
        tensorboard/  where TensorBoard is installed
        samplers/<sampler>/   samples of the last weights; <sampler>@best/ of the best ones,
            <sampler>@sampling1/ of another sampling seed
            samples.npy  samples.json  features/  latency.json  grid.png  process.gif
            measurements/<row key>/metrics.json
    results/sanity/<dataset>/<row>/<key>/   images that no model made
        samples.npy (the first)  features/  measurements/<row key>/metrics.json
    results/external/<dataset>/<name>/<key>/  samples made elsewhere
        run.json  samples.npy (the first)  features/  grid.png  measurements/<row key>/metrics.json

A row is one way of measuring one set of samples (encoder, classifier, number of samples,
reference). Another way has another row key, and so adds a row. metrics.json has

    {"row": {column: value}, "numbers": {metric: {"key", "options", "instruments", "values",
                                                  "details", "notes"}}}

where `key` is a hash of everything that determines that metric's numbers (see
`benchmark.measurement`): numbers that are still valid are not measured again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmark.errors import EnvironmentProblem
from benchmark.files import HOLDER, Folder, digest, hash_arrays, write_atomically

__all__ = [
    "MEASUREMENTS",
    "Folder",
    "RunFolder",
    "digest",
    "external_folder",
    "hash_arrays",
    "row_folder",
    "sanity_folder",
    "stored_measurements",
    "write_atomically",
]
MEASUREMENTS = "measurements"


class RunFolder(Folder):
    """The folder of one trained model.

    Args:
        results_dir: The results folder.
        dataset: Name of the dataset.
        model: Name of the model.
        key: Hash of everything that determines the weights.
    """

    WEIGHTS = {"last": "weights.npz", "best": "weights_best.npz"}

    def __init__(self, results_dir: str | Path, dataset: str, model: str, key: str) -> None:
        super().__init__(Path(results_dir) / "runs" / dataset / model / key)

    @property
    def state(self) -> dict[str, Any]:
        """run.json: status, timings, environment; empty before the run's start.

        Raises:
            EnvironmentProblem: If the file is damaged.
        """
        with way_out():
            return self.read_json("run.json")

    def update_state(self, **entries: Any) -> None:
        self.write_json("run.json", {**self.state, **entries})

    def add_seconds(self, stage: str, seconds: float, sampler: str = "") -> None:
        """Adds time to a stage (of one sampler) in `stage_seconds` of run.json."""
        stages = self.state.get("stage_seconds", {})
        place, name = (stages.setdefault(stage, {}), sampler) if sampler else (stages, stage)
        place[name] = round(place.get(name, 0.0) + seconds, 3)
        self.update_state(stage_seconds=stages)

    def write_config(self, settings: dict[str, Any]) -> None:
        self.write_text("config.yaml", yaml.safe_dump(settings, sort_keys=False))

    def write_history(self, history: list[dict[str, float]]) -> None:
        """Writes a row for each checkpoint; nothing if there was none."""
        if not history:
            return
        self.write_text("history.csv", pd.DataFrame(history).to_csv(index=False))

    @property
    def has_weights(self) -> bool:
        """Whether the training has ended; the last weights are written after the best ones."""
        return (self.path / self.WEIGHTS["last"]).exists()

    def read_weights(self, checkpoint: str) -> dict[str, np.ndarray]:
        """The weights of a checkpoint, `last` or `best`.

        Raises:
            EnvironmentProblem: If there are none, or they are damaged.
        """
        with way_out():
            arrays = self.read_arrays(self.WEIGHTS[checkpoint])
        if arrays is None:
            raise EnvironmentProblem(
                f"{self.path / self.WEIGHTS[checkpoint]} is missing; force=true trains again"
            )
        return arrays

    def sampler(self, name: str, checkpoint: str = "last", sampling_seed: int = 0) -> Folder:
        """The folder of a sampler, for the weights of one checkpoint and one sampling seed.

        Args:
            name: Name of the sampler.
            checkpoint: `last` or `best`.
            sampling_seed: Number of the set of samples, from 0.
        """
        suffix = "" if checkpoint == "last" else f"@{checkpoint}"
        suffix += f"@sampling{sampling_seed}" if sampling_seed else ""
        return Folder(self.path / "samplers" / f"{name}{suffix}")

    def clear(self) -> None:
        """Removes what an earlier run left, except the lock and who holds it."""
        for path in self.path.iterdir():
            if path.name not in (".lock", HOLDER):
                self.remove(path.name)


@contextlib.contextmanager
def way_out() -> Iterator[None]:
    """Adds a remedy to the message about a damaged file."""
    try:
        yield
    except EnvironmentProblem as problem:
        raise EnvironmentProblem(f"{problem}; force=true repeats this run") from problem


def sanity_folder(results_dir: str | Path, dataset: str, row: str, key: str) -> Folder:
    """The folder of images that no model made; `key` is a hash of the dataset and their number."""
    return Folder(Path(results_dir) / "sanity" / dataset / row / key)


def external_folder(results_dir: str | Path, dataset: str, name: str, key: str) -> Folder:
    """The folder of samples that were made elsewhere; `key` is a hash of them and the dataset."""
    return Folder(Path(results_dir) / "external" / dataset / name / key)


def row_folder(samples_folder: Folder, key: str) -> Folder:
    """The folder of one way of measuring the samples of a folder."""
    return Folder(samples_folder.path / MEASUREMENTS / key)


def stored_measurements(samples_folder: Folder) -> list[dict[str, Any]]:
    """The metrics.json of every row in a samples folder; damaged ones are left out."""
    paths = sorted((samples_folder.path / MEASUREMENTS).glob("*/metrics.json"))
    found = [Folder(path.parent).recall_json(path.name) for path in paths]
    return [measurement for measurement in found if "numbers" in measurement]

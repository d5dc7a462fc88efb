"""The only reader and writer of the results folder.

    results/runs/<dataset>/<model>/<key>/   one trained model
        config.yaml  run.json  history.csv  weights.npz  weights_best.npz  *.png  learning.gif
        checkpoints/  pictures/ while it trains
        samplers/<sampler>/   samples of the last weights; <sampler>@best/ of the best ones,
            <sampler>@sampling1/ of another sampling seed
            samples.npy  samples.json  features/  latency.json  grid.png  process.gif
            measurements/<row key>/metrics.json
    results/sanity/<dataset>/<row>/<key>/   images that no model made
        samples.npy (the first)  features/  measurements/<row key>/metrics.json
    results/external/<dataset>/<name>/<key>/  samples made elsewhere
        run.json  samples.npy (the first)  features/  grid.png  measurements/<row key>/metrics.json

A row is one way of measuring one set of samples (encoder, classifier, number of samples,
reference): another way makes another row key, so it adds a row. metrics.json has

    {"row": {column: value}, "numbers": {metric: {"key", "options", "instruments", "values",
                                                  "details", "notes"}}}

where `key` is a hash of everything that made the numbers of that metric (see
`benchmark.measurement`): what still holds is not measured again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmark.errors import EnvironmentProblem
from benchmark.files import Folder, digest, hash_arrays, write_atomically

__all__ = [
    "MEASUREMENTS",
    "Folder",
    "RunFolder",
    "StoredRow",
    "StoredRun",
    "collect_rows",
    "digest",
    "external_folder",
    "hash_arrays",
    "row_folder",
    "sanity_folder",
    "stored_measurements",
    "write_atomically",
]
MEASUREMENTS = "measurements"
_OF_RUNS = (("runs",), ("external",))


class RunFolder(Folder):
    """The folder of one trained model.

    Args:
        results_dir: The results folder.
        dataset: Name of the dataset.
        model: Name of the model.
        key: Hash of everything that determines the weights.
    """

    CHECKPOINT = "checkpoints/latest.npz"
    WEIGHTS = {"last": "weights.npz", "best": "weights_best.npz"}

    def __init__(self, results_dir: str | Path, dataset: str, model: str, key: str) -> None:
        super().__init__(Path(results_dir) / "runs" / dataset / model / key)

    @property
    def state(self) -> dict[str, Any]:
        """run.json: status, timings, environment; empty before the run's start."""
        return self.read_json("run.json")

    def update_state(self, **entries: Any) -> None:
        self.write_json("run.json", {**self.state, **entries})

    def add_seconds(self, stage: str, seconds: float, sampler: str = "") -> None:
        """Adds to what run.json says, in `stage_seconds`, of a stage (of one sampler)."""
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
            EnvironmentProblem: If there are none.
        """
        arrays = self.read_arrays(self.WEIGHTS[checkpoint])
        if arrays is None:
            raise EnvironmentProblem(
                f"{self.path / self.WEIGHTS[checkpoint]} is missing; force=true trains again"
            )
        return arrays

    def sampler(self, name: str, checkpoint: str = "last", sampling_seed: int = 0) -> Folder:
        """The folder of a sampler with the weights of a checkpoint and one of its seeds.

        Args:
            name: Name of the sampler.
            checkpoint: `last` or `best`.
            sampling_seed: Which set of samples, from 0 on.
        """
        suffix = "" if checkpoint == "last" else f"@{checkpoint}"
        suffix += f"@sampling{sampling_seed}" if sampling_seed else ""
        return Folder(self.path / "samplers" / f"{name}{suffix}")

    def clear(self) -> None:
        """Removes what an earlier run left, except the lock."""
        for path in self.path.iterdir():
            if path.name != ".lock":
                self.remove(path.name)


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
    """The metrics.json of all rows of the samples of a folder."""
    paths = sorted((samples_folder.path / MEASUREMENTS).glob("*/metrics.json"))
    return [json.loads(path.read_text()) for path in paths]


def collect_rows(results_dir: str | Path) -> pd.DataFrame:
    """Reads all rows: of runs, of samples made elsewhere and of sanity checks.

    A run that diverged has one row without figures. The columns are those that any row has, in
    the order in which they first appear; `path` leads to the row's files (see `StoredRow`).
    """
    root = Path(results_dir)
    rows = []
    for path in sorted(root.glob("runs/*/*/*/run.json")):
        state = json.loads(path.read_text())
        if state.get("status") == "diverged":
            rows.append({**state["row"], "path": path.parent.relative_to(root).as_posix()})
    for folder in ("runs/*/*/*/samplers/*", "external/*/*/*", "sanity/*/*/*"):
        for path in sorted(root.glob(f"{folder}/{MEASUREMENTS}/*/metrics.json")):
            row = json.loads(path.read_text())["row"]
            rows.append({**row, "path": path.parent.relative_to(root).as_posix()})
    columns = dict.fromkeys(key for row in reversed(rows) for key in row)
    return pd.DataFrame(rows, columns=list(columns))


@dataclass(frozen=True)
class StoredRun:
    """What is stored of a trained model, or of samples made elsewhere.

    Attributes:
        path: Its folder.
    """

    path: Path

    @property
    def key(self) -> str:
        """The name of its folder; a row's `run` is the start of it."""
        return self.path.name

    @property
    def state(self) -> dict[str, Any]:
        """run.json: timings, environment, the source of samples made elsewhere; or empty."""
        return Folder(self.path).read_json("run.json")

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that it was trained with; or empty."""
        path = self.path / "config.yaml"
        return yaml.safe_load(path.read_text()) if path.is_file() else {}

    @property
    def history(self) -> pd.DataFrame | None:
        """A line for each checkpoint of the training: step, images_seen, losses; or `None`."""
        path = self.path / "history.csv"
        return pd.read_csv(path) if path.is_file() else None

    @property
    def pictures(self) -> list[Path]:
        """The PNG and GIF files that the run drew, by name; not those of its samplers."""
        return _pictures_in(self.path)


class StoredRow:
    """The files behind a row of `collect_rows`; what is not there is empty or `None`.

    Args:
        results_dir: The results folder.
        path: The row's `path`; empty or not a string for a row without files.

    Attributes:
        run: The `StoredRun` that it belongs to; `None` for sanity rows and rows without files.
        samples_path: The folder of its samples, shared by the rows that measure them in other
            ways; `None` for a run that diverged and for rows without files.
    """

    def __init__(self, results_dir: str | Path, path: Any) -> None:
        parts = Path(path).parts if isinstance(path, str) else ()
        root = Path(results_dir)
        self.run = StoredRun(root.joinpath(*parts[:4])) if parts[:1] in _OF_RUNS else None
        self._path = root.joinpath(*parts) if MEASUREMENTS in parts else None
        self.samples_path = self._path.parents[1] if self._path else None

    @property
    def name(self) -> str:
        """The name of its samples' folder, such as `ddim-10@best`."""
        return self.samples_path.name if self.samples_path else ""

    def samples(self, count: int) -> np.ndarray | None:
        """The first images, uint8 `(count or fewer, height, width, channels)`."""
        path = self.samples_path / "samples.npy" if self.samples_path else None
        if path is None or not path.is_file():
            return None
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(images[:count]) if len(images) else None

    def details(self, metric: str) -> dict[str, Any]:
        """What a metric said beyond its numbers, by the name of its option in conf/metric."""
        stored = Folder(self._path).read_json("metrics.json") if self._path else {}
        return stored.get("numbers", {}).get(metric, {}).get("details", {})

    @property
    def pictures(self) -> list[Path]:
        """The PNG and GIF files of its samples, by name; not those of the run."""
        if self.samples_path is None or (self.run and self.run.path == self.samples_path):
            return []
        return _pictures_in(self.samples_path)


def _pictures_in(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [file for file in files if file.suffix in (".png", ".gif")]

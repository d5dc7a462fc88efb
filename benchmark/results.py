"""The only reader and writer of the results folder.

    results/runs/<dataset>/<model>/<key>/   one trained model
        config.yaml  run.json  history.csv  weights.npz  weights_best.npz  checkpoints/  *.png
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

Every file appears whole or not at all: it is written beside its place, then moved.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from filelock import FileLock

from benchmark import console
from benchmark.errors import EnvironmentProblem
from benchmark.machine import waited_for

COLUMNS = (
    "dataset model sampler checkpoint preset seed status network_passes "
    "latency_ms_per_pass_p50 latency_ms_per_pass_iqr latency_ms_per_image_p50 "
    "latency_ms_per_image_iqr "
    "overhead_ms_per_image images_per_second throughput_batch_size kid_mean kid_std kid_encoder "
    "kid_digits_mean kid_digits_std modes_covered num_modes mode_kl mode_kl_floor "
    "rejected_share conditional_accuracy classifier_accuracy precision recall density coverage "
    "vendi authenticity copied_share num_parameters gflops_per_pass peak_memory_mb "
    "train_seconds sample_seconds num_samples protocol classifier judge run overrides device "
    "notes path"
).split()
MEASUREMENTS = "measurements"
_OF_RUNS = (("runs",), ("external",))


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` at the end: whole or absent, if killed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is either whole or absent, whenever the process is killed."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def digest(content: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a JSON-able value."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Folder:
    """A folder whose files are written atomically, by kind."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(content, indent=1) + "\n").encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file, empty if there is none."""
        path = self.path / name
        return json.loads(path.read_text()) if path.exists() else {}

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Writes an uncompressed npz with a SHA-256 beside it, inside the same file."""
        buffer = io.BytesIO()
        np.savez(buffer, sha256=np.array(hash_arrays(arrays)), **arrays)  # type: ignore[arg-type]
        write_atomically(self.path / name, buffer.getvalue())

    def read_arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an npz, `None` if there is none.

        Raises:
            EnvironmentProblem: If the file is damaged.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except Exception as error:
            raise damaged(path, str(error)) from error
        if str(arrays.pop("sha256", "")) != hash_arrays(arrays):
            raise damaged(path, "its checksum differs")
        return arrays

    def recall_arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """Like `read_arrays` for what can be made again: a damaged file counts as absent."""
        try:
            return self.read_arrays(name)
        except EnvironmentProblem as problem:
            console.say(f"warning: {problem}; it is made again", style="yellow")
            return None

    def write_array(self, name: str, array: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, array)
        write_atomically(self.path / name, buffer.getvalue())

    def write_array_in_parts(self, name: str, parts: Iterable[np.ndarray], length: int) -> None:
        """Writes the first `length` rows of parts that follow one another, one part at a time."""
        with atomic_path(self.path / name) as path:
            array, start = None, 0
            for part in parts:
                if array is None:
                    shape = (length, *part.shape[1:])
                    array = np.lib.format.open_memmap(path, "w+", part.dtype, shape)
                rows = array[start : start + len(part)]
                rows[:] = part[: len(rows)]
                start += len(part)

    def read_array(self, name: str) -> np.ndarray:
        """The array of an npy file, as a memory map."""
        return np.load(self.path / name, mmap_mode="r", allow_pickle=False)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).exists()

    def write_text(self, name: str, text: str) -> None:
        write_atomically(self.path / name, text.encode())

    def write_image(self, name: str, image: Any) -> None:
        """Writes a `PIL.Image` or a matplotlib `Figure` as PNG, or bytes as they are."""
        buffer = io.BytesIO()
        if isinstance(image, bytes):
            buffer.write(image)
        elif hasattr(image, "savefig"):
            image.savefig(buffer, format="png", dpi=150)
        else:
            image.save(buffer, format="png", optimize=True)
        write_atomically(self.path / name, buffer.getvalue())

    def remove(self, name: str) -> None:
        """Removes a file or a folder, if it is there."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def lock(self) -> AbstractContextManager:
        """Lets one process at a time work in the folder; the others say so and wait for it."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        return waited_for(lock, f"waiting: another run is working in {self.path}")

    def waiting_lock(self, name: str) -> AbstractContextManager:
        """Lets one process at a time into a `with` block; the others wait for it."""
        self.path.mkdir(parents=True, exist_ok=True)
        return waited_for(FileLock(self.path / f".{name}.lock"))


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


def hash_arrays(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of named arrays: names, types, shapes and contents."""
    sha = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        sha.update(f"{key} {array.dtype.str} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def damaged(path: Path, reason: str) -> EnvironmentProblem:
    return EnvironmentProblem(f"{path} is damaged ({reason})")

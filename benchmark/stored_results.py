"""Reads what runs have stored, for reports: damaged files are reported and skipped."""

import csv
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from benchmark import console
from benchmark.errors import UserError
from benchmark.humans.answers import FOLDER as HUMANS
from benchmark.humans.answers import add_columns, check_sitting
from benchmark.outcomes import BEGUN, FAILURE, failure_of
from benchmark.results import MEASUREMENTS

FAULTS = (
    EOFError, KeyError, OSError, RecursionError, SyntaxError, TypeError, ValueError, yaml.YAMLError,
)  # fmt: skip
PARTS = ("benchmark.datasets.", "keras.optimizers.", "metrics.", "models.")
NEEDED_OF_A_ROW = ("dataset", "model", "status")
NEEDED_OF_A_HISTORY = ("step", "images_seen", "seconds")
_OF_RUNS = (("runs",), ("external",))

T = TypeVar("T")
damages: dict[Path, str] = {}  # what is wrong with each damaged file of the last reading


def read(path: Path, parse: Callable[[Path], T]) -> T | None:
    """The content of a file; `None` if it is missing, or damaged, which is reported.

    Args:
        path: The file.
        parse: Reads it; raises one of `FAULTS` if it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return parse(path)
    except FAULTS as error:
        if path not in damages:
            damages[path] = " ".join(str(error).split()) or type(error).__name__
            console.say(f"warning: {path} is damaged ({damages[path]}) and skipped", style="yellow")
        return None


def collect_rows(results_dir: str | Path) -> pd.DataFrame:
    """Reads all rows: of runs, of samples made elsewhere and of sanity checks.

    A run that diverged or failed has one row without figures. Damaged files are reported and listed
    in `damages`, which is cleared first. The columns are those of all rows, in the order in which
    they first appear, from the last row on; `path` leads to the row's files (see `StoredRow`).
    """
    root, rows = Path(results_dir), []
    damages.clear()
    for path in sorted(root.glob("runs/*/*/*/run.json")):
        state = read(path, _state)
        read(path.with_name("config.yaml"), _whole_lines)  # parsing it is slow
        for row in _rows_without_figures(path.parent, state or {}):
            rows.append({**row, "path": path.parent.relative_to(root).as_posix()})
    for folder in ("runs/*/*/*/samplers/*", "external/*/*/*", "sanity/*/*/*"):
        for path in sorted(root.glob(f"{folder}/{MEASUREMENTS}/*/metrics.json")):
            if measured := read(path, _measurement):
                row = measured["row"]
                rows.append({**row, "path": path.parent.relative_to(root).as_posix()})
    columns = dict.fromkeys(key for row in reversed(rows) for key in row)
    found = [read(path, _sitting) for path in sorted(root.glob(f"{HUMANS}/*.json"))]
    sittings = [sitting for sitting in found if sitting]
    return add_columns(pd.DataFrame(rows, columns=list(columns)), sittings)


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
        return read(self.path / "run.json", _state) or {}

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that it was trained with; or empty."""
        return read(self.path / "config.yaml", _config) or {}

    def trusted_config(self) -> dict[str, Any]:
        """The configuration, to build parts from.

        Raises:
            UserError: If it names code outside this program: a configuration may come from
                anywhere, and building it calls what it names.
        """
        config = self.config
        if foreign := sorted(foreign_parts(config)):
            raise UserError(
                f"{self.path / 'config.yaml'} names code outside this program, "
                f"{', '.join(foreign)}; it is not run"
            )
        return config

    @property
    def history(self) -> pd.DataFrame | None:
        """A line for each checkpoint: step, images_seen, losses; or `None`. Do not modify it."""
        return read(self.path / "history.csv", _history)

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
        images = read(path, _images) if path else None
        return np.array(images[:count]) if images is not None and len(images) else None

    @property
    def files(self) -> list[Path]:
        """Where the numbers of its run, its samples and its measurement are, if they are stored."""
        paths = []
        if self.run:
            paths += [self.run.path / name for name in ("run.json", "config.yaml", "history.csv")]
        if self.samples_path and self._path:
            paths += [self.samples_path / "samples.npy", self._path / "metrics.json"]
        return paths

    def details(self, metric: str) -> dict[str, Any]:
        """What a metric recorded beyond its numbers, by the name of its option in conf/metric."""
        stored = read(self._path / "metrics.json", _measurement) if self._path else None
        numbers = stored["numbers"] if stored else {}
        return numbers.get(metric, {}).get("details", {})

    @property
    def pictures(self) -> list[Path]:
        """The PNG and GIF files of its samples, by name; not those of the run."""
        if self.samples_path is None or (self.run and self.run.path == self.samples_path):
            return []
        return _pictures_in(self.samples_path)


def foreign_parts(node: Any) -> set[str]:
    """The dotted names of code outside this program that a configuration would call."""
    if isinstance(node, list):
        return {name for value in node for name in foreign_parts(value)}
    if not isinstance(node, dict):
        return set()
    named = node.get("_target_", "")
    if named == "hydra.utils.get_method":
        named = node.get("path", "")
    found = {name for value in node.values() for name in foreign_parts(value)}
    is_ours = not named or str(named).startswith(PARTS)
    return found if is_ours else {*found, str(named)}


def _pictures_in(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [file for file in files if file.suffix in (".png", ".gif") and read(file, _is_picture)]


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def _state(path: Path) -> dict[str, Any]:
    state = _json(path)
    rows = [state.get("row")] if state.get("status") == "diverged" else []
    for row in rows + [state[name] for name in (FAILURE, BEGUN) if state.get(name)]:
        _check_row(row)
    return state


def _rows_without_figures(folder: Path, state: dict[str, Any]) -> list[Any]:
    """The rows in a run's state: that it diverged, or why it failed."""
    diverged = state.get("row") if state.get("status") == "diverged" else None
    return [row for row in (diverged, failure_of(folder, state)) if row]


def _measurement(path: Path) -> dict[str, Any]:
    measured = _json(path)
    _check_row(measured.get("row"))
    numbers = measured.get("numbers")
    parts: list[Any] = list(numbers.values()) if isinstance(numbers, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError("it has no numbers")
    if not all(isinstance(part.get("details", {}), dict) for part in parts):
        raise ValueError("its details are not JSON objects")
    return measured


def _sitting(path: Path) -> dict[str, Any]:
    return check_sitting(_json(path))


def _check_row(row: Any) -> None:
    if not isinstance(row, dict):
        raise ValueError("it has no row")
    for name in NEEDED_OF_A_ROW:
        if not isinstance(row.get(name), str):
            raise ValueError(f"its row has no {name}")
    for name, value in row.items():
        if value is not None and not isinstance(value, str | int | float):
            raise ValueError(f"{name} of its row is neither a number nor a string")


def _config(path: Path) -> dict[str, Any]:
    # libyaml's loader is faster, but deep nesting crashes the program.
    content = yaml.safe_load(_whole_lines(path))
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError("it describes no model")
    return content


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        raise ValueError("its last line is incomplete")
    return content


def _history(path: Path) -> pd.DataFrame:
    status = path.stat()
    return _parsed_history(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)  # several figures and tables need each
def _parsed_history(path: Path, mtime_ns: int, size: int) -> pd.DataFrame:
    # four times as fast as pandas.read_csv
    names, *lines = csv.reader(_whole_lines(path).decode().splitlines())
    for name in NEEDED_OF_A_HISTORY:
        if name not in names:
            raise ValueError(f"it has no column {name}")
    if len(set(names)) < len(names):
        raise ValueError("it names a column twice")
    if any(len(line) != len(names) for line in lines):
        raise ValueError("a line has more or fewer numbers than there are columns")
    numbers = [[float(text or "nan") for text in line] for line in lines]
    return pd.DataFrame(np.array(numbers).reshape(len(lines), len(names)), columns=names)


def _images(path: Path) -> np.ndarray:
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(f"it holds {images.dtype} of shape {images.shape}")
    return images


def _is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        image.verify()
    return True

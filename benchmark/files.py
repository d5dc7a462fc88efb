"""Folders whose files appear whole or not at all: written beside their place, then moved."""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from benchmark import console
from benchmark.errors import EnvironmentProblem
from benchmark.machine import waited_for


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

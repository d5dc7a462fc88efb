"""Folders with atomic writes: files are written under a temporary name, then renamed."""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from benchmark import console
from benchmark.errors import EnvironmentProblem
from benchmark.machine import describe_process, waited_for

# Errors of a disk that is full, over its quota, read-only, broken or not accessible.
DISK_ERRORS = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)
HOLDER = ".holder"  # describes the process that holds a folder's lock
TEMPORARY = re.compile(r"\..+\.\d+")  # what `atomic_path` writes to

T = TypeVar("T")


@contextlib.contextmanager
def atomic_path(path: Path, num_bytes: int | None = None) -> Iterator[Path]:
    """Yields a temporary path, renamed to `path` at the end, so that `path` is never incomplete.

    Args:
        path: Where the file belongs.
        num_bytes: How large it will be, if that is known, for the message.

    Raises:
        EnvironmentProblem: If it cannot be written; an earlier file stays as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with reported_disk_errors(path, num_bytes):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            synchronize(temporary)
            os.replace(temporary, path)
            synchronize(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def synchronize(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def reported_disk_errors(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Turns a disk error into one line with the space needed and the space free.

    Raises:
        EnvironmentProblem: If the block raised one of `DISK_ERRORS`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        needed = "" if num_bytes is None else f"it needs {num_bytes:,} bytes, "
        raise EnvironmentProblem(
            f"{path} cannot be written ({error.strerror}): {needed}{free_bytes(path):,} are free"
        ) from error


def free_bytes(path: Path) -> int:
    """The free bytes of the disk that a file is on, or would be."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(existing).free


def reserve(path: Path) -> None:
    """Allocates disk space for all of a sparse file.

    Writing to a mapped page without disk space would kill the process.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is complete or absent, even if the process is killed."""
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def sweep(folder: Path, pattern: str = "**/.*", hours: float = 0.0) -> None:
    """Removes files that killed writers left in a folder and, by default, in its subfolders.

    Args:
        folder: The folder.
        pattern: Where to look.
        hours: Minimum age of a file; 0 only if nobody else writes to the folder.
    """
    for path in folder.glob(pattern):
        if TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # its writer has just finished
                if time.time() - path.stat().st_mtime >= 3600 * hours:
                    path.unlink()


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
        """The content of a JSON file, empty if there is none.

        Raises:
            EnvironmentProblem: If the file is damaged.
        """
        path = self.path / name
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise damaged(path, str(error)) from error
        if not isinstance(content, dict):
            raise damaged(path, "it is not a JSON object")
        return content

    def recall_json(self, name: str) -> dict[str, Any]:
        """Like `read_json`, for files that can be recreated: a damaged file counts as absent."""
        return self._recall(self.read_json, name) or {}

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
            check_stored_plainly(path)
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except Exception as error:
            raise damaged(path, str(error)) from error
        if str(arrays.pop("sha256", "")) != hash_arrays(arrays):
            raise damaged(path, "its checksum differs")
        return arrays

    def recall_arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """Like `read_arrays`, for files that can be recreated: a damaged file counts as absent."""
        return self._recall(self.read_arrays, name)

    def write_array(self, name: str, array: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, array)
        write_atomically(self.path / name, buffer.getvalue())

    def write_array_in_parts(
        self,
        name: str,
        parts: Iterable[np.ndarray],
        length: int,
        before: Callable[[str], None] = lambda sha256: None,
    ) -> None:
        """Writes the first `length` rows of consecutive parts, one part at a time.

        Args:
            name: Name of the file.
            parts: Arrays whose shapes may differ in the first axis only.
            length: Rows to write; the parts have at least as many in total.
            before: Called with the file's SHA-256 before the file appears under its name.
        """
        with atomic_path(self.path / name) as path:
            array, start = None, 0
            for part in parts:
                if array is None:
                    shape = (length, *part.shape[1:])
                    with reported_disk_errors(self.path / name, length * part[0].nbytes):
                        array = np.lib.format.open_memmap(path, "w+", part.dtype, shape)
                        reserve(path)
                rows = array[start : start + len(part)]
                rows[:] = part[: len(rows)]
                start += len(part)
            if array is not None:
                array.flush()
            before(hash_file(path))

    def read_array(self, name: str) -> np.ndarray:
        """The array of an npy file, as a memory map."""
        return np.load(self.path / name, mmap_mode="r", allow_pickle=False)

    def recall_array(self, name: str, sha256: str | None = None) -> np.ndarray | None:
        """Like `read_array`, for files that can be recreated: `None` if absent or damaged.

        Args:
            name: Name of the file.
            sha256: Its expected SHA-256; `None` if unknown.
        """

        def read(name: str) -> np.ndarray | None:
            path = self.path / name
            if not path.exists():
                return None
            if sha256 not in (None, hash_file(path)):
                raise damaged(path, "its checksum differs")
            try:
                return self.read_array(name)
            except (OSError, ValueError, EOFError) as error:
                raise damaged(path, str(error)) from error

        return self._recall(read, name)

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

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lets one process at a time work in the folder; others say who holds it and wait.

        Partial files of earlier processes are removed.
        """
        with self._waited_for(".lock", self._describe_holder):
            sweep(self.path)
            self.write_text(HOLDER, describe_process())
            try:
                yield
            finally:
                self.remove(HOLDER)

    def waiting_lock(self, name: str) -> AbstractContextManager:
        """Lets one process at a time into a `with` block; the others wait for it."""
        return self._waited_for(f".{name}.lock")

    def _recall(self, read: Callable[[str], T], name: str) -> T | None:
        try:
            return read(name)
        except EnvironmentProblem as problem:
            console.say(f"warning: {problem}; it will be recreated", style="yellow")
            return None

    def _describe_holder(self) -> str:
        try:
            holder = (self.path / HOLDER).read_text(errors="replace").strip()
        except OSError:
            holder = "another process"
        return f"waiting: {self.path} is in use by {holder}"

    @contextlib.contextmanager
    def _waited_for(self, name: str, message: Callable[[], str] | None = None) -> Iterator[None]:
        path = self.path / name
        with reported_disk_errors(path):
            self.path.mkdir(parents=True, exist_ok=True)
            path.touch()
        with waited_for(FileLock(path), message):
            yield


def is_held(path: Path) -> bool:
    """Whether a process holds a folder's lock, as far as this process can see."""
    lock = path / ".lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # no permission to look
        return False


def check_stored_plainly(path: Path) -> None:
    """Rejects an archive that unpacks to far more than its size and could fill the memory.

    Raises:
        ValueError: If it is compressed, or its entries overlap.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its entries are larger than the file")


def hash_arrays(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of named arrays: names, types, shapes and contents."""
    sha = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        sha.update(f"{key} {array.dtype.str} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(path: Path, reason: str) -> EnvironmentProblem:
    return EnvironmentProblem(f"{path} is damaged ({reason})")

"""Decoded datasets on disk: checksummed `.npy` files, opened as memory maps."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from filelock import FileLock

from benchmark.datasets.base import ARRAY_NAMES, ImageDataset, check_name
from benchmark.errors import EnvironmentProblem
from benchmark.files import reserve
from benchmark.machine import paused

FORMAT = 1
MANIFEST = "manifest.json"

Allocate: TypeAlias = Callable[[str, tuple[int, ...]], np.ndarray]
Decode: TypeAlias = Callable[[Allocate], tuple[str, ...]]

logger = logging.getLogger(__name__)


def load_cached(
    *,
    name: str,
    source: Any,
    preprocessing: dict[str, Any],
    cache_dir: str | os.PathLike,
    decode: Decode,
) -> ImageDataset:
    """Returns a dataset from the cache, decoding it first if it is not there.

    A cache entry is a folder of four `.npy` files and a manifest with their checksums. It appears
    under its name only when it is complete. A file whose size or modification time differs from
    the recorded one is hashed again; if its contents differ, the entry is decoded again.

    Args:
        name: Name of the dataset.
        source: Identifies what is decoded, as JSON values that change when the source changes.
        preprocessing: How it is decoded, as JSON values; part of the fingerprint.
        cache_dir: Folder of all caches; entries lie in its `datasets` subfolder.
        decode: Called as `class_names = decode(allocate)`; fills the arrays that
            `allocate(array_name, shape)` returns, for each of the four arrays of an
            `ImageDataset`. The arrays lie on disk, so a dataset need not fit into memory.

    Returns:
        An `ImageDataset` whose images are read-only memory maps.

    Raises:
        EnvironmentProblem: If the cache cannot be written.
    """
    check_name(name)
    key = _sha256_of_json([FORMAT, source, preprocessing])[:16]
    folder = Path(cache_dir).expanduser() / "datasets" / f"{name}-{key}"
    dataset = _read(folder, name)
    if dataset is None:
        with _reported_disk_errors(cache_dir):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{folder}.lock")
            with paused():
                lock.acquire()
        try:
            dataset = _read(folder, name) or _write(folder, name, preprocessing, decode)
        finally:
            lock.release()
    return dataset


def _read(folder: Path, name: str) -> ImageDataset | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {
            key: _read_array(folder, key, manifest["arrays"][key]) for key in ARRAY_NAMES
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("The dataset cache %s is damaged (%s): decoding again.", folder, error)
        return None
    class_names = tuple(manifest["class_names"])
    return ImageDataset(
        name=name,
        num_classes=len(class_names) or None,
        fingerprint=manifest["fingerprint"],
        class_names=class_names,
        **arrays,
    )


def _read_array(folder: Path, array_name: str, recorded: dict[str, Any]) -> np.ndarray:
    path = folder / f"{array_name}.npy"
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if _stamp(path) != [recorded["size"], recorded["mtime_ns"]]:
        if _sha256_of_array(array) != recorded["sha256"]:
            raise ValueError(f"{path.name} does not have its recorded SHA-256")
        with suppress(OSError):  # A copied cache: the next load need not hash again.
            os.utime(path, ns=(recorded["mtime_ns"], recorded["mtime_ns"]))
    return array if array_name.endswith("images") else np.array(array)


def _write(folder: Path, name: str, preprocessing: dict[str, Any], decode: Decode) -> ImageDataset:
    with _reported_disk_errors(folder.parent):
        shutil.rmtree(folder, ignore_errors=True)
        for left in folder.parent.glob(f".{folder.name}-*"):  # left by a killed decoder
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        class_names = _decode_into(temporary, decode)
        with _reported_disk_errors(folder.parent):
            _write_manifest(temporary, class_names, preprocessing)
            temporary.chmod(0o755)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    dataset = _read(folder, name)
    if dataset is None:
        raise EnvironmentProblem(
            f"The dataset cache {folder} cannot be read back: is the disk full?"
        )
    return dataset


def _decode_into(folder: Path, decode: Decode) -> tuple[str, ...]:
    arrays: list[np.memmap] = []

    def allocate(array_name: str, shape: tuple[int, ...]) -> np.ndarray:
        dtype = np.uint8 if array_name.endswith("images") else np.int64
        path = folder / f"{array_name}.npy"
        with _reported_disk_errors(folder.parent):
            array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            reserve(path)
        arrays.append(array)
        return array

    class_names = decode(allocate)
    for array in arrays:
        array.flush()
    return class_names


def _write_manifest(
    folder: Path, class_names: tuple[str, ...], preprocessing: dict[str, Any]
) -> None:
    recorded = {}
    for array_name in ARRAY_NAMES:
        path = folder / f"{array_name}.npy"
        size, mtime_ns = _stamp(path)
        sha256 = _sha256_of_array(np.load(path, mmap_mode="r", allow_pickle=False))
        recorded[array_name] = {"sha256": sha256, "size": size, "mtime_ns": mtime_ns}
    checksums = {key: value["sha256"] for key, value in recorded.items()}
    manifest = {
        "fingerprint": _sha256_of_json([preprocessing, checksums]),
        "preprocessing": preprocessing,
        "class_names": class_names,
        "arrays": recorded,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256_of_array(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def _reported_disk_errors(cache_dir: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write the dataset cache in {cache_dir} ({error.strerror or error}). "
            "Choose another folder with cache_dir=<folder>."
        ) from error

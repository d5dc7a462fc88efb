"""The IDX format of the MNIST family: four files in a folder, plain or compressed with gzip."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from benchmark.datasets.base import ImageDataset
from benchmark.datasets.cache import Allocate, load_cached
from benchmark.datasets.resize import DESCRIPTION, check_image_size, resize_images
from benchmark.errors import UserError

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
UNSIGNED_BYTE = 0x08
DEFLATE_RATIO = 1032  # The highest compression ratio of gzip.


def load_idx_folder(
    *,
    name: str,
    folder: str | Path,
    checksums: dict[str, str] | None,
    class_names: tuple[str, ...] | None,
    image_size: int,
    cache_dir: str | Path,
) -> ImageDataset:
    """Reads a dataset from the four IDX files of a folder.

    Args:
        name: Name of the dataset.
        folder: Where the files lie, each under its usual name, with or without `.gz`.
        checksums: SHA-256 of the decompressed files by array name, or `None` for any contents.
        class_names: One name per class, or `None` to number the classes that occur.
        image_size: Side of the images in pixels.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset`.

    Raises:
        UserError: If a file is missing, damaged or not the expected one.
    """
    check_image_size(image_size)
    paths = {array_name: _find(Path(folder), stem) for array_name, stem in IDX_FILES.items()}

    def decode(allocate: Allocate) -> tuple[str, ...]:
        highest_label = 0
        for split in ("train", "test"):
            images, labels = (
                _read_checked(paths[key], checksums[key] if checksums else None, name)
                for key in (f"{split}_images", f"{split}_labels")
            )
            _check_pair(images, labels, paths[f"{split}_images"])
            images = resize_images(images.reshape(*images.shape[:3], -1), image_size)
            allocate(f"{split}_images", images.shape)[:] = images
            allocate(f"{split}_labels", labels.shape)[:] = labels
            highest_label = max(highest_label, int(labels.max()))
        return class_names or tuple(str(label) for label in range(highest_label + 1))

    return load_cached(
        name=name,
        source={key: _sha256_of_file(path) for key, path in paths.items()},
        preprocessing={"image_size": image_size, "resize": DESCRIPTION},
        cache_dir=cache_dir,
        decode=decode,
    )


def read_idx(path: str | Path) -> np.ndarray:
    """Reads one IDX file of unsigned bytes.

    Reads no further than the header's sizes allow, so a small file cannot unpack into a huge one.

    Args:
        path: An IDX file, compressed with gzip if the name ends in `.gz`.

    Returns:
        uint8 array of the shape in the header.

    Raises:
        UserError: If the file is missing, damaged, or not an IDX file of bytes.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            shape = _read_shape(file)
            if math.prod(shape) > DEFLATE_RATIO * path.stat().st_size:
                raise ValueError(f"it is too small for what its header states, {shape}")
            return _read_body(file, shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(
            f"Cannot read {path} as an IDX file: {error}. Fetch the file again."
        ) from error


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read_shape(file: IO[bytes]) -> tuple[int, ...]:
    zero, kind, num_dimensions = struct.unpack(">HBB", _read_exactly(file, 4))
    if zero != 0 or kind != UNSIGNED_BYTE or not 1 <= num_dimensions <= 4:
        raise ValueError(
            "expected the magic number 00 00 08 and 1 to 4 dimensions, "
            f"received {zero:04x} {kind:02x} and {num_dimensions} dimensions"
        )
    return struct.unpack(f">{num_dimensions}I", _read_exactly(file, 4 * num_dimensions))


def _read_body(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    body = _read_exactly(file, math.prod(shape))
    if file.read(1):
        raise ValueError(f"it holds more than its header states, {shape}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_exactly(file: IO[bytes], num_bytes: int) -> bytes:
    received = file.read(num_bytes)
    if len(received) != num_bytes:
        raise ValueError(f"it is truncated: expected {num_bytes} bytes, received {len(received)}")
    return received


def _read_checked(path: Path, sha256: str | None, name: str) -> np.ndarray:
    array = read_idx(path)
    if sha256 is not None and _sha256_of_idx(array) != sha256:
        raise UserError(
            f"{path} is not the {name} file of that name (its SHA-256 differs). Fetch it again, "
            "or give another dataset its own name with dataset.name=<name>."
        )
    return array


def _sha256_of_idx(array: np.ndarray) -> str:
    header = struct.pack(f">HBB{array.ndim}I", 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    digest = hashlib.sha256(header)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_pair(images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    if images.ndim not in (3, 4) or images.shape[:1] != labels.shape or not images.size:
        raise UserError(
            f"{path} and its labels do not match: expected shapes (N, height, width) and (N,). "
            f"Received: {images.shape} and {labels.shape}."
        )


def _find(folder: Path, stem: str) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Check dataset.source=<folder of IDX files>.")
    for name in (stem, stem.replace("-idx", ".idx")):  # Both spellings are in circulation.
        for suffix in ("", ".gz"):
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    raise UserError(
        f"There is no {stem} or {stem}.gz in {folder}. dataset.source needs a folder that holds "
        f"{', '.join(IDX_FILES.values())}."
    )


def _sha256_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error

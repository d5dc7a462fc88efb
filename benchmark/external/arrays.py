"""Samples in NumPy files: one array of uint8, or an error that says how to get one."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.errors import EnvironmentProblem, UserError
from metrics.host import physical_bytes

ARRAY_NAMES = ("samples", "images", "arr_0")
HOW_TO_SAVE = "np.savez('samples.npz', samples=x)"
_FIRST_BYTES = {".npy": b"\x93NUMPY", ".npz": b"PK"}


def read_array(path: Path) -> tuple[np.ndarray, str]:
    """Reads the samples of a `.npy` or `.npz` file; rejects files that could run code.

    Args:
        path: A file with one of these suffixes. If an npz has several arrays, the one named
            `samples`, `images` or `arr_0` is used.

    Returns:
        The uint8 array, of any shape, and how it was stored.

    Raises:
        UserError: If the file is damaged, holds no uint8 array, or leaves a choice of arrays.
        EnvironmentProblem: If the file cannot be opened or is larger than memory.
    """
    with _told_in_one_line(path):
        _check_first_bytes(path)
        if path.suffix.lower() == ".npy":
            array, stored = np.load(path, allow_pickle=False), path.name
        else:
            check_unpacked(path, physical_bytes())
            with np.load(path, allow_pickle=False) as arrays:
                name = _choose_array(arrays.files, path)
                array, stored = np.asarray(arrays[name]), f"{path.name}, array `{name}`"
    check_pixels(array, str(path))
    return array, stored


def check_unpacked(path: Path, available: int | None) -> None:
    """Rejects an archive whose stated unpacked size exceeds the memory.

    Args:
        path: An npz file.
        available: Bytes of memory; `None` if unknown.

    Raises:
        EnvironmentProblem: If it is larger.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if available is not None and unpacked > available:
        raise EnvironmentProblem(
            f"{path} unpacks to {unpacked:,} bytes, more than this machine's memory of "
            f"{available:,}; give fewer samples"
        )


def _check_first_bytes(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(6)
    if not start.startswith(_FIRST_BYTES[path.suffix.lower()]):
        raise UserError(
            f"{path} is not a {path.suffix} file, despite its name; write it with {HOW_TO_SAVE}"
        )


def _choose_array(names: list[str], path: Path) -> str:
    if len(names) == 1:
        return names[0]
    usual = [name for name in names if name in ARRAY_NAMES]
    if len(usual) == 1:
        return usual[0]
    raise UserError(
        f"{path} must hold one array, or exactly one named {' or '.join(ARRAY_NAMES)}. "
        f"Received: {', '.join(names) or 'none'}. Save the samples alone: {HOW_TO_SAVE}"
    )


@contextlib.contextmanager
def _told_in_one_line(path: Path) -> Iterator[None]:
    """Turns what NumPy raises for unreadable files into one line that names the file."""
    try:
        yield
    except (UserError, EnvironmentProblem):
        raise
    except MemoryError:
        raise EnvironmentProblem(f"{path} does not fit into memory; give fewer samples") from None
    except PermissionError as error:
        raise EnvironmentProblem(f"{path} cannot be read ({error.strerror})") from None
    except Exception as error:  # many kinds, from zipfile, zlib and NumPy's header parser
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path} holds Python objects, which may run code when they are read. "
                f"Save one plain uint8 array: {HOW_TO_SAVE}"
            ) from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or incomplete ({reason}); write it again") from None


def check_pixels(array: np.ndarray, source: str) -> None:
    """Rejects anything but uint8, as no scale is guessed; the error names the likely conversion.

    Args:
        array: The samples, of any type and shape.
        source: Where they come from, for the message.

    Raises:
        UserError: If `array` is not uint8, or empty.
    """
    if not array.size or not array.ndim:
        raise UserError(f"{source} must hold images. Received: none, an array of {array.shape}")
    if array.dtype == np.uint8:
        return
    expected = f"{source}: pixels must be uint8, 0 to 255. Received: {array.dtype}"
    if array.dtype == bool:
        raise UserError(f"{expected}. Convert: x = x.astype('uint8') * 255")
    if array.dtype.kind not in "iuf":
        raise UserError(f"{expected}, which is not a type of pixels")
    finite = np.isfinite(array)
    if not finite.any():
        raise UserError(f"{expected}, all NaN or infinite")
    low, high = float(array[finite].min()), float(array[finite].max())
    raise UserError(
        f"{expected} from {low:.4g} to {high:.4g}{_not_finite(finite)}. "
        f"{_conversion(array.dtype.kind, low, high)}"
    )


def _not_finite(finite: np.ndarray) -> str:
    if finite.all():
        return ""
    count = int((~finite.reshape(len(finite), -1)).any(axis=1).sum())
    return f", and NaN or infinite in {count:,} of {len(finite):,} images, which must be fixed"


def _conversion(kind: str, low: float, high: float) -> str:
    """The NumPy line that converts the scale that the values seem to have, if there is one."""
    rounded = "np.clip(np.rint({}), 0, 255).astype('uint8')"
    if kind == "f":
        known = [
            ("[-1, 1]", -1.1 <= low < -0.1 and high <= 1.1, rounded.format("(x + 1) * 127.5")),
            ("[0, 1]", -0.1 <= low and high <= 1.1, rounded.format("x * 255")),
            ("[0, 255]", -10 <= low and high <= 265, rounded.format("x")),
        ]
    else:
        known = [
            ("[0, 1]", 0 <= low and high <= 1, "x.astype('uint8') * 255"),
            ("[0, 255]", 0 <= low and high <= 255, "x.astype('uint8')"),
        ]
    for scale, fits, pixels in known:
        if fits:
            return f"If their scale is {scale}, convert: x = {pixels}"
    return "This is not a usual scale: convert the pixels to 0..255, like those of the dataset"

"""Samples in a folder of image files."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import console
from benchmark.datasets.picture_files import (
    SUFFIXES,
    UnusablePicture,
    is_picture,
    name_kinds,
    natural_order,
    open_picture,
)
from benchmark.errors import EnvironmentProblem, UserError

_NOT_PLAIN = {
    "1": "is black and white without greys",
    "P": "uses a colour palette",
    "PA": "uses a colour palette",
    "LA": "has an alpha channel",
    "RGBA": "has an alpha channel",
    "CMYK": "is in print colours",
}
_SAVE_PLAIN = "save it as 8-bit grey, image.convert('L'), or colour, image.convert('RGB')"


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a folder's files, in natural order of their names.

    Attributes:
        images: uint8 `(N, height, width, 1 or 3)`.
        stored: Their formats and counts.
        first_colored: Name of the first file whose channels differ; `None` if all are grey.
        remarks: What was skipped.
        warnings: What changes the scores.
    """

    images: np.ndarray
    stored: str
    first_colored: str | None
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Picture:
    pixels: np.ndarray
    format: str
    is_lossy: bool


def read_folder(folder: Path) -> Pictures:
    """Reads the images that lie directly in a folder; hidden files are skipped.

    Args:
        folder: The folder.

    Returns:
        The `Pictures`.

    Raises:
        UserError: If there are none, or one is damaged, not plain 8-bit, or unlike the rest.
        EnvironmentProblem: If the folder or a file may not be read.
    """
    files, remarks = _find(folder)
    pictures = []
    with console.progress("image", len(files)) as update:
        for file in files:
            pictures.append(_read(file))
            update(len(pictures))
    _check_alike(files, pictures)
    pairs = zip(files, pictures, strict=True)
    counts = Counter(picture.format for picture in pictures).items()
    return Pictures(
        images=np.stack([picture.pixels for picture in pictures]),
        stored=", ".join([f"{folder.resolve().name}/", *(f"{n:,} {kind}" for kind, n in counts)]),
        first_colored=next((file.name for file, picture in pairs if _is_colored(picture)), None),
        remarks=remarks,
        warnings=_tell_losses(pictures),
    )


def _find(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The image files in natural order (2 before 10), and what else there is."""
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise EnvironmentProblem(f"{folder} cannot be read ({error.strerror})") from None
    files = [path for path in entries if is_picture(path) and path.is_file()]
    others = name_kinds(sorted(set(entries) - set(files)))
    if not files:
        raise UserError(
            f"{folder} must hold images ({', '.join(SUFFIXES)}) directly, not in folders below it. "
            f"Found: {others or 'nothing'}"
        )
    return sorted(files, key=natural_order), (f"skipped: {others}",) if others else ()


def _read(file: Path) -> _Picture:
    try:
        with open_picture(file) as image:
            _check_plain(image)
            pixels = np.asarray(image)
            kind, is_lossy = str(image.format), _is_lossy(image, file)
    except UnusablePicture as problem:
        raise UserError(f"{file} {problem}") from None
    except PermissionError as error:
        raise EnvironmentProblem(f"{file} cannot be read ({error.strerror})") from None
    return _Picture(pixels.reshape(*pixels.shape[:2], -1), kind, is_lossy)


def _check_plain(image: Any) -> None:
    """Rejects images that would need conversion, as there is more than one way to convert."""
    if image.mode not in ("L", "RGB"):
        kind = _NOT_PLAIN.get(image.mode, f"has Pillow's mode {image.mode}")
        raise UnusablePicture(f"{kind}; {_SAVE_PLAIN}")
    if "transparency" in image.info:
        raise UnusablePicture(f"has a transparent colour; {_SAVE_PLAIN}")


def _is_lossy(image: Any, file: Path) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in file.read_bytes()  # the chunk for lossless pixels
    return image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg"


def _check_alike(files: list[Path], pictures: list[_Picture]) -> None:
    shapes = [picture.pixels.shape for picture in pictures]
    usual, count = Counter(shapes).most_common(1)[0]
    for file, shape in zip(files, shapes, strict=True):
        if shape != usual:
            raise UserError(
                f"{file} is {_describe(shape)}, but {count:,} of the {len(files):,} images are "
                f"{_describe(usual)}; remove it, or convert all to one kind"
            )


def _describe(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"


def _is_colored(picture: _Picture) -> bool:
    return bool((picture.pixels != picture.pixels[..., :1]).any())


def _tell_losses(pictures: list[_Picture]) -> tuple[str, ...]:
    lossy = Counter(picture.format for picture in pictures if picture.is_lossy)
    return tuple(
        f"{count:,} images are {kind}, whose compression changes the scores"
        for kind, count in lossy.items()
    )

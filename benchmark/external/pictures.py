"""Samples in a folder of image files."""

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import console
from benchmark.errors import EnvironmentProblem, UserError

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".ppm", ".pgm")
_NOT_PLAIN = {
    "1": "is black and white without greys",
    "P": "is coloured by a palette",
    "PA": "is coloured by a palette",
    "LA": "has an alpha channel",
    "RGBA": "has an alpha channel",
    "CMYK": "is in colours for print",
}
_SAVE_PLAIN = "save it as 8-bit grey, image.convert('L'), or colour, image.convert('RGB')"


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a folder's files, in natural order of their names.

    Attributes:
        images: uint8 `(N, height, width, 1 or 3)`.
        stored: Their formats and counts.
        first_colored: Name of the first file whose channels differ; `None` if all are grey.
        remarks: What was passed over.
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
    """Reads the images that lie directly in a folder; hidden files are passed over.

    Args:
        folder: The folder.

    Returns:
        The `Pictures`.

    Raises:
        UserError: If there are none, one is damaged or not plain 8-bit, or one is unlike the rest.
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
    files = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    others = _name_kinds(sorted(set(entries) - set(files)))
    if not files:
        raise UserError(
            f"{folder} must hold images ({', '.join(SUFFIXES)}) directly, not in folders below it. "
            f"Found: {others or 'nothing'}"
        )
    return sorted(files, key=_natural), (f"passed over: {others}",) if others else ()


def _natural(path: Path) -> list[Any]:
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _name_kinds(paths: list[Path]) -> str:
    """What is there besides images: `folders: a, b; files: 3 .txt`."""
    folders = [path.name for path in paths if path.is_dir()]
    kinds = Counter(path.suffix.lower() for path in paths if not path.is_dir())
    files = [f"{count:,} {kind or 'without suffix'}" for kind, count in sorted(kinds.items())]
    shown = ", ".join([*folders[:3], *(["..."] if len(folders) > 3 else [])])
    return "; ".join(
        ([f"folders: {shown}"] if folders else [])
        + ([f"files: {', '.join(files)}"] if files else [])
    )


def _read(file: Path) -> _Picture:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow's limit on the size of an image only warns, up to twice that size.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                _check_plain(image, file)
                pixels = np.asarray(image)
                kind, is_lossy = str(image.format), _is_lossy(image, file)
    except UserError:
        raise
    except PermissionError as error:
        raise EnvironmentProblem(f"{file} cannot be read ({error.strerror})") from None
    except Exception as error:  # many kinds, as each format has its own
        reason = " ".join(str(error).replace(str(file), "it").split()) or type(error).__name__
        raise UserError(f"{file} is no image that can be read ({reason}); make it again") from None
    return _Picture(pixels.reshape(*pixels.shape[:2], -1), kind, is_lossy)


def _check_plain(image: Any, file: Path) -> None:
    """Refuses what Pillow would bring to 8 bits, or to a single page, without a word."""
    if getattr(image, "n_frames", 1) > 1:
        raise UserError(f"{file} holds {image.n_frames} images; save each as a file of its own")
    if image.mode.startswith(("I", "F")) or _has_wide_channels(image):
        raise UserError(
            f"{file} has more than 8 bits a channel; bring its values to 0..255 and save them as "
            "uint8"
        )
    if image.mode not in ("L", "RGB"):
        kind = _NOT_PLAIN.get(image.mode, f"has Pillow's mode {image.mode}")
        raise UserError(f"{file} {kind}; {_SAVE_PLAIN}")
    if "transparency" in image.info:
        raise UserError(f"{file} has a transparent colour; {_SAVE_PLAIN}")


def _has_wide_channels(image: Any) -> bool:
    """Whether colours of 16 bits would be cut to 8, which the mode RGB does not tell."""
    layouts = [tile[-1] for tile in image.tile]
    if image.format == "PPM":
        return any(isinstance(layout, tuple) and layout[-1] > 255 for layout in layouts)
    return any(";16" in str(layout) for layout in layouts)


def _is_lossy(image: Any, file: Path) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in file.read_bytes()  # the name of the chunk of lossless pixels
    return image.format == "JPEG" or image.info.get("compression") == "jpeg"


def _check_alike(files: list[Path], pictures: list[_Picture]) -> None:
    shapes = [picture.pixels.shape for picture in pictures]
    usual, count = Counter(shapes).most_common(1)[0]
    for file, shape in zip(files, shapes, strict=True):
        if shape != usual:
            raise UserError(
                f"{file} is {_describe(shape)}, but {count:,} of the {len(files):,} images are "
                f"{_describe(usual)}; remove it, or make all alike"
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

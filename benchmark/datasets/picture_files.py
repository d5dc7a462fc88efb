"""Image files from anywhere: sorted in natural order, opened, and rejected with a reason."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".ppm", ".pgm")


class UnusablePicture(Exception):
    """What is wrong with a picture, phrased to follow its name: `has more than 8 bits`."""


def is_picture(path: Path) -> bool:
    """Whether a file's suffix is that of a picture."""
    return path.suffix.lower() in SUFFIXES


def natural_order(path: Path) -> list[Any]:
    """A key that sorts names as people do: 2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def name_kinds(paths: list[Path]) -> str:
    """What there is besides images: `folders: a, b; files: 3 .txt`."""
    folders = [path.name for path in paths if path.is_dir()]
    kinds = Counter(path.suffix.lower() for path in paths if not path.is_dir())
    files = [f"{count:,} {kind or 'without suffix'}" for kind, count in sorted(kinds.items())]
    shown = ", ".join([*folders[:3], *(["..."] if len(folders) > 3 else [])])
    return "; ".join(
        ([f"folders: {shown}"] if folders else [])
        + ([f"files: {', '.join(files)}"] if files else [])
    )


@contextmanager
def open_picture(file: Path) -> Iterator[Any]:
    """Opens a file as a `PIL.Image.Image`, without decoding it yet.

    Args:
        file: An image file.

    Yields:
        The image. Errors while it is decoded are reported in the same way.

    Raises:
        UnusablePicture: If it is damaged, or Pillow would silently reduce it to 8 bits or to its
            first page.
        PermissionError: If it may not be read.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Up to twice its limit on the size of an image, Pillow only warns.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                _check_whole(image)
                yield image
    except (UnusablePicture, PermissionError):
        raise
    except Exception as error:  # many kinds, as each format has its own
        reason = " ".join(str(error).replace(str(file), "it").split()) or type(error).__name__
        raise UnusablePicture(f"cannot be read as an image ({reason})") from None


def _check_whole(image: Any) -> None:
    # Beside the photograph, a phone's JPEG of format MPO holds variants of it.
    num_images = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if num_images > 1:
        raise UnusablePicture(f"holds {num_images} images; save each as a separate file")
    if image.mode.startswith(("I", "F")) or _has_wide_channels(image):
        raise UnusablePicture(
            "has more than 8 bits per channel; scale its values to 0..255 and save them as uint8"
        )


def _has_wide_channels(image: Any) -> bool:
    """Whether colours of 16 bits would be cut to 8, which the mode RGB does not show."""
    layouts = [tile[-1] for tile in image.tile]
    if image.format == "PPM":
        return any(isinstance(layout, tuple) and layout[-1] > 255 for layout in layouts)
    return any(";16" in str(layout) for layout in layouts)

"""A folder of pictures of any sizes; its sub-folders, if there are any, are the classes."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import console
from benchmark.datasets.base import ImageDataset, check_flip, flip_in_training
from benchmark.datasets.cache import Allocate, load_cached
from benchmark.datasets.picture_files import UnusablePicture, open_picture
from benchmark.datasets.picture_folder import PictureFolder, find_pictures
from benchmark.datasets.resize import (
    DESCRIPTION,
    check_crop_size,
    check_image_size,
    resize_images,
)
from benchmark.errors import UserError

HOLD_OUT_EVERY = 10
MOST_LISTED = 10


def load_image_folder(
    *,
    name: str | None,
    source: str | Path | None,
    channels: int | None,
    num_crops: int | None,
    crop_size: int | None,
    crop_seed: int,
    image_size: int,
    horizontal_flip: bool,
    cache_dir: str | Path,
) -> ImageDataset:
    """Loads the pictures of a folder: PNG, JPEG, BMP, TIFF, WebP or PPM, grey or RGB.

    The pictures lie directly in the folder, or directly in its sub-folders, which are then the
    classes (a single sub-folder is not a class). Every tenth picture is held out for testing; with
    fewer than ten pictures, all are used for both training and testing. EXIF rotation is applied.
    Transparent areas are drawn on white.

    Args:
        name: Name of the dataset; `None` for the name of the folder or of the single picture.
        source: The folder, or the file of a single picture.
        channels: 1 for grey, 3 for RGB, `None` for 1 if all pictures are grey and else 3.
        num_crops: How many squares to cut from random places of each picture, once for all epochs;
            `None` takes the central square of each.
        crop_size: Side of the squares in pixels; `None` for the largest, only without `num_crops`.
        crop_seed: Seed of the random places, independent of the run's seed.
        image_size: Side in pixels to which the squares are scaled.
        horizontal_flip: Whether training mirrors half of the images, drawn afresh each time.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset` of `(image_size, image_size, channels)` images.

    Raises:
        UserError: If there are no pictures or some cannot be used; the message lists them.
        EnvironmentProblem: If the cache cannot be written.
    """
    check_flip(horizontal_flip)
    recipe = _Recipe(channels, num_crops, crop_size, crop_seed, image_size)
    folder = find_pictures(source)

    def decode(allocate: Allocate) -> tuple[str, ...]:
        num_channels = _check_pictures(folder, recipe)
        for split, indices in _splits(len(folder.files)).items():
            _fill_split(folder, recipe, num_channels, split, indices, allocate)
        return folder.class_names

    dataset = load_cached(
        name=_valid_name(folder.name) if name is None else name,
        source=folder.stamps,
        preprocessing={
            **asdict(recipe),
            "resize": DESCRIPTION,
            "transparency": "on white",
            "hold_out_every": HOLD_OUT_EVERY,
        },
        cache_dir=cache_dir,
        decode=decode,
    )
    return flip_in_training(dataset) if horizontal_flip else dataset


@dataclass(frozen=True)
class _Recipe:
    """How pictures are processed; see `load_image_folder`."""

    channels: int | None
    num_crops: int | None
    crop_size: int | None
    crop_seed: int
    image_size: int

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise UserError(f"`dataset.channels` must be 1, 3 or null. Received: {self.channels}.")
        if self.image_size is None:
            raise UserError("pictures may have any size: set dataset.image_size=<pixels>.")
        check_image_size(self.image_size)
        check_crop_size(self.crop_size)
        if self.num_crops is not None and (type(self.num_crops) is not int or self.num_crops < 1):
            raise UserError(f"`dataset.num_crops` must be 1 or more. Received: {self.num_crops!r}.")
        if self.num_crops is not None and self.crop_size is None:
            raise UserError(
                f"dataset.num_crops={self.num_crops} random squares need a side: set "
                "dataset.crop_size=<pixels>."
            )


def _valid_name(name: str) -> str:
    """A name of letters, digits, `_`, `-` and `.` alone."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    return re.sub(r"^[^A-Za-z0-9]+", "", name).rstrip("-") or "image_folder"


def _splits(num_pictures: int) -> dict[str, np.ndarray]:
    """The indices of the pictures for training and for testing."""
    indices = np.arange(num_pictures)
    if num_pictures < HOLD_OUT_EVERY:
        return {"train": indices, "test": indices}
    # Not the last tenth, which would be of one class.
    is_tenth = indices % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1
    return {"train": indices[~is_tenth], "test": indices[is_tenth]}


def _check_pictures(folder: PictureFolder, recipe: _Recipe) -> int:
    """Reads all pictures, lists what is wrong, and returns how many channels they have."""
    problems, colored, transparent = [], 0, 0
    with console.progress("picture checked", len(folder.files)) as update:
        for count, file in enumerate(folder.files, start=1):
            try:
                picture = _read(file)
                _check_size(picture.pixels, recipe.crop_size)
                colored += picture.is_colored
                transparent += picture.is_transparent
            except UnusablePicture as problem:
                problems.append(f"{file.relative_to(folder.path)} {problem}")
            update(count)
    if problems:
        raise UserError(_list_problems(folder, problems))
    if transparent:
        console.say(f"{transparent:,} pictures are partly transparent: drawn on white")
    return recipe.channels or (3 if colored else 1)


def _list_problems(folder: PictureFolder, problems: list[str]) -> str:
    num_more = len(problems) - MOST_LISTED
    listed = "; ".join(problems[:MOST_LISTED]) + (f"; and {num_more:,} more" * (num_more > 0))
    return (
        f"{len(problems):,} of the {len(folder.files):,} pictures in {folder.path} cannot be used: "
        f"{listed}. Fix or remove them."
    )


def _check_size(pixels: np.ndarray, crop_size: int | None) -> None:
    height, width = pixels.shape[:2]
    if crop_size is not None and crop_size > min(height, width):
        raise UnusablePicture(f"is {width}x{height}, smaller than dataset.crop_size={crop_size}")


@dataclass(frozen=True, eq=False)
class _Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 `(height, width, 3)`.
        is_colored: Whether its channels differ anywhere.
        is_transparent: Whether white shows through.
    """

    pixels: np.ndarray
    is_colored: bool
    is_transparent: bool


def _read(file: Path) -> _Picture:
    from PIL import ImageOps

    try:
        with open_picture(file) as image:
            opaque, is_transparent = _put_on_white(ImageOps.exif_transpose(image))
            pixels = np.asarray(opaque.convert("RGB"))
    except PermissionError as error:
        raise UnusablePicture(f"cannot be read ({error.strerror})") from None
    is_colored = bool((pixels != pixels[..., :1]).any())
    return _Picture(pixels, is_colored, is_transparent)


def _put_on_white(image: Any) -> tuple[Any, bool]:
    from PIL import Image

    if not image.has_transparency_data:
        return image, False
    image = image.convert("RGBA")
    lowest_alpha, _ = image.getchannel("A").getextrema()
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image), lowest_alpha < 255


def _fill_split(
    folder: PictureFolder,
    recipe: _Recipe,
    num_channels: int,
    split: str,
    indices: np.ndarray,
    allocate: Allocate,
) -> None:
    per_picture, side = recipe.num_crops or 1, recipe.image_size
    count = len(indices) * per_picture
    images = allocate(f"{split}_images", (count, side, side, num_channels))
    labels = allocate(f"{split}_labels", (count,))
    with console.progress(f"{split} picture", len(indices)) as update:
        for start, index in zip(range(0, count, per_picture), indices, strict=True):
            stop = start + per_picture
            pixels = _to_channels(_read(folder.files[index]).pixels, num_channels)
            images[start:stop] = _cut(pixels, recipe, index)
            labels[start:stop] = folder.labels[index]
            update(stop // per_picture)


def _to_channels(pixels: np.ndarray, num_channels: int) -> np.ndarray:
    if num_channels == pixels.shape[-1]:
        return pixels
    from PIL import Image

    # Luma (ITU-R BT.601), which leaves greys as they are.
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def _cut(pixels: np.ndarray, recipe: _Recipe, index: int) -> np.ndarray:
    """Cuts the squares out of a picture: uint8 `(N, image_size, image_size, channels)`."""
    side = recipe.crop_size
    if recipe.num_crops is None or side is None:
        return resize_images(pixels[None], recipe.image_size, crop_size=side)
    height, width = pixels.shape[:2]
    generator = np.random.default_rng([recipe.crop_seed, index])
    corners = generator.integers(
        (height - side, width - side), size=(recipe.num_crops, 2), endpoint=True
    )
    crops = [pixels[top : top + side, left : left + side] for top, left in corners]
    return resize_images(np.stack(crops), recipe.image_size)

"""Crops and scales images of any size to squares of one size."""

import numpy as np

from benchmark.errors import UserError

SMALLEST, LARGEST = 8, 1024
DESCRIPTION = "centre crop to a square, then bilinear with antialiasing (Pillow), unless at size"


def check_image_size(image_size: int | None) -> None:
    """Rejects a side length, in pixels, that no dataset can be scaled to."""
    if image_size is None:
        return
    if not _is_whole(image_size) or not SMALLEST <= image_size <= LARGEST:
        raise UserError(
            f"`dataset.image_size` must be a whole number of pixels in {SMALLEST}..{LARGEST}. "
            f"Received: {image_size!r}."
        )


def check_crop_size(crop_size: int | None, *sides: int) -> None:
    """Rejects a crop size that is not a number of pixels, or is larger than a picture.

    Args:
        crop_size: Side of the crop in pixels, or `None` for the largest square.
        *sides: Height and width of the picture, where they are known.

    Raises:
        UserError: If it is too small, too large or not a whole number.
    """
    if crop_size is None:
        return
    if not _is_whole(crop_size) or crop_size < SMALLEST:
        raise UserError(
            f"`dataset.crop_size` must be a whole number of pixels, at least {SMALLEST}. "
            f"Received: {crop_size!r}."
        )
    if sides and crop_size > min(sides):
        height, width = sides
        raise UserError(
            f"dataset.crop_size={crop_size} is larger than a picture of {width}x{height} pixels. "
            "Set a smaller one, or null for the largest central square."
        )


def _is_whole(size: int) -> bool:
    return isinstance(size, int) and not isinstance(size, bool)


def resize_images(
    images: np.ndarray, image_size: int | None, *, crop_size: int | None = None
) -> np.ndarray:
    """Crops a central square of each image and scales it.

    The filter is Pillow's `BILINEAR`, whose support grows with the reduction: it averages when
    shrinking and interpolates when enlarging (28 to 32 is enlarged, not padded).

    Args:
        images: uint8 array of shape `(N, height, width, channels)`, channels 1 or 3.
        image_size: Side of the result in pixels; `None` leaves the crops as they are.
        crop_size: Side of the square in pixels; `None` is the largest square, or no crop at all
            where `image_size` is `None`.

    Returns:
        uint8 array of shape `(N, image_size, image_size, channels)`.

    Raises:
        UserError: If the crop is larger than the images.
    """
    height, width = images.shape[1:3]
    check_crop_size(crop_size, height, width)
    side = crop_size or (min(height, width) if image_size else None)
    crops = images if side is None else _crop_centre(images, side)
    if image_size is None or side == image_size:
        return crops
    scaled = np.empty((len(images), image_size, image_size, images.shape[-1]), np.uint8)
    for index, crop in enumerate(crops):
        scaled[index] = _scale(crop, image_size)
    return scaled


def _crop_centre(images: np.ndarray, side: int) -> np.ndarray:
    height, width = images.shape[1:3]
    if height == width == side:
        return images
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def _scale(image: np.ndarray, image_size: int) -> np.ndarray:
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    scaled = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(scaled).reshape(image_size, image_size, -1)

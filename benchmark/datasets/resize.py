"""Images of any size to squares of one size."""

import numpy as np

from benchmark.errors import UserError

SMALLEST, LARGEST = 8, 1024
DESCRIPTION = "centre crop to a square, then bilinear with antialiasing (Pillow), unless at size"


def check_image_size(image_size: int | None) -> None:
    """Refuses a side length, in pixels, that no dataset can be brought to."""
    if image_size is None:
        return
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not whole or not SMALLEST <= image_size <= LARGEST:
        raise UserError(
            f"`dataset.image_size` must be a whole number of pixels in {SMALLEST}..{LARGEST}. "
            f"Received: {image_size!r}."
        )


def resize_images(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """Crops the largest central square of each image and scales it.

    The filter is Pillow's `BILINEAR`, whose support grows with the reduction: it averages when it
    shrinks and interpolates when it enlarges (28 to 32 is an enlargement, not a padding).

    Args:
        images: uint8 array of shape `(N, height, width, channels)`, channels 1 or 3.
        image_size: Side of the result in pixels; `None` leaves the images as they are.

    Returns:
        uint8 array of shape `(N, image_size, image_size, channels)`.
    """
    height, width = images.shape[1:3]
    if image_size is None or height == width == image_size:
        return images
    from PIL import Image

    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crops = images[:, top : top + side, left : left + side]
    resized = np.empty((len(images), image_size, image_size, images.shape[-1]), np.uint8)
    grey = images.shape[-1] == 1
    for index, crop in enumerate(crops):
        picture = Image.fromarray(np.ascontiguousarray(crop[..., 0] if grey else crop))
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
        resized[index] = np.asarray(picture).reshape(resized.shape[1:])
    return resized

"""Whether samples can be compared with a dataset: their shape, and what their pixels look like."""

import hashlib
from typing import Any

import numpy as np

from benchmark.datasets.resize import LARGEST, SMALLEST
from benchmark.errors import UserError

_NUM_COMPARED = 1000  # training images whose brightness is compared
_CLEARLY = 50  # of 255: by how much inverted images must be nearer to the training images


def to_images(array: np.ndarray, dataset: Any, source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Brings an array to `(N, height, width, channels)` if that needs no guessing.

    Args:
        array: uint8 samples of any shape.
        dataset: The `ImageDataset` that they are compared with.
        source: Where they come from, for the message.

    Returns:
        The images, and remarks on what was done.

    Raises:
        UserError: If their shape is not the dataset's; the error shows the line that fixes it.
    """
    height, width, channels = dataset.image_shape
    if array.shape[1:] == dataset.image_shape:
        return array, ()
    if channels == 1 and array.shape[1:] == (height, width):
        return array[..., None], (f"shape {array.shape}: taken as {len(array):,} grey images",)
    raise UserError(
        f"{source}: images of {dataset.name} have the shape (N, {height}, {width}, {channels}). "
        f"Received: {array.shape}{_advice(array, dataset.image_shape)}"
    )


def _advice(array: np.ndarray, image_shape: tuple[int, int, int]) -> str:
    """How to fix a wrong shape; the first advice that applies."""
    shape, ndim = array.shape, array.ndim
    flat = int(np.prod(image_shape))
    if ndim == 2 and shape[1] == flat:
        return ", flat images: x = x.reshape(-1, {}, {}, {})".format(*image_shape)
    if ndim == 5:
        return ", batches of images: x = x.reshape(-1, *x.shape[-3:])"
    if ndim == 3 and (shape[-1] in (1, 3, 4) or shape[0] in (1, 3)):
        return ", which looks like a single image; many samples are needed"
    if ndim == 3 and image_shape[2] == 3:
        return ", grey images without a channel: x = np.repeat(x[..., None], 3, axis=-1)"
    if ndim == 3:
        return _size_advice(shape[1:], image_shape)
    if ndim != 4:
        return ", which is not an array of images"
    if shape[-1] not in (1, 2, 3, 4) and shape[1] in (1, 2, 3, 4):
        return ", channels first: x = x.transpose(0, 2, 3, 1)"
    if shape[-1] in (2, 4):
        return ", with an alpha channel; drop it: x = x[..., :-1]"
    if shape[-1] != image_shape[2]:
        return _channel_advice(array, image_shape[2])
    return _size_advice(shape[1:3], image_shape)


def _channel_advice(array: np.ndarray, channels: int) -> str:
    if channels == 3 and array.shape[-1] == 1:
        return ", grey images: x = np.repeat(x, 3, axis=-1)"
    if channels == 1 and array.shape[-1] == 3:
        if (array == array[..., :1]).all():
            return ", whose three channels are equal: x = x[..., :1]"
        grey = "np.rint(x.mean(axis=-1, keepdims=True)).astype('uint8')"
        return f", colour images; convert them to grey, for example x = {grey}"
    return ""


def _size_advice(size: tuple[int, ...], image_shape: tuple[int, int, int]) -> str:
    """What to do about images of another height or width."""
    resize = f": resize them to {image_shape[0]}x{image_shape[1]}"
    if size[0] != size[1] or not SMALLEST <= size[0] <= LARGEST:
        return resize
    return f"{resize}, or compare all at their size with dataset.image_size={size[0]}"


def check_contrast(images: np.ndarray, source: str) -> None:
    """Rejects images that are nearly black: floats in [0, 1] that lost their greys.

    Raises:
        UserError: If no pixel is above 1.
    """
    if images.max() <= 1:
        raise UserError(
            f"{source}: no pixel is above {images.max()} of 255, as if images in [0, 1] had been "
            "cast to uint8. Scale them first: "
            "x = np.clip(np.rint(x * 255), 0, 255).astype('uint8')"
        )


def suspicions(images: np.ndarray, dataset: Any) -> tuple[str, ...]:
    """Warns of what is allowed but rarely intended: repeated images, exchanged black and white.

    Args:
        images: uint8 `(N, height, width, channels)`.
        dataset: The `ImageDataset` that they are compared with.

    Returns:
        Warnings, one sentence each.
    """
    return _repetitions(images) + _inversion(images, dataset.train_images)


def _repetitions(images: np.ndarray) -> tuple[str, ...]:
    different = len({hashlib.sha256(image.tobytes()).digest() for image in images})
    if different == 1 < len(images):
        return (f"all {len(images):,} images are the same",)
    if different < 0.99 * len(images):
        return (
            f"only {different:,} of {len(images):,} images differ from each other: batches made "
            "with one seed, or a collapsed model",
        )
    return ()


def _inversion(images: np.ndarray, training_images: np.ndarray) -> tuple[str, ...]:
    real = training_images[:: max(1, len(training_images) // _NUM_COMPARED)].mean()
    made = images.mean()
    if abs(made - real) > abs(255 - made - real) + _CLEARLY:
        return (
            f"the mean brightness is {made:.0f}, that of the training images {real:.0f}: if black "
            "and white are exchanged, give 255 - x",
        )
    return ()

"""Stacked MNIST (Metz et al. 2017): three random digits are the channels of one image."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets.base import ImageArray, ImageDataset, check_name
from benchmark.datasets.cache import Allocate, load_cached
from benchmark.datasets.mnist import load_mnist
from benchmark.errors import UserError

NUM_CHANNELS = 3
MARGINS = {28: 0, 32: 2}  # black pixels on each side of a digit, by image size
SPLITS = ("train", "test")


def load_stacked_mnist(
    *,
    name: str = "stacked_mnist",
    source: str | Path | None = None,
    image_size: int = 28,
    num_train_images: int = 120_000,
    num_test_images: int = 26_000,
    stack_seed: int = 0,
    protocol_samples: int = 26_000,
    cache_dir: str | Path,
) -> ImageDataset:
    """Loads Stacked MNIST, whose 1,000 classes are the three-digit numbers.

    Training images are stacked from MNIST's training digits alone, test images from its test
    digits. The first channel is the leading digit of the label.

    Args:
        name: Name of the dataset. A dataset named `stacked_mnist` is made of MNIST; under another
            name, `source` may hold any grey images.
        source: Folder with the four IDX files, plain or `.gz`; `None` for the embedded ones.
        image_size: Side of the images in pixels: 28, or 32 for a margin of two black pixels.
        num_train_images: Images for training.
        num_test_images: Images for testing.
        stack_seed: Seed of the choice of digits, independent of the run's seed.
        protocol_samples: Samples that the protocol of mode coverage asks for.
        cache_dir: Folder of all caches.

    Returns:
        An `ImageDataset` of `(image_size, image_size, 3)` images, which are made when they are
        read. Its `channel_dataset` holds the digits at the same size.

    Raises:
        UserError: If the digits cannot be read or are not grey, or `image_size` is not 28 or 32.
    """
    digits = load_digits(name, source, image_size, cache_dir)
    train_images, train_labels = stack(digits, "train", num_train_images, stack_seed)
    test_images, test_labels = stack(digits, "test", num_test_images, stack_seed)
    names = itertools.product(digits.class_names, repeat=NUM_CHANNELS)
    return ImageDataset(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=len(digits.class_names) ** NUM_CHANNELS,
        fingerprint=fingerprint(digits, train_images, test_images),
        class_names=tuple(map("".join, names)),
        channel_dataset=digits,
        protocol_samples=protocol_samples,
    )


class StackedImages:
    """Images stacked from single-channel ones: read like an array, made row by row when read.

    Reading one row, several rows (by a slice or an array of indices) or all rows (by `np.asarray`)
    gives an ordinary array. Only the first axis can be indexed.

    Args:
        channel_images: uint8 `(M, height, width, 1)`, may be a memory map; it is not copied.
        sources: Integers `(N, channels)`: for each image, the rows of `channel_images` that are
            its channels.
    """

    def __init__(self, channel_images: ImageArray, sources: np.ndarray) -> None:
        # A plain view: indexing a `memmap` costs several times as much.
        self._channel_images = np.asarray(channel_images)[..., 0]
        self.sources = sources

    @property
    def shape(self) -> tuple[int, ...]:
        num_images, channels = self.sources.shape
        return (num_images, *self._channel_images.shape[1:], channels)

    @property
    def dtype(self) -> np.dtype:
        return self._channel_images.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the images would take if they were all made."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):
            raise TypeError(
                "stacked images are indexed by their first axis: an integer, a slice or an array "
                f"of integers. Received: {index}."
            )
        sources = self.sources[index]
        images = np.empty((*sources.shape[:-1], *self.shape[1:]), self.dtype)
        for channel in range(self.shape[-1]):
            images[..., channel] = self._channel_images[sources[..., channel]]
        return images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("stacked images are made when read: `copy=False` is not possible")
        return self[:].astype(dtype or self.dtype, copy=False)


def load_digits(
    name: str, source: str | Path | None, image_size: int, cache_dir: str | Path
) -> ImageDataset:
    """Loads the single-channel images that are stacked, with the margin that `image_size` needs."""
    check_name(name)
    if image_size not in MARGINS:
        raise UserError(
            "`dataset.image_size` must be 28, or 32 for a margin of two black pixels. "
            f"Received: {image_size!r}."
        )
    digits = load_mnist(
        name="mnist" if name == "stacked_mnist" else f"{name}-channel",
        source=source,
        cache_dir=cache_dir,
    )
    if digits.image_shape[-1] != 1:
        raise UserError(
            f"dataset {name}: only grey images can be stacked. "
            f"Received: images of {digits.image_shape[-1]} channels."
        )
    return pad(digits, MARGINS[image_size], cache_dir)


def pad(dataset: ImageDataset, margin: int, cache_dir: str | Path) -> ImageDataset:
    """Returns a dataset whose images have `margin` black pixels on each side."""
    if not margin:
        return dataset
    sides = ((0, 0), (margin, margin), (margin, margin), (0, 0))

    def decode(allocate: Allocate) -> tuple[str, ...]:
        for split in SPLITS:
            images = np.pad(getattr(dataset, f"{split}_images"), sides)
            allocate(f"{split}_images", images.shape)[:] = images
            labels = getattr(dataset, f"{split}_labels")
            allocate(f"{split}_labels", labels.shape)[:] = labels
        return dataset.class_names

    return load_cached(
        name=dataset.name,
        source=dataset.fingerprint,
        preprocessing={"source": dataset.fingerprint, "margin": margin},
        cache_dir=cache_dir,
        decode=decode,
    )


def stack(
    digits: ImageDataset, split: str, num_images: int, stack_seed: int
) -> tuple[StackedImages, np.ndarray]:
    """Draws the digits of a split's images, each channel independently, with replacement.

    A smaller `num_images` gives the first ones of the same images.

    Returns:
        The images, and their labels: int64 `(num_images,)`, the numbers whose digits, in base
        `num_classes` of `digits`, are the labels of the channels.
    """
    images, labels = getattr(digits, f"{split}_images"), getattr(digits, f"{split}_labels")
    generator = np.random.default_rng([stack_seed, SPLITS.index(split)])
    sources = generator.integers(len(images), size=(num_images, NUM_CHANNELS), dtype=np.int32)
    places = len(digits.class_names) ** np.arange(NUM_CHANNELS)[::-1]
    return StackedImages(images, sources), labels[sources] @ places


def fingerprint(digits: ImageDataset, *splits: StackedImages) -> str:
    """SHA-256 of the digits and of which of them are stacked."""
    digest = hashlib.sha256(digits.fingerprint.encode())
    for images in splits:
        digest.update(f"{images.shape}".encode())
        digest.update(images.sources.tobytes())
    return digest.hexdigest()

"""The form that every dataset has once it is loaded, and the checks on it."""

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from benchmark.errors import UserError

ARRAY_NAMES = ("train_images", "train_labels", "test_images", "test_labels")


class ImageArray(Protocol):
    """The interface of a split's images, shared by NumPy arrays and images that are made when read.

    An index along the first axis (an integer, a slice, an array of integers) gives a NumPy array.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def ndim(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...

    def __array__(self, dtype: Any = None, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Training and test images with their labels, checked when built.

    Attributes:
        name: Name of the dataset in tables and result folders; letters, digits, `_`, `-`, `.`.
        train_images: uint8 array of shape `(N, height, width, channels)`, channels 1 or 3,
            0..255. May be a read-only memory map, or an `ImageArray` that makes its rows when read.
        train_labels: int64 array of shape `(N,)`, in `0 <= label < num_classes`; all 0 where
            the dataset has no labels.
        test_images: As `train_images`, with images of the same shape.
        test_labels: As `train_labels`.
        num_classes: Number of classes; `None` where the dataset has no labels.
        fingerprint: SHA-256 (hex) of the four arrays and of the preprocessing.
        class_names: One name per class; empty where the dataset has no labels.
        channel_dataset: The grey dataset of which each channel is an image (stacked MNIST), whose
            classifier judges the channels; `None` for ordinary images.
        protocol_samples: Samples that the dataset's published protocol asks for, or `None`.
        horizontal_flip: Whether training mirrors each image with probability 1/2, drawn afresh each
            time; part of the fingerprint, as it changes what is trained on. The arrays themselves
            are never mirrored.

    Raises:
        UserError: If an array has another shape, dtype or range.
    """

    name: str
    train_images: ImageArray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: ImageArray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    num_classes: int | None
    fingerprint: str
    class_names: tuple[str, ...] = ()
    channel_dataset: "ImageDataset | None" = field(default=None, repr=False)
    protocol_samples: int | None = None
    horizontal_flip: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        for split in ("train", "test"):
            self._check_split(split)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise UserError(
                f"dataset {self.name}: training and test images must have the same shape. "
                f"Received: {self.train_images.shape[1:]} and {self.test_images.shape[1:]}."
            )
        if len(self.class_names) != (self.num_classes or 0):
            raise UserError(
                f"dataset {self.name}: expected {self.num_classes or 0} class names. "
                f"Received: {len(self.class_names)}."
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of one image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    def _check_split(self, split: str) -> None:
        images = getattr(self, f"{split}_images")
        labels = getattr(self, f"{split}_labels")
        what = f"dataset {self.name}, {split} split"
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise UserError(
                f"{what}: images must be uint8 of shape (N, height, width, 1 or 3). "
                f"Received: {images.dtype} of shape {images.shape}."
            )
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise UserError(
                f"{what}: labels must be int64 of shape {images.shape[:1]}. "
                f"Received: {labels.dtype} of shape {labels.shape}."
            )
        if not len(images):
            raise UserError(f"{what}: expected at least one image. Received: none.")
        top = self.num_classes or 1
        if labels.min() < 0 or labels.max() >= top:
            raise UserError(
                f"{what}: labels must lie in 0..{top - 1}. "
                f"Received: {labels.min()}..{labels.max()}."
            )


def check_flip(horizontal_flip: bool) -> None:
    """Rejects anything but `True` and `False`: Hydra reads `no` as a string."""
    if not isinstance(horizontal_flip, bool):
        raise UserError(
            f"`dataset.horizontal_flip` must be true or false. Received: {horizontal_flip!r}."
        )


def flip_in_training(dataset: ImageDataset) -> ImageDataset:
    """Returns the same arrays as a dataset whose images are mirrored at random in training."""
    fingerprint = hashlib.sha256(f"{dataset.fingerprint} horizontal_flip".encode()).hexdigest()
    return replace(dataset, horizontal_flip=True, fingerprint=fingerprint)


def check_name(name: str) -> None:
    """Rejects a name that could not be a folder's name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"`dataset.name` must consist of letters, digits, `_`, `-`, `.`. Received: {name!r}."
        )

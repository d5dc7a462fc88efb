"""Pictures of samples, drawn into the folder of their sampler."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.datasets import ImageDataset
from benchmark.drawing import figures
from benchmark.results import Folder
from models.base import Animation, Illustration, Sampler

GRID_COLUMNS = 10
FEW_IMAGES = 2


def write_pictures(folder: Folder, images: np.ndarray, sampler: Sampler) -> None:
    """Draws the first samples and the sampler's own pictures.

    Args:
        folder: Where the pictures go.
        images: uint8 `(N, height, width, channels)`, the samples 0 to N - 1.
        sampler: What has made them.
    """
    shown = images[grid_order(sampler, len(images))]
    folder.write_image("grid.png", figures.image_grid(shown, columns=GRID_COLUMNS))
    write_illustrations(folder, sampler.illustrate())


def write_illustrations(folder: Folder, pictures: Mapping[str, Any]) -> None:
    """Draws the illustrations of a model or a sampler.

    Args:
        folder: Where the pictures go.
        pictures: By file name, an `Animation` or anything that `figures.illustration` draws.
    """
    for name, picture in pictures.items():
        if isinstance(picture, Animation):
            folder.write_image(f"{name}.gif", animation(picture))
        else:
            folder.write_image(f"{name}.png", figures.illustration(picture))


def grid_order(sampler: Sampler, num_samples: int) -> np.ndarray:
    """Which samples the grid shows: the first ones; with classes, a row for each of ten."""
    labels = sampler.labels(0, num_samples)
    if labels is None:
        return np.arange(min(num_samples, GRID_COLUMNS**2))
    rows = [np.flatnonzero(labels == label)[:GRID_COLUMNS] for label in range(GRID_COLUMNS)]
    return np.concatenate(rows)


def animation(picture: Animation) -> bytes:
    """A GIF of an animation; where images are few, they are drawn larger."""
    count = picture.images.shape[1]
    return figures.animation(
        picture.images,
        columns=picture.columns or math.isqrt(count),
        scale=3 if count <= FEW_IMAGES else 2,
        captions=picture.captions,
        frame_ms=80,
        hold_ms=2000,
    )


def write_neighbours(
    folder: Folder, images: np.ndarray, found: dict[str, Any] | None, dataset: ImageDataset
) -> None:
    """Draws the samples that are likeliest copied beside their nearest training images.

    Args:
        folder: Where the picture goes.
        images: uint8 `(N, height, width, channels)`, the samples.
        found: What the metric `memorisation` says beyond numbers; nothing is drawn without it.
        dataset: The `ImageDataset` of the training images.
    """
    if not found:
        return
    neighbours = dataset.train_images[np.ravel(found["neighbours"])]
    neighbours = neighbours.reshape(*np.shape(found["neighbours"]), *images.shape[1:])
    picture = Illustration(
        images=np.concatenate([images[found["samples"]][:, None], neighbours], axis=1),
        row_labels=tuple(f"{ratio:.2f}" for ratio in found["ratios"]),
        column_labels=("sample", *map(str, range(1, neighbours.shape[1] + 1))),
        x_label="nearest training images",
        y_label="distance / spacing",
    )
    folder.write_image("neighbours.png", figures.illustration(picture))

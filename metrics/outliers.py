"""Images that show none of a dataset's classes: what a classifier learns to refuse.

Outlier exposure (Hendrycks, Mazeika, Dietterich 2019): a classifier that has seen some kinds of
junk in training refuses other kinds too. `TRAINED_KINDS` are seen in training; `HELD_OUT_KINDS`
are not, and say how far the lesson carries. No kind in training is a damaged image of one class
(halves, superpositions, holes, blur): a classifier that had learned to refuse those could not
measure them.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import gaussian_filter, grey_dilation, grey_erosion, rotate, shift

Kind = Callable[[np.random.Generator, int, np.ndarray], np.ndarray]
"""(generator, count, images of the dataset) -> uint8 `(count, H, W, C)`."""

NUM_GROUPS = 6  # images of a group share a scale, so that they are filtered together
POINTS_OF_A_STROKE = 40
FINE, COARSE = 7, 4  # patches along a side of a mosaic


def draw_outliers(
    *,
    count: int,
    images: np.ndarray,
    seed: int | list[int],
    kinds: Mapping[str, Kind] | None = None,
) -> np.ndarray:
    """Draws outliers, equally many of each kind.

    Args:
        count: how many, 1 or more.
        images: uint8 `(N, H, W, C)`, the dataset's images: their shape, and the source of patches.
        seed: seed of the draw; the same seed gives the same outliers.
        kinds: kinds by name; by default those of training.

    Returns:
        uint8 `(count, H, W, C)`, in random order.
    """
    generator = np.random.default_rng(seed)
    drawn = list((kinds or TRAINED_KINDS).values())
    each = -(-count // len(drawn))
    outliers = np.concatenate([kind(generator, each, images) for kind in drawn])
    return outliers[generator.permutation(len(outliers))[:count]]


def _grid(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixels in [0, 1], shapes `(H, 1)` and `(1, W)`."""
    height, width = images.shape[1:3]
    return (np.arange(height)[:, None] + 0.5) / height, (np.arange(width)[None] + 0.5) / width


def _uniform(generator: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    return generator.uniform(low, high, (count, 1, 1))


def _colour(generator: np.random.Generator, levels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Levels `(N, H, W)` in [0, 1] -> uint8 images, between two colours.

    Half of them run from black to white, the others between any two colours.
    """
    ends = generator.uniform(0.0, 1.0, (2, len(levels), 1, 1, images.shape[-1]))
    ends[0, ::2], ends[1, ::2] = 0.0, 1.0
    coloured = ends[0] + (ends[1] - ends[0]) * levels[..., None]
    return np.rint(255.0 * coloured).astype(np.uint8)


def _blur_by_group(levels: np.ndarray, scales: np.ndarray) -> np.ndarray:
    blurred = np.empty_like(levels)
    for group, scale in enumerate(scales):
        part = slice(group, None, len(scales))
        blurred[part] = gaussian_filter(levels[part], (0.0, scale, scale), mode="wrap")
    return blurred


def _smooth_fields(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Gaussian random fields of unit deviation, smooth: no pixel is independent."""
    sides = images.shape[1:3]
    scales = np.geomspace(0.045, 0.2, NUM_GROUPS) * min(sides)
    fields = _blur_by_group(generator.normal(size=(count, *sides)), scales)
    return fields / fields.std(axis=(1, 2), keepdims=True)


def fields(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Smooth random fields, soft or nearly black and white, half of them fading to the edge."""
    contrast = np.exp(_uniform(generator, count, -1.5, 1.5))
    levels = np.clip(
        0.5
        + contrast * (_smooth_fields(generator, count, images) - _uniform(generator, count, -1, 1)),
        0.0,
        1.0,
    )
    return _colour(generator, _fade(generator, levels, images), images)


def _fade(generator: np.random.Generator, levels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Every other pair fades to black around a random centre."""
    count = len(levels)
    rows, columns = _grid(images)
    centres = generator.uniform(0.3, 0.7, (2, count, 1, 1))
    distances = (rows - centres[0]) ** 2 + (columns - centres[1]) ** 2
    envelope = np.clip(1.5 - distances / _uniform(generator, count, 0.04, 0.2), 0.0, 1.0)
    envelope[np.arange(count) // 2 % 2 == 0] = 1.0
    return levels * envelope


def strokes(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Three to eight curved strokes anywhere, as thin or thick as a pen's."""
    height, width = images.shape[1:3]
    most = 8
    starts = generator.uniform(0.05, 0.95, (count, most, 1, 2))
    lengths = generator.uniform(0.05, 0.35, (count, most, 1, 1))
    bends = starts + lengths * generator.normal(size=(count, most, 1, 2))
    ends = bends + lengths * generator.normal(size=(count, most, 1, 2))
    t = np.linspace(0.0, 1.0, POINTS_OF_A_STROKE)[:, None]
    points = (1 - t) ** 2 * starts + 2 * t * (1 - t) * bends + t**2 * ends
    points = 1.0 - np.abs(1.0 - np.abs(points))  # what leaves the image comes back into it
    drawn = np.arange(most) < generator.integers(3, most + 1, (count, 1))
    inside = np.all((points >= 0.0) & (points < 1.0), axis=-1) & drawn[..., None]
    pixels = (points * [height, width]).astype(int)
    levels = np.zeros((count, height, width))
    image, stroke, point = np.nonzero(inside)
    levels[image, pixels[image, stroke, point, 0], pixels[image, stroke, point, 1]] = 1.0
    scales = np.geomspace(0.015, 0.06, NUM_GROUPS) * min(height, width)
    blurred = _blur_by_group(levels, scales)
    return _colour(generator, np.clip(2.5 * blurred, 0.0, 1.0), images)


def polygons(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """One to three convex polygons over each other, flat or filled with a smooth field."""
    rows, columns = _grid(images)
    levels = np.zeros((count, *images.shape[1:3]))
    for layer in range(3):
        inside = np.full(levels.shape, np.inf)
        centres = generator.uniform(0.25, 0.75, (2, count, 1, 1))
        first = _uniform(generator, count, 0.0, 2 * np.pi)
        for side in range(6):
            angle = first + 2 * np.pi * side / _uniform(generator, count, 3.0, 6.0)
            across = np.cos(angle) * (rows - centres[0]) + np.sin(angle) * (columns - centres[1])
            inside = np.minimum(inside, _uniform(generator, count, 0.08, 0.45) - across)
        mask = np.clip(inside * images.shape[1] + 0.5, 0.0, 1.0)
        shade = np.clip(
            _uniform(generator, count, 0.2, 1.0)
            + _uniform(generator, count, -0.3, 0.3) * _smooth_fields(generator, count, images),
            0.0,
            1.0,
        )
        drawn = (generator.uniform(size=(count, 1, 1)) < 0.5) | (layer == 0)
        levels = np.where(drawn, (1.0 - mask) * levels + mask * shade, levels)
    return _colour(generator, levels, images)


def gratings(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Waves of one or two directions, soft or with hard edges, half fading to the edge."""
    rows, columns = _grid(images)
    waves = np.ones((2, count, *images.shape[1:3]))
    for wave in waves:
        angle = _uniform(generator, count, 0.0, np.pi)
        cycles = np.exp(_uniform(generator, count, np.log(1.0), np.log(images.shape[1] / 3.5)))
        phase = _uniform(generator, count, 0.0, 2 * np.pi)
        along = np.cos(angle) * rows + np.sin(angle) * columns
        wave[:] = np.sin(2 * np.pi * cycles * along + phase)
    both = generator.uniform(size=(count, 1, 1)) < 0.5
    mixed = waves[0] * np.where(both, waves[1], 1.0)
    contrast = np.exp(_uniform(generator, count, -0.7, 2.0))
    levels = np.clip(0.5 + contrast * mixed, 0.0, 1.0)
    return _colour(generator, _fade(generator, levels, images), images)


def mosaics(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Patches of random images from random places, 7 x 7 or 4 x 4 of them.

    Patches that are small beside a stroke's bend, so that no half and no quarter stays whole.
    """
    some = [
        _mosaic(generator, (count + first) // 2, images, num_patches)
        for first, num_patches in enumerate((FINE, COARSE))
    ]
    return np.concatenate(some)


def _mosaic(
    generator: np.random.Generator, count: int, images: np.ndarray, num_patches: int
) -> np.ndarray:
    height, width, channels = images.shape[1:]
    size = -(-min(height, width) // num_patches)
    shape = (count, -(-height // size), -(-width // size), 1, 1)
    sources = generator.integers(len(images), size=shape)
    rows = generator.integers(height - size + 1, size=shape) + np.arange(size)[:, None]
    columns = generator.integers(width - size + 1, size=shape) + np.arange(size)
    used, where = np.unique(sources, return_inverse=True)  # a memory map is read once
    patches = np.asarray(images[used])[where.reshape(shape), rows, columns]
    joined = patches.transpose(0, 1, 3, 2, 4, 5)
    return joined.reshape(count, shape[1] * size, shape[2] * size, channels)[:, :height, :width]


TRAINED_KINDS: dict[str, Kind] = {
    "smooth fields": fields,
    "strokes": strokes,
    "polygons": polygons,
    "gratings": gratings,
    "mosaics of patches": mosaics,
}


def blobs(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Two to six round spots."""
    rows, columns = _grid(images)
    levels = np.zeros((count, *images.shape[1:3]))
    for spot in range(6):
        centres = generator.uniform(0.1, 0.9, (2, count, 1, 1))
        radius = _uniform(generator, count, 0.05, 0.15)
        distances = (rows - centres[0]) ** 2 + (columns - centres[1]) ** 2
        drawn = (generator.uniform(size=(count, 1, 1)) < 0.5) | (spot < 2)
        levels += np.where(drawn, np.exp(-distances / (2 * radius**2)), 0.0)
    return _white_on_black(np.clip(levels, 0.0, 1.0), images)


def checks(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Chequered boards with fields of 2 to some pixels."""
    height, width, channels = images.shape[1:]
    sizes = generator.integers(2, max(3, height // 4) + 1, (count, 1, 1))
    shifts = generator.integers(0, height, (2, count, 1, 1))
    rows, columns = np.arange(height)[:, None] + shifts[0], np.arange(width) + shifts[1]
    return _white_on_black((rows // sizes + columns // sizes) % 2, images)


def cells(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Voronoi cells of eight random points, each of its own grey."""
    rows, columns = _grid(images)
    points = generator.uniform(size=(2, count, 8, 1, 1))
    distances = (rows - points[0]) ** 2 + (columns - points[1]) ** 2
    nearest = distances.argmin(axis=1).reshape(count, -1)
    greys = generator.uniform(size=(count, 8))
    levels = np.take_along_axis(greys, nearest, axis=1).reshape(count, *images.shape[1:3])
    return _white_on_black(levels, images)


def blanks(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """One grey all over, from black to white."""
    levels = np.linspace(0.0, 1.0, count)[:, None, None]
    return _white_on_black(np.broadcast_to(levels, (count, *images.shape[1:3])), images)


def _white_on_black(levels: np.ndarray, images: np.ndarray) -> np.ndarray:
    grey = np.rint(255.0 * levels).astype(np.uint8)[..., None]
    return np.repeat(grey, images.shape[-1], axis=-1)


def uniform_noise(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Each byte drawn for itself."""
    return generator.integers(0, 256, (count, *images.shape[1:]), np.uint8)


def gaussian_noise(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Grey 128 with noise of standard deviation 64, clipped."""
    noise = generator.normal(128.0, 64.0, (count, *images.shape[1:]))
    return np.clip(noise, 0.0, 255.0).astype(np.uint8)


def salt_and_pepper(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
    """Black or white pixels, 5 to 50 % of them white."""
    white = generator.uniform(0.05, 0.5, (count, 1, 1, 1))
    drawn = generator.uniform(size=(count, *images.shape[1:3], 1)) < white
    return np.repeat(255 * drawn.astype(np.uint8), images.shape[-1], axis=-1)


def shuffled_pixels(
    generator: np.random.Generator, count: int, images: np.ndarray, *, fraction: float = 1.0
) -> np.ndarray:
    """Images of the dataset in which so many of the pixels changed places with each other."""
    chosen = np.sort(generator.integers(len(images), size=count))
    shuffled = np.array(images[chosen])
    pixels = shuffled.reshape(count, -1, images.shape[-1])
    num_pixels = pixels.shape[1]
    moved = round(fraction * num_pixels)
    for image in pixels:
        places = generator.permutation(num_pixels)[:moved]
        image[places] = image[generator.permutation(places)]
    return shuffled


def partly_shuffled_pixels(
    generator: np.random.Generator, count: int, images: np.ndarray
) -> np.ndarray:
    """Images of which 60 % of the pixels changed places."""
    return shuffled_pixels(generator, count, images, fraction=0.6)


HELD_OUT_KINDS: dict[str, Kind] = {
    "blobs": blobs,
    "chequered boards": checks,
    "Voronoi cells": cells,
    "blank images": blanks,
    "uniform noise": uniform_noise,
    "Gaussian noise": gaussian_noise,
    "salt and pepper": salt_and_pepper,
    "60 % of the pixels shuffled": partly_shuffled_pixels,
    "all pixels shuffled": shuffled_pixels,
}


def _change(
    function: Callable[[np.ndarray], np.ndarray],
) -> Kind:
    """The kind that applies a function of float64 `(N, H, W, C)` to images of the dataset."""

    def kind(generator: np.random.Generator, count: int, images: np.ndarray) -> np.ndarray:
        chosen = np.sort(generator.choice(len(images), min(count, len(images)), replace=False))
        changed = function(np.asarray(images[chosen], dtype=np.float64))
        return np.clip(np.rint(changed), 0.0, 255.0).astype(np.uint8)

    return kind


# Slightly imperfect images of the dataset, which are not to be refused.
RECOGNISABLE_KINDS: dict[str, Kind] = {
    "shifted by 2 pixels": _change(lambda images: shift(images, (0, 2, -2, 0), order=0)),
    "turned by 10 degrees": _change(
        lambda images: rotate(images, 10.0, axes=(1, 2), reshape=False, order=1)
    ),
    "blurred, deviation 0.7 pixels": _change(
        lambda images: gaussian_filter(images, (0.0, 0.7, 0.7, 0.0))
    ),
    "thicker by half a pixel": _change(
        lambda images: (images + grey_dilation(images, size=(1, 3, 3, 1))) / 2.0
    ),
    "thinner by half a pixel": _change(
        lambda images: (images + grey_erosion(images, size=(1, 3, 3, 1))) / 2.0
    ),
}

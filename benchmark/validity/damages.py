"""Ways to damage images: uint8 `(N, H, W, C)` in and out, the same for the same seed."""

import numpy as np

HOLE = 8 / 28  # side of a hole over the height of the image: 8 pixels of MNIST's 28
MNIST_HEIGHT = 28


def add_noise(images: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Adds normal noise to every pixel, cut off at 0 and 255.

    Args:
        images: uint8 `(N, H, W, C)`.
        deviation: Standard deviation, in grey levels of 0..255.
        seed: Seed of the noise.
    """
    noise = np.random.default_rng(seed).standard_normal(images.shape, dtype=np.float32)
    noise *= deviation
    noise += images
    return np.rint(noise, out=noise).clip(0, 255).astype(np.uint8)


def blur(images: np.ndarray, deviation: float) -> np.ndarray:
    """Blurs with a Gaussian.

    Args:
        images: uint8 `(N, H, W, C)`.
        deviation: Its standard deviation in pixels of an image of 28; it grows with the images.
    """
    from scipy.ndimage import gaussian_filter

    pixels = deviation * images.shape[1] / MNIST_HEIGHT
    blurred = gaussian_filter(images.astype(np.float32), (0, pixels, pixels, 0))
    return np.rint(blurred).clip(0, 255).astype(np.uint8)


def cut_holes(images: np.ndarray, seed: int) -> np.ndarray:
    """Blackens a square of 2/7 of the height, which lies where the image's content lies.

    Its centre is drawn among the pixels, each as probable as it is bright: a hole in the background
    would damage nothing.
    """
    count, height, width, _ = images.shape
    side = max(1, round(HOLE * height))
    generator = np.random.default_rng(seed)
    brightness = images.astype(np.float64).sum(axis=-1).reshape(count, -1)
    brightness[brightness.sum(axis=1) == 0] = 1.0  # a black image: anywhere
    cumulative = np.cumsum(brightness, axis=1)
    targets = generator.random((count, 1)) * cumulative[:, -1:]
    pixels = (cumulative <= targets).sum(axis=1).clip(max=height * width - 1)
    tops = (pixels // width - side // 2).clip(0, height - side)
    lefts = (pixels % width - side // 2).clip(0, width - side)
    rows, columns = np.arange(height), np.arange(width)
    inside_rows = (rows >= tops[:, None]) & (rows < tops[:, None] + side)
    inside_columns = (columns >= lefts[:, None]) & (columns < lefts[:, None] + side)
    hole = inside_rows[:, :, None] & inside_columns[:, None, :]
    return np.where(hole[..., None], np.uint8(0), images)


def swap_halves(images: np.ndarray, seed: int) -> np.ndarray:
    """Puts the upper half of each image on the lower half of another one."""
    swapped = images[partners(len(images), seed)]
    middle = images.shape[1] // 2
    swapped[:, :middle] = images[:, :middle]
    return swapped


def superpose(images: np.ndarray, seed: int) -> np.ndarray:
    """Lays another image over each image: of each two pixels, the brighter one stays."""
    return np.maximum(images, images[partners(len(images), seed)])


def partners(count: int, seed: int) -> np.ndarray:
    """Gives each of `count` images another one; each is given once.

    Returns:
        Integers `(count,)`, a permutation that moves every image.
    """
    if count < 2:
        raise ValueError(f"another image needs at least 2. Received: {count}")
    circle = np.random.default_rng(seed).permutation(count)
    found = np.empty(count, dtype=np.int64)
    found[circle] = np.roll(circle, 1)
    return found

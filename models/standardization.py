"""Images of mean 0 and variance 1 in each channel, as the noise of a diffusion model is."""

import keras
import numpy as np
from keras import ops

IMAGES_AT_ONCE = 1000
SMALLEST_STD = 1e-6  # of a channel that is the same everywhere


class Standardization(keras.layers.Layer):
    """Subtracts a mean from each channel and divides by a standard deviation.

    `keras.layers.Normalization` does the same, but computes with numbers that it takes from its
    weights when it is adapted or loaded from a file: it would not see weights that are assigned.

    Args:
        num_channels: Number of channels. Until `adapt` is called, images stay as they are.
    """

    def __init__(self, num_channels):
        super().__init__(name="standardization", dtype="float32")
        self.means, self.stds = (
            self.add_weight(
                shape=(num_channels,), initializer=initializer, trainable=False, name=name
            )
            for name, initializer in (("means", "zeros"), ("stds", "ones"))
        )
        self.built = True

    def adapt(self, images):
        """Takes the statistics of images, exact whatever their number.

        Args:
            images: uint8 `(N, height, width, channels)`, of which a slice at a time is read.
        """
        means, stds = channel_statistics(images)
        self.means.assign(means)
        self.stds.assign(np.maximum(stds, SMALLEST_STD))

    def call(self, images):
        """Standardises images in [-1, 1]."""
        return (images - self.means) / self.stds

    def invert(self, images):
        """Maps standardised images to those in [-1, 1]; it clips nothing."""
        return self.means + self.stds * ops.cast(images, "float32")


def standardized(images, standardization):
    """Images in [-1, 1] as a `Standardization` has them; as they are where it is `None`."""
    return images if standardization is None else standardization(images)


def destandardized(images, standardization):
    """The inverse of `standardized`."""
    return images if standardization is None else standardization.invert(images)


def channel_statistics(images):
    """Mean and standard deviation of each channel on the scale [-1, 1].

    Args:
        images: uint8 `(N, height, width, channels)`.

    Returns:
        Two float64 arrays `(channels,)`. The deviation is that of all pixels, not an estimate.
    """
    sums = np.zeros((2, images.shape[-1]), "int64")
    for start in range(0, len(images), IMAGES_AT_ONCE):
        pixels = np.asarray(images[start : start + IMAGES_AT_ONCE], "int64")
        sums += [(pixels**power).sum(axis=(0, 1, 2)) for power in (1, 2)]
    means, mean_squares = sums / np.prod(images.shape[:-1])
    variances = np.maximum(mean_squares - means**2, 0.0)
    return means / 127.5 - 1.0, np.sqrt(variances) / 127.5

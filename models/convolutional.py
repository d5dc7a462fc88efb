"""What the convolutional VAE and GAN share: the levels of their networks, and labels."""

import math

import keras
from keras import layers, ops


def append_labels(features, inputs, num_classes):
    """Appends a one-hot label to vectors and the labels to a network's inputs, if there are any."""
    if num_classes is None:
        return features
    inputs.append(keras.Input((), dtype="int32", name="labels"))
    return layers.Concatenate()([features, ops.one_hot(inputs[-1], num_classes)])


def default_widths(image_shape, base_width):
    """Channels of a convolutional network's levels, doubled wherever the resolution is halved.

    Args:
        image_shape: `(height, width, channels)`.
        base_width: Channels of the first level.

    Returns:
        A list: as many levels as halve the image evenly down to 4 x 4 positions or more.
    """
    widths, sizes = [base_width], [size // 2 for size in image_shape[:2]]
    while all(size % 2 == 0 and size >= 8 for size in sizes):
        widths.append(2 * widths[-1])
        sizes = [size // 2 for size in sizes]
    return widths


def check_levels(image_shape, widths):
    """Raises `ValueError` if there are no levels, or their halvings do not divide the image."""
    if not widths:
        raise ValueError(f"`widths` must have one level at the least. Received: widths={widths}")
    divisor = 2 ** len(widths)
    sizes = image_shape[:2]
    if any(size % divisor for size in sizes):
        mended = " x ".join(str(math.ceil(size / divisor) * divisor) for size in sizes)
        raise ValueError(
            f"height and width must be divisible by {divisor}, 2 for each level of `widths`: "
            f"resize the images, {mended} is the next size, or give fewer `widths`. "
            f"Received: image_shape={tuple(image_shape)}"
        )

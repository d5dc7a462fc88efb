"""The first U-Net (Ronneberger, Fischer, Brox 2015), as a denoiser that need not know the time."""

import keras
from keras import layers

from models.base import OUTPUT_DTYPE
from models.checks import check_choice, check_rate, check_size, check_widths
from models.embedding import append_to_pixels
from models.unet import inputs_besides_images

TIME_CONDITIONINGS = ("none", "input")


def build_plain_unet(
    *,
    image_shape,
    base_width,
    multipliers,
    dropout=0.0,
    time_conditioning="none",
    time_embedding="discrete",
    num_classes=None,
    out_channels=None,
):
    """Builds the U-Net: `[images, times, labels?] -> outputs` of the images' size.

    Each level has two convolutions with ReLU, on the way down and on the way up. Pooling by the
    maximum halves the resolution and a transposed convolution of 2x2 doubles it. As in most
    implementations, and other than in the paper, convolutions are padded.

    Args:
        image_shape: `(height, width, channels)`.
        base_width: Channels of the finest level; even. 64 in the paper.
        multipliers: Channels of each level over `base_width`; the resolution halves between
            levels. 1, 2, 4, 8 and 16 in the paper.
        dropout: Rate between the two convolutions of a level, in [0, 1).
        time_conditioning: With `"none"` the network does not take the time; with `"input"` its
            embedding is concatenated to the images.
        time_embedding: `"discrete"` for time steps or `"continuous"` for times in [0, 1].
        num_classes: Adds the input `labels`, as in `models.unet.build_unet`; only with the time.
        out_channels: Channels of the outputs; `None` for those of the images.

    Returns:
        A `keras.Model` of float32 images `(batch, *image_shape)`, times `(batch,)` and, with
        `num_classes`, labels `(batch,)`.

    Raises:
        ValueError: If an option is out of its range, or the levels do not divide the height and
            the width.
    """
    check_widths(base_width, multipliers)
    check_rate("dropout", dropout)
    check_choice("time_conditioning", time_conditioning, TIME_CONDITIONINGS)
    check_size(image_shape, 1, len(multipliers))
    *widths, coarsest = [base_width * multiplier for multiplier in multipliers]
    images = keras.Input(image_shape, name="images")
    conditions, embeddings = inputs_besides_images(
        base_width=base_width,
        time_embedding=time_embedding,
        time_conditioning=time_conditioning,
        num_classes=num_classes,
    )
    features = append_to_pixels(images, embeddings) if embeddings else images

    skips = []
    for width in widths:  # down
        features = two_convolutions(features, width, dropout)
        skips.append(features)
        features = layers.MaxPooling2D(2)(features)

    features = two_convolutions(features, coarsest, dropout)

    for width in reversed(widths):  # up
        features = layers.Conv2DTranspose(width, 2, strides=2)(features)
        features = layers.Concatenate()([skips.pop(), features])
        features = two_convolutions(features, width, dropout)

    outputs = layers.Conv2D(out_channels or image_shape[-1], 1, dtype=OUTPUT_DTYPE)(features)
    return keras.Model([images, *conditions], outputs, name="plain_unet")


def two_convolutions(features, width, dropout):
    """Convolution and ReLU, twice, their weights drawn as in section 3 of the paper."""
    features = convolution(features, width)
    if dropout:
        features = layers.Dropout(dropout)(features)
    return convolution(features, width)


def convolution(features, width):
    return layers.Conv2D(
        width, 3, padding="same", activation="relu", kernel_initializer="he_normal"
    )(features)

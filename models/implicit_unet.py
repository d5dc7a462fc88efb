"""The U-Net of Keras's example "Denoising Diffusion Implicit Models" (Beres 2022)."""

import keras
from keras import layers

from models.base import OUTPUT_DTYPE
from models.checks import check_at_least, check_size, check_widths
from models.embedding import append_to_pixels
from models.unet import inputs_besides_images


def build_implicit_unet(
    *,
    image_shape,
    base_width,
    multipliers,
    num_blocks,
    time_embedding="continuous",
    num_classes=None,
    out_channels=None,
):
    """Builds the U-Net: `[images, times, labels?] -> outputs` of the images' size.

    It has no attention. The embedded time is concatenated to the input, pooling by the average
    and bilinear interpolation change the resolution, and the last convolution starts at zero.

    Args:
        image_shape: `(height, width, channels)`.
        base_width: Channels of the first convolution and size of the time's embedding; even.
        multipliers: Channels of each level over `base_width`; the resolution halves between
            levels.
        num_blocks: Residual blocks for each level, on the way down and on the way up, the
            coarsest having but one way.
        time_embedding: `"continuous"` for times in [0, 1] or `"discrete"` for time steps.
        num_classes: Adds the input `labels`, as in `models.unet.build_unet`.
        out_channels: Channels of the outputs; `None` for those of the images.

    Returns:
        A `keras.Model` of float32 images `(batch, *image_shape)`, times `(batch,)` and, with
        `num_classes`, labels `(batch,)`.

    Raises:
        ValueError: If an option is out of its range, or the levels do not divide the height and
            the width.
    """
    check_widths(base_width, multipliers)
    check_at_least(1, num_blocks=num_blocks)
    check_size(image_shape, 1, len(multipliers))
    *widths, coarsest = [base_width * multiplier for multiplier in multipliers]
    images = keras.Input(image_shape, name="images")
    conditions, embeddings = inputs_besides_images(
        base_width=base_width,
        time_embedding=time_embedding,
        time_conditioning="input",
        num_classes=num_classes,
    )
    features = append_to_pixels(layers.Conv2D(base_width, 1)(images), embeddings)

    skips = []
    for width in widths:  # down
        for _ in range(num_blocks):
            features = residual_block(features, width)
            skips.append(features)
        features = layers.AveragePooling2D(2)(features)

    for _ in range(num_blocks):
        features = residual_block(features, coarsest)

    for width in reversed(widths):  # up
        features = layers.UpSampling2D(2, interpolation="bilinear")(features)
        for _ in range(num_blocks):
            features = layers.Concatenate()([features, skips.pop()])
            features = residual_block(features, width)

    channels = out_channels or image_shape[-1]
    outputs = layers.Conv2D(channels, 1, kernel_initializer="zeros", dtype=OUTPUT_DTYPE)
    return keras.Model([images, *conditions], outputs(features), name="implicit_unet")


def residual_block(features, width):
    """Batch normalisation without scale and centre, and two convolutions with SiLU between."""
    residual = features if features.shape[-1] == width else layers.Conv2D(width, 1)(features)
    features = layers.BatchNormalization(center=False, scale=False)(features)
    features = layers.Conv2D(width, 3, padding="same", activation="silu")(features)
    return layers.Conv2D(width, 3, padding="same")(features) + residual

"""The U-Net of many first diffusion models: linear attention at every level.

It is that of Phil Wang's denoising-diffusion-pytorch (2021, as "The Annotated Diffusion Model" of
Rogge and Rasul 2022 explains it) in the port to Keras by Vedant Jumle ("Image generation with
diffusion models using Keras and TensorFlow", 2022).
"""

import functools
import math
import operator

import keras
from keras import layers, ops

from models.attention import efficient_attention
from models.base import OUTPUT_DTYPE
from models.checks import check_at_least, check_size, check_widths
from models.unet import attend_to_pixels, inputs_besides_images, scale_and_shift

NUM_GROUPS = 8
GROUP_EPSILON = 1e-5
NUM_HEADS, HEAD_DIM = 4, 32


def build_linear_attention_unet(
    *,
    image_shape,
    base_width,
    multipliers,
    time_embedding="discrete",
    num_classes=None,
    out_channels=None,
):
    """Builds the U-Net: `[images, times, labels?] -> outputs` of the images' size.

    Each level has two residual blocks and linear attention, the middle full attention between
    two blocks. Convolutions of 4x4, on the way up transposed, change the resolution.

    Args:
        image_shape: `(height, width, channels)`.
        base_width: A third of it, rounded down, times two is the width of the first convolution;
            even, and at least 4.
        multipliers: Channels of each level over `base_width`; the resolution halves between
            levels.
        time_embedding: `"discrete"` for time steps or `"continuous"` for times in [0, 1].
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
    check_at_least(4, base_width=base_width)
    check_size(image_shape, 1, len(multipliers))
    widths = [base_width * multiplier for multiplier in multipliers]
    images = keras.Input(image_shape, name="images")
    conditions, embeddings = inputs_besides_images(
        base_width=base_width,
        time_embedding=time_embedding,
        time_conditioning="scale_shift",
        num_classes=num_classes,
        inclusive=True,
        activation="gelu",
    )
    condition = functools.reduce(operator.add, embeddings)

    def level_of_blocks(features, width):
        features = residual_block(features, condition, width)
        features = residual_block(features, condition, width)
        return attention_block(features, linear_attention)

    features = layers.Conv2D(base_width // 3 * 2, 7, padding="same")(images)
    skips = []
    for width in widths:  # down
        if skips:
            features = layers.Conv2D(features.shape[-1], 4, strides=2, padding="same")(features)
        features = level_of_blocks(features, width)
        skips.append(features)

    features = residual_block(features, condition, widths[-1])
    features = attention_block(features, full_attention)
    features = residual_block(features, condition, widths[-1])

    for width in reversed(widths[:-1]):  # up
        features = layers.Concatenate()([features, skips.pop()])
        features = level_of_blocks(features, width)
        features = layers.Conv2DTranspose(width, 4, strides=2, padding="same")(features)

    features = layers.Concatenate()([features, skips.pop()])
    features = residual_block(features, None, base_width)  # it does not take the time
    outputs = layers.Conv2D(out_channels or image_shape[-1], 1, dtype=OUTPUT_DTYPE)(features)
    return keras.Model([images, *conditions], outputs, name="linear_attention_unet")


def residual_block(features, condition, width):
    """Convolution, normalisation, SiLU, twice; the condition scales and shifts the first."""
    residual = features if features.shape[-1] == width else layers.Conv2D(width, 1)(features)
    scale_shift = None if condition is None else layers.Dense(2 * width)(condition)
    features = convolution_block(features, width, scale_shift)
    return convolution_block(features, width, None) + residual


def convolution_block(features, width, scale_shift):
    features = layers.Conv2D(width, 3, padding="same")(features)
    groups = math.gcd(width, NUM_GROUPS)
    features = layers.GroupNormalization(groups, epsilon=GROUP_EPSILON)(features)
    if scale_shift is not None:
        features = scale_and_shift(features, scale_shift)
    return layers.Activation("silu")(features)


def attention_block(features, attention):
    """Layer normalisation of each pixel and attention over all, with a residual connection."""
    return features + attend_to_pixels(layers.LayerNormalization()(features), attention)


def linear_attention(tokens):
    """Multi-head efficient attention (Shen et al. 2021), whose output is normalised."""

    def attend(queries, keys, values):
        attended = efficient_attention(queries=queries, keys=keys, values=values)
        return attended * HEAD_DIM**-0.5

    return layers.LayerNormalization()(multi_head(tokens, attend))


def full_attention(tokens):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2)."""
    return multi_head(tokens, ops.dot_product_attention)


def multi_head(tokens, attend):
    """Projects tokens to the heads' queries, keys and values, and back what becomes of them.

    Args:
        tokens: `(batch, positions, channels)`.
        attend: Function of queries, keys and values, each `(batch, positions, heads, channels)`.

    Returns:
        A tensor of the tokens' shape.
    """
    positions, channels = tokens.shape[1:]
    projected = layers.Dense(3 * NUM_HEADS * HEAD_DIM, use_bias=False)(tokens)
    projected = layers.Reshape((positions, 3 * NUM_HEADS, HEAD_DIM))(projected)
    attended = attend(*ops.split(projected, 3, axis=2))
    return layers.Dense(channels)(layers.Reshape((positions, NUM_HEADS * HEAD_DIM))(attended))

"""The U-Net that predicts the noise in an image (Ho et al. 2020, appendix B)."""

import math

import keras
from keras import layers, ops


class TimeEmbedding(layers.Layer):
    """Sinusoidal embedding of the diffusion time step (Vaswani et al. 2017, section 3.5).

    Args:
        dim: Even size of the embedding.
    """

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim

    def call(self, timesteps):
        """Embeds float time steps, shape `(batch,)`, as `(batch, dim)`."""
        half = self.dim // 2
        frequencies = ops.exp(-math.log(10_000.0) * ops.arange(half, dtype="float32") / half)
        angles = ops.cast(timesteps, "float32")[:, None] * frequencies[None, :]
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


def num_groups(width):
    """The largest group count up to 8 that divides `width`."""
    return math.gcd(width, 8)


def residual_block(width, dropout=0.0):
    """Group norm, SiLU, convolution, twice; the time sets scale and shift in between."""

    def apply(features, time):
        channels = features.shape[-1]
        residual = features if channels == width else layers.Conv2D(width, 1)(features)
        features = layers.GroupNormalization(num_groups(channels))(features)
        features = layers.Activation("silu")(features)
        features = layers.Conv2D(width, 3, padding="same")(features)
        scale_shift = layers.Dense(2 * width)(time)
        scale, shift = ops.split(scale_shift[:, None, None, :], 2, axis=-1)
        features = layers.GroupNormalization(num_groups(width))(features)
        features = layers.Activation("silu")(features * (1.0 + scale) + shift)
        if dropout:
            features = layers.Dropout(dropout)(features)
        features = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(features)
        return residual + features

    return apply


def attention_block(features):
    """Self-attention over the pixels with a residual connection."""
    height, width, channels = features.shape[1:]
    tokens = layers.GroupNormalization(num_groups(channels))(features)
    tokens = layers.Reshape((height * width, channels))(tokens)
    num_heads = max(1, channels // 64)
    tokens = layers.MultiHeadAttention(num_heads, channels // num_heads)(tokens, tokens)
    return features + layers.Reshape((height, width, channels))(tokens)


def build_unet(
    *, image_shape, widths, num_blocks, attention_resolutions=(), patch_size=1, dropout=0.0
):
    """Builds the U-Net: `[images, timesteps] -> predicted noise` of the images' shape.

    With `patch_size=2` the first convolution has stride 2 and the last one writes 2 x 2 pixels
    for each position, so that all blocks work at half the resolution.

    Args:
        image_shape: `(height, width, channels)`.
        widths: Channels of each level; the resolution halves between levels.
        num_blocks: Residual blocks for each level, on the way down and on the way up.
        attention_resolutions: Heights of the feature maps at which each block is followed by
            attention. The middle, at the lowest resolution, always has it.
        patch_size: Stride of the first convolution.
        dropout: Rate between the convolutions of a block, in [0, 1).

    Returns:
        A `keras.Model` of float32 images `(batch, *image_shape)` and time steps `(batch,)`.

    Raises:
        ValueError: If the patches and levels do not divide the height and the width.
    """
    divisor = patch_size * 2 ** (len(widths) - 1)
    if image_shape[0] % divisor or image_shape[1] % divisor:
        raise ValueError(
            f"height and width must be divisible by {divisor} (`patch_size` times 2 for each "
            f"further level of `widths`). Received: image_shape={tuple(image_shape)}"
        )

    def block(features, width):
        features = residual_block(width, dropout)(features, time)
        if features.shape[1] in attention_resolutions:
            features = attention_block(features)
        return features

    images = keras.Input(image_shape, name="images")
    timesteps = keras.Input((), name="timesteps")
    time = TimeEmbedding(widths[0])(timesteps)
    time = layers.Dense(4 * widths[0], activation="silu")(time)
    time = layers.Dense(4 * widths[0], activation="silu")(time)

    kernel_size = 3 if patch_size == 1 else 2 * patch_size
    features = layers.Conv2D(widths[0], kernel_size, strides=patch_size, padding="same")(images)
    skips = []
    for level, width in enumerate(widths):  # down
        if level > 0:
            features = layers.Conv2D(width, 3, strides=2, padding="same")(features)
        for _ in range(num_blocks):
            features = block(features, width)
            skips.append(features)

    features = residual_block(widths[-1], dropout)(features, time)  # middle
    features = attention_block(features)

    for level, width in reversed(list(enumerate(widths))):  # up
        for _ in range(num_blocks):
            features = layers.Concatenate()([features, skips.pop()])
            features = block(layers.Conv2D(width, 1)(features), width)
        if level > 0:
            features = layers.Conv2D(widths[level - 1], 3, padding="same")(features)
            features = layers.UpSampling2D(2)(features)

    features = layers.GroupNormalization(num_groups(widths[0]))(features)
    features = layers.Activation("silu")(features)
    features = layers.Conv2D(
        image_shape[-1] * patch_size**2, 3, padding="same", kernel_initializer="zeros"
    )(features)
    return keras.Model([images, timesteps], unpatch(features, patch_size), name="unet")


def unpatch(features, patch_size):
    """Depth to space: `(batch, h, w, c * p * p) -> (batch, h * p, w * p, c)`."""
    if patch_size == 1:
        return features
    height, width, depth = features.shape[1:]
    channels = depth // patch_size**2
    features = layers.Reshape((height, width, patch_size, patch_size, channels))(features)
    features = layers.Permute((1, 3, 2, 4, 5))(features)
    return layers.Reshape((height * patch_size, width * patch_size, channels))(features)

"""The networks of R3GAN (Huang et al. 2024, section 4, and their code).

Residual blocks of a 1x1, a grouped 3x3 and a 1x1 convolution without any normalisation, bilinear
resampling between stages, and a learned basis at the coarsest one.
"""

import math

import keras
from keras import layers, ops

from models.base import OUTPUT_DTYPE
from models.checks import check_at_least, check_size
from models.convolutional import append_labels
from models.grouped_convolution import GroupedConv2D
from models.unet import unpatch

NEGATIVE_SLOPE = 0.2  # of LeakyReLU
GAIN = math.sqrt(2.0 / (1.0 + NEGATIVE_SLOPE**2))  # what keeps variances before it (He et al. 2015)
EXPANSION = 2  # channels of the grouped convolution over those of its block


class GenerativeBasis(layers.Layer):
    """Learned feature maps, which a vector of their number scales: `(b, c) -> (b, h, w, c)`."""

    def __init__(self, height, width, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width

    def build(self, input_shape):
        """Makes the maps, from N(0, 1)."""
        shape = (self.height, self.width, input_shape[-1])
        self.basis = self.add_weight(
            shape=shape, initializer=keras.initializers.RandomNormal(stddev=1.0), name="basis"
        )

    def call(self, vectors):
        """Scales each map by its entry of each vector."""
        return vectors[:, None, None, :] * self.basis


class DiscriminativeBasis(layers.Layer):
    """Learned weighted sums of feature maps over positions: `(b, h, w, c) -> (b, c)`."""

    def build(self, input_shape):
        """Makes the weights."""
        _, height, width, channels = input_shape
        self.basis = self.add_weight(
            shape=(height, width, channels),
            initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(height * width)),
            name="basis",
        )

    def call(self, features):
        """Sums each map over its positions."""
        return ops.sum(features * self.basis, axis=(1, 2))


def initial_weights(gain=1.0):
    """N(0, gain^2 / inputs), a fresh initializer for each layer: a reused one repeats its numbers.

    Of a convolution, the inputs are those of one output.
    """
    if gain == 0.0:
        return "zeros"
    return keras.initializers.VarianceScaling(
        gain**2, mode="fan_in", distribution="untruncated_normal"
    )


def residual_block(features, group_width, num_blocks):
    """Expands, convolves in groups, contracts; the last convolution starts at zero.

    The first two start smaller, the more blocks there are in all (Zhang et al. 2019, fixup).
    """
    channels = features.shape[-1]
    expanded = EXPANSION * channels
    gain = GAIN * num_blocks**-0.25
    residual = layers.Conv2D(expanded, 1, kernel_initializer=initial_weights(gain))(features)
    residual = activate(residual)
    residual = GroupedConv2D(
        3, group_width, use_bias=True, kernel_initializer=initial_weights(gain)
    )(residual)
    residual = activate(residual)
    residual = layers.Conv2D(channels, 1, use_bias=False, kernel_initializer=initial_weights(0.0))(
        residual
    )
    return features + residual


def activate(features):
    return layers.LeakyReLU(NEGATIVE_SLOPE)(features)


def change_width(features, width):
    """A 1x1 convolution, if the width changes."""
    if features.shape[-1] == width:
        return features
    return layers.Conv2D(width, 1, use_bias=False, kernel_initializer=initial_weights())(features)


def build_generator(
    *,
    image_shape,
    latent_dim,
    widths,
    num_blocks,
    group_width,
    patch_size,
    num_classes,
    bounded=False,
):
    """Builds the generator: `[latents, labels?]` -> images.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: Number of latent dimensions.
        widths: Channels of each stage, the finest first; the resolution halves between stages.
        num_blocks: Residual blocks of each stage.
        group_width: Channels of each group of the grouped convolutions.
        patch_size: The finest stage writes patches of as many pixels across; 1 in the paper.
        num_classes: Adds labels, int `(batch,)`, whose embedding joins the latents.
        bounded: Whether images end in tanh; otherwise nothing keeps them within [-1, 1].

    Raises:
        ValueError: If the stages do not divide the image, or the groups the channels.
    """
    height, width, channels = image_shape
    check_stages(image_shape, widths, num_blocks, group_width, patch_size)
    scale, total = patch_size * 2 ** (len(widths) - 1), num_blocks * len(widths)
    inputs = [keras.Input((latent_dim,), name="latents")]
    vectors = append_labels(inputs[0], inputs, num_classes)
    vectors = layers.Dense(widths[-1], use_bias=False, kernel_initializer=initial_weights())(
        vectors
    )
    features = GenerativeBasis(height // scale, width // scale)(vectors)
    for level, stage_width in reversed(list(enumerate(widths))):
        features = change_width(features, stage_width)
        if level < len(widths) - 1:
            features = layers.UpSampling2D(2, interpolation="bilinear")(features)
        for _ in range(num_blocks):
            features = residual_block(features, group_width, total)
    patches = layers.Conv2D(
        channels * patch_size**2,
        1,
        activation="tanh" if bounded else None,
        use_bias=False,
        kernel_initializer=initial_weights(),
        dtype=OUTPUT_DTYPE,
    )(features)
    images = unpatch(patches, patch_size)
    return keras.Model(inputs, images, name="generator")


def build_discriminator(*, image_shape, widths, num_blocks, group_width, patch_size, num_classes):
    """Builds the discriminator: `[images, labels?]` -> logits `(batch, 1)`.

    With classes, the logit is the projection of as many features as the coarsest stage has channels
    on the label's embedding (Miyato and Koyama 2018).

    Args:
        image_shape: As of `build_generator`, like the others.
        widths: Channels of each stage, the finest first.
        num_blocks: Residual blocks of each stage.
        group_width: Channels of each group of the grouped convolutions.
        patch_size: The finest stage reads patches of as many pixels across.
        num_classes: Adds labels, int `(batch,)`.
    """
    check_stages(image_shape, widths, num_blocks, group_width, patch_size)
    total = num_blocks * len(widths)
    inputs = [keras.Input(image_shape, name="images")]
    features = layers.Conv2D(
        widths[0],
        patch_size,
        strides=patch_size,
        use_bias=False,
        kernel_initializer=initial_weights(),
    )(inputs[0])
    for level, stage_width in enumerate(widths):
        if level > 0:
            features = layers.AveragePooling2D(2)(features)
            features = change_width(features, stage_width)
        for _ in range(num_blocks):
            features = residual_block(features, group_width, total)
    vectors = DiscriminativeBasis()(features)
    dim = 1 if num_classes is None else widths[-1]
    outputs = layers.Dense(
        dim, use_bias=False, kernel_initializer=initial_weights(), dtype=OUTPUT_DTYPE
    )(vectors)
    if num_classes is not None:
        inputs.append(keras.Input((), dtype="int32", name="labels"))
        embeddings = layers.Embedding(
            num_classes,
            dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(dim)),
            dtype=OUTPUT_DTYPE,
        )(inputs[-1])
        outputs = layers.Dot(axes=1, dtype=OUTPUT_DTYPE)([outputs, embeddings])
    return keras.Model(inputs, outputs, name="discriminator")


def check_stages(image_shape, widths, num_blocks, group_width, patch_size):
    """Raises `ValueError` if there are no such networks."""
    check_at_least(1, num_blocks=num_blocks, group_width=group_width, patch_size=patch_size)
    if not widths or any(EXPANSION * width % group_width for width in widths):
        raise ValueError(
            f"`widths` must name at least one stage, and `group_width` divide {EXPANSION} times "
            f"each. Received: widths={list(widths)}, group_width={group_width}"
        )
    check_size(image_shape, patch_size, len(widths))

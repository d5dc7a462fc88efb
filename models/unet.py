"""The U-Net of denoising diffusion (Ho et al. 2020, appendix B) and its variants."""

import functools
import math
import operator

import keras
from keras import layers, ops

from models.attention import full_attention, linear_attention
from models.base import OUTPUT_DTYPE
from models.embedding import TIME_EMBEDDINGS, append_to_pixels, embed_conditions

NORMALIZATIONS = ("group", "batch")
TIME_CONDITIONINGS = ("scale_shift", "add", "input")
# Of the batch statistics: over about the last hundred steps, as averaged weights need. A run of a
# hundred steps still holds a third of the initial ones.
MOMENTUM = 0.99


def num_groups(width):
    """The largest group count up to 8 that divides `width`."""
    return math.gcd(width, 8)


def normalize(features, normalization):
    """Group or batch normalisation, both with learned scale and centre."""
    if normalization == "batch":
        return layers.BatchNormalization(momentum=MOMENTUM)(features)
    return layers.GroupNormalization(num_groups(features.shape[-1]))(features)


def residual_block(features, condition, width, normalization, time_conditioning, dropout):
    """Normalisation, SiLU, convolution, twice; the condition enters in between, if at all."""
    channels = features.shape[-1]
    residual = features if channels == width else layers.Conv2D(width, 1)(features)
    features = normalize(features, normalization)
    features = layers.Activation("silu")(features)
    features = layers.Conv2D(width, 3, padding="same")(features)
    if time_conditioning == "add":
        features = features + layers.Dense(width)(condition)[:, None, None, :]
    features = normalize(features, normalization)
    if time_conditioning == "scale_shift":
        scale_shift = layers.Dense(2 * width)(condition)
        scale, shift = ops.split(scale_shift[:, None, None, :], 2, axis=-1)
        features = features * (1.0 + scale) + shift
    features = layers.Activation("silu")(features)
    if dropout:
        features = layers.Dropout(dropout)(features)
    features = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(features)
    return residual + features


def attention_block(features, attention, normalization):
    """Normalisation and attention over the pixels, with a residual connection."""
    height, width, channels = features.shape[1:]
    tokens = normalize(features, normalization)
    tokens = attention(layers.Reshape((height * width, channels))(tokens))
    return features + layers.Reshape((height, width, channels))(tokens)


def unpatch(features, patch_size):
    """Depth to space: `(batch, h, w, c * p * p) -> (batch, h * p, w * p, c)`."""
    if patch_size == 1:
        return features
    height, width, depth = features.shape[1:]
    channels = depth // patch_size**2
    shape = (height, width, patch_size, patch_size, channels)
    features = layers.Reshape(shape, dtype=OUTPUT_DTYPE)(features)
    features = layers.Permute((1, 3, 2, 4, 5), dtype=OUTPUT_DTYPE)(features)
    shape = (height * patch_size, width * patch_size, channels)
    return layers.Reshape(shape, dtype=OUTPUT_DTYPE)(features)


def build_unet(
    *,
    image_shape,
    base_width,
    multipliers,
    num_blocks,
    attention_levels=(),
    linear_attention_levels=(),
    middle_attention=True,
    normalization="group",
    time_embedding="discrete",
    time_conditioning="scale_shift",
    patch_size=1,
    dropout=0.0,
    num_classes=None,
    latent_dim=None,
):
    """Builds the U-Net: `[images, times, labels?, latents?] -> outputs` of the images' shape.

    With `patch_size=2` the first convolution has stride 2 and the last one writes 2 x 2 pixels
    for each position, so that all blocks work at half the resolution.

    Args:
        image_shape: `(height, width, channels)`.
        base_width: Channels of the first convolution; even.
        multipliers: Channels of each level over `base_width`; the resolution halves between
            levels.
        num_blocks: Residual blocks for each level, on the way down and on the way up.
        attention_levels: Levels whose blocks are each followed by full attention; 0 is the
            finest, -1 the coarsest.
        linear_attention_levels: Likewise by linear attention (Shen et al. 2021).
        middle_attention: Whether the middle, at the coarsest level, has full attention.
        normalization: `"group"` (Wu and He 2018; up to 8 groups) or `"batch"` (Ioffe and Szegedy
            2015), both with learned scale and centre.
        time_embedding: `"discrete"` for time steps or `"continuous"` for times in [0, 1].
        time_conditioning: The embedding of the time sets `"scale_shift"` of the second
            normalisation of each block (Dhariwal and Nichol 2021), is `"add"`ed between the
            convolutions of each block (Ho et al. 2020), or is concatenated once to the `"input"`
            features, without dense layers.
        patch_size: Stride of the first convolution.
        dropout: Rate between the convolutions of a block, in [0, 1).
        num_classes: Adds the input `labels`, int `(batch,)`: a class in 0..num_classes - 1, or
            `num_classes` for none (Ho and Salimans 2022). Its embedding joins that of the time.
        latent_dim: Adds the input `latents`, `(batch, latent_dim)`, which a mapping network
            (Xiao et al. 2022) embeds. Its embedding joins that of the time.

    Returns:
        A `keras.Model` of float32 images `(batch, *image_shape)`, times `(batch,)` and the
        inputs that `num_classes` and `latent_dim` add, in this order.

    Raises:
        ValueError: If an option is out of its range, or the patches and levels do not divide the
            height and the width.
    """
    check_widths(base_width, multipliers)
    check_at_least(1, num_blocks=num_blocks, patch_size=patch_size, num_classes=num_classes)
    check_at_least(2, latent_dim=latent_dim)  # a single one keeps but its sign when normalised
    check_rate("dropout", dropout)
    check_choice("normalization", normalization, NORMALIZATIONS)
    check_choice("time_embedding", time_embedding, TIME_EMBEDDINGS)
    check_choice("time_conditioning", time_conditioning, TIME_CONDITIONINGS)
    widths = [base_width * multiplier for multiplier in multipliers]
    check_size(image_shape, patch_size, len(widths))
    heights = [image_shape[0] // (patch_size * 2**level) for level in range(len(widths))]
    attentions = attention_of_levels(heights, attention_levels, linear_attention_levels)
    time_is_input = time_conditioning == "input"

    def block(features, level, attention):
        features = residual_block(
            features, condition, widths[level], normalization, time_conditioning, dropout
        )
        return attention_block(features, attention, normalization) if attention else features

    images = keras.Input(image_shape, name="images")
    conditions, embeddings = embed_conditions(
        base_width=base_width,
        dense_time=not time_is_input,
        time_embedding=time_embedding,
        num_classes=num_classes,
        latent_dim=latent_dim,
    )
    condition = None if time_is_input else functools.reduce(operator.add, embeddings)

    kernel_size = 3 if patch_size == 1 else 2 * patch_size
    features = layers.Conv2D(base_width, kernel_size, strides=patch_size, padding="same")(images)
    if time_is_input:
        features = append_to_pixels(features, embeddings)
    skips = []
    for level, width in enumerate(widths):  # down
        if level > 0:
            features = layers.Conv2D(width, 3, strides=2, padding="same")(features)
        for _ in range(num_blocks):
            features = block(features, level, attentions[level])
            skips.append(features)

    features = block(features, -1, full_attention if middle_attention else None)  # middle

    for level, width in reversed(list(enumerate(widths))):  # up
        for _ in range(num_blocks):
            features = layers.Concatenate()([features, skips.pop()])
            features = block(layers.Conv2D(width, 1)(features), level, attentions[level])
        if level > 0:
            features = layers.Conv2D(widths[level - 1], 3, padding="same")(features)
            features = layers.UpSampling2D(2)(features)

    features = normalize(features, normalization)
    features = layers.Activation("silu")(features)
    features = layers.Conv2D(
        image_shape[-1] * patch_size**2,
        3,
        padding="same",
        kernel_initializer="zeros",
        dtype=OUTPUT_DTYPE,
    )(features)
    return keras.Model([images, *conditions], unpatch(features, patch_size), name="unet")


def attention_of_levels(heights, attention_levels, linear_attention_levels):
    """The kind of attention of each level, `None` for none.

    Args:
        heights: Heights of the levels' feature maps, the finest first.
        attention_levels: Levels of full attention.
        linear_attention_levels: Levels of linear attention.

    Raises:
        ValueError: If there is no such level, or one is to have both.
    """
    levels = range(-len(heights), len(heights))
    for name, received in (
        ("attention_levels", attention_levels),
        ("linear_attention_levels", linear_attention_levels),
    ):
        if not set(received) <= set(levels):
            raise ValueError(
                f"`{name}` must be among {levels[0]}..{levels[-1]}, 0 the finest and -1 the "
                f"coarsest; the levels' heights are {heights}. Received: {name}={list(received)}"
            )
    full, linear = (
        {level % len(heights) for level in received}
        for received in (attention_levels, linear_attention_levels)
    )
    if full & linear:
        raise ValueError(
            "a level must not be in both `attention_levels` and `linear_attention_levels`. "
            f"Received: {list(attention_levels)} and {list(linear_attention_levels)}"
        )
    kinds = dict.fromkeys(full, full_attention) | dict.fromkeys(linear, linear_attention)
    return [kinds.get(level) for level in range(len(heights))]


def check_widths(base_width, multipliers):
    """Raises `ValueError` if the levels' widths are not those of a network."""
    check_at_least(2, base_width=base_width)
    if base_width % 2:
        raise ValueError(f"`base_width` must be even. Received: base_width={base_width}")
    if not multipliers:
        raise ValueError("`multipliers` must name at least one level. Received: multipliers=[]")
    for multiplier in multipliers:
        check_at_least(1, multipliers=multiplier)


def check_at_least(minimum, **options):
    """Raises `ValueError` if an option is neither `None` nor an integer from `minimum` on."""
    for name, value in options.items():
        if value is not None and (not isinstance(value, int) or value < minimum):
            raise ValueError(
                f"`{name}` must be an integer of at least {minimum}. Received: {name}={value!r}"
            )


def check_rate(name, value):
    """Raises `ValueError` if `value` is not in [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={value!r}")


def check_size(image_shape, patch_size, num_levels):
    """Raises `ValueError` if the patches and levels do not divide the image."""
    height, width, _ = image_shape
    divisor = patch_size * 2 ** (num_levels - 1)
    if height % divisor or width % divisor:
        mended = " x ".join(str(math.ceil(size / divisor) * divisor) for size in (height, width))
        raise ValueError(
            f"height and width must be divisible by {divisor} (`patch_size` times 2 for each "
            f"further level of `multipliers`): resize the images, {mended} is the next size, or "
            f"give fewer `multipliers`. Received: image_shape={tuple(image_shape)}"
        )


def check_choice(name, value, choices):
    """Raises `ValueError` if `value` is not one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")

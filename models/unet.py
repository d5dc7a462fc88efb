"""The U-Net of denoising diffusion (Ho et al. 2020, appendix B) and its variants."""

import functools
import math
import operator

import keras
from keras import layers, ops

from models.attention import full_attention, linear_attention, single_head_attention
from models.base import OUTPUT_DTYPE
from models.checks import check_at_least, check_choice, check_rate, check_size, check_widths
from models.embedding import (
    TIME_EMBEDDINGS,
    append_to_pixels,
    embed_conditions,
    map_latents,
)

LAYOUTS = ("compact", "original")
NORMALIZATIONS = ("group", "batch")
TIME_CONDITIONINGS = ("scale_shift", "add", "input", "none")
# Of the batch statistics: over about the last hundred steps, as averaged weights need. A run of a
# hundred steps still holds a third of the initial ones.
MOMENTUM = 0.99


def normalize(features, normalization, num_groups=8, epsilon=1e-3):
    """Group or batch normalisation, both with learned scale and centre.

    There are as many groups as divide the width, up to `num_groups`.
    """
    if normalization == "batch":
        return layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon)(features)
    groups = math.gcd(features.shape[-1], num_groups)
    return layers.GroupNormalization(groups, epsilon=epsilon)(features)


def residual_block(features, condition, width, normalize, time_conditioning, dropout):
    """Normalisation, SiLU, convolution, twice; the condition enters in between, if at all."""
    channels = features.shape[-1]
    residual = features if channels == width else layers.Conv2D(width, 1)(features)
    features = normalize(features)
    features = layers.Activation("silu")(features)
    features = layers.Conv2D(width, 3, padding="same")(features)
    if time_conditioning == "add":
        features = features + layers.Dense(width)(condition)[:, None, None, :]
    features = normalize(features)
    if time_conditioning == "scale_shift":
        features = scale_and_shift(features, layers.Dense(2 * width)(condition))
    features = layers.Activation("silu")(features)
    if dropout:
        features = layers.Dropout(dropout)(features)
    features = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(features)
    return residual + features


def block_of(condition, style, normalize, time_conditioning, dropout):
    """Returns `block(features, width, attention)`: a residual block, then attention if any.

    With a `style`, `(batch, dim)`, both normalisations of the residual block are adaptive: it
    scales and shifts their channels (Xiao et al. 2022, appendix C).
    """

    def adaptive(features):
        scale_shift = layers.Dense(2 * features.shape[-1])(style)
        return scale_and_shift(normalize(features), scale_shift)

    norm = normalize if style is None else adaptive

    def block(features, width, attention):
        features = residual_block(features, condition, width, norm, time_conditioning, dropout)
        return attention_block(features, attention, normalize) if attention else features

    return block


def scale_and_shift(features, scale_shift):
    """Scales and shifts each channel; `scale_shift` is `(batch, 2 * channels)`."""
    scale, shift = ops.split(scale_shift[:, None, None, :], 2, axis=-1)
    return features * (1.0 + scale) + shift


def attention_block(features, attention, normalize):
    """Normalisation and attention over the pixels, with a residual connection."""
    return features + attend_to_pixels(normalize(features), attention)


def attend_to_pixels(features, attention):
    """Applies `attention`, a function of tokens, to the pixels of feature maps."""
    height, width, channels = features.shape[1:]
    tokens = attention(layers.Reshape((height * width, channels))(features))
    return layers.Reshape((height, width, channels))(tokens)


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
    layout="compact",
    attention_levels=(),
    linear_attention_levels=(),
    middle_attention=True,
    normalization="group",
    num_groups=8,
    epsilon=1e-3,
    time_embedding="discrete",
    time_dim=None,
    time_conditioning="scale_shift",
    patch_size=1,
    dropout=0.0,
    intervals=False,
    num_classes=None,
    latent_dim=None,
    out_channels=None,
):
    """Builds the U-Net: `[images, times, intervals?, labels?, latents?] -> outputs` of their size.

    With `patch_size=2` the first convolution has stride 2 and the last one writes 2 x 2 pixels
    for each position, so that all blocks work at half the resolution. The network of Ho et al.
    (2020, appendix B) has `layout="original"`, `num_groups=32`, `epsilon=1e-6` and
    `time_conditioning="add"`.

    Args:
        image_shape: `(height, width, channels)`.
        base_width: Channels of the first convolution; even.
        multipliers: Channels of each level over `base_width`; the resolution halves between
            levels.
        num_blocks: Residual blocks for each level, on the way down and on the way up.
        layout: How blocks are joined, `"compact"` (see `join_compactly`) or `"original"`, as by
            Ho et al. (see `join_as_ho_et_al`).
        attention_levels: Levels whose blocks are each followed by full attention; 0 is the
            finest, -1 the coarsest.
        linear_attention_levels: Likewise by linear attention (Shen et al. 2021).
        middle_attention: Whether the middle, at the coarsest level, has full attention.
        normalization: `"group"` (Wu and He 2018) or `"batch"` (Ioffe and Szegedy 2015), both with
            learned scale and centre.
        num_groups: The most groups of channels, at least 1.
        epsilon: What normalisation adds to the variances.
        time_embedding: `"discrete"` for time steps or `"continuous"` for times in [0, 1].
        time_dim: Size of the sinusoidal embedding of the time, even; `None` for `base_width`.
        time_conditioning: The embedding of the time sets `"scale_shift"` of the second
            normalisation of each block (Dhariwal and Nichol 2021), is `"add"`ed between the
            convolutions of each block (Ho et al. 2020), or is concatenated once to the `"input"`
            features, without dense layers. With `"none"` the network does not take the time.
        patch_size: Stride of the first convolution.
        dropout: Rate between the convolutions of a block, in [0, 1).
        intervals: Adds the input `intervals`, `(batch,)`: lengths on the scale of the times, whose
            embedding joins that of the time.
        num_classes: Adds the input `labels`, int `(batch,)`: a class in 0..num_classes - 1, or
            `num_classes` for none (Ho and Salimans 2022). Its embedding joins that of the time.
        latent_dim: Adds the input `latents`, `(batch, latent_dim)`, at least 2. What a mapping
            network makes of them scales and shifts both normalisations of each residual block
            (Xiao et al. 2022, appendix C).
        out_channels: Channels of the outputs; `None` for those of the images.

    Returns:
        A `keras.Model` of float32 images `(batch, *image_shape)`, times `(batch,)` and the
        inputs that `intervals`, `num_classes` and `latent_dim` add, in this order.

    Raises:
        ValueError: If an option is out of its range, or the patches and levels do not divide the
            height and the width.
    """
    check_widths(base_width, multipliers)
    check_at_least(1, num_blocks=num_blocks, num_groups=num_groups, patch_size=patch_size)
    check_at_least(2, latent_dim=latent_dim)  # a single one keeps but its sign when normalised
    check_rate("dropout", dropout)
    check_choice("layout", layout, LAYOUTS)
    check_choice("normalization", normalization, NORMALIZATIONS)
    widths = [base_width * multiplier for multiplier in multipliers]
    check_size(image_shape, patch_size, len(widths))
    full = full_attention if layout == "compact" else single_head_attention
    heights = [image_shape[0] // (patch_size * 2**level) for level in range(len(widths))]
    attentions = attention_of_levels(heights, attention_levels, linear_attention_levels, full)

    images = keras.Input(image_shape, name="images")
    conditions, embeddings = inputs_besides_images(
        base_width=base_width,
        time_embedding=time_embedding,
        time_dim=time_dim,
        inclusive=layout == "original",
        time_conditioning=time_conditioning,
        intervals=intervals,
        num_classes=num_classes,
    )
    style = None
    if latent_dim is not None:
        conditions = [*conditions, keras.Input((latent_dim,), name="latents")]
        style = map_latents(conditions[-1], 4 * base_width)
    in_blocks = time_conditioning in ("scale_shift", "add")
    condition = functools.reduce(operator.add, embeddings) if in_blocks else None
    normalized = functools.partial(
        normalize, normalization=normalization, num_groups=num_groups, epsilon=epsilon
    )
    block = block_of(condition, style, normalized, time_conditioning, dropout)

    features = first_convolution(images, base_width, patch_size)
    if time_conditioning == "input":
        features = append_to_pixels(features, embeddings)
    join = join_compactly if layout == "compact" else join_as_ho_et_al
    middle = full if middle_attention else None
    features = join(features, block, widths, num_blocks, attentions, middle)
    outputs = last_convolution(normalized(features), out_channels or image_shape[-1], patch_size)
    return keras.Model([images, *conditions], outputs, name="unet")


def inputs_besides_images(
    *, time_conditioning, num_classes, time_dim=None, intervals=False, **options
):
    """Times, intervals and labels, and their embeddings.

    Args:
        time_conditioning: As of `build_unet`.
        num_classes: Likewise.
        time_dim: Likewise.
        intervals: Likewise.
        **options: Other options of `models.embedding.embed_conditions`.

    Raises:
        ValueError: If an option is out of its range, or a network that does not take the time is
            given another condition.
    """
    check_at_least(1, num_classes=num_classes)
    check_at_least(2, time_dim=time_dim)
    check_choice("time_embedding", options["time_embedding"], TIME_EMBEDDINGS)
    check_choice("time_conditioning", time_conditioning, TIME_CONDITIONINGS)
    if time_conditioning != "none":
        return embed_conditions(
            dense_time=time_conditioning != "input",
            time_dim=time_dim,
            intervals=intervals,
            num_classes=num_classes,
            **options,
        )
    if num_classes is not None or intervals:
        raise ValueError(
            "`num_classes` and `intervals` need the time's embedding to join. Received: "
            f"time_conditioning='none', num_classes={num_classes}, intervals={intervals}"
        )
    return [keras.Input((), name="times")], []


def join_compactly(features, block, widths, num_blocks, attentions, middle_attention):
    """Joins few convolutions: what changes the resolution changes the width too.

    The output of each block on the way down is a skip connection, which a 1x1 convolution takes
    in before a block on the way up. The middle is one block.

    Args:
        features: Output of the first convolution.
        block: Function of features, a width and a kind of attention or `None`.
        widths: Channels of each level, the finest first.
        num_blocks: Blocks of each level on the way down.
        attentions: Kind of attention of each level.
        middle_attention: Kind of attention in the middle.

    Returns:
        Features of the size of those given.
    """
    skips = []
    for level, width in enumerate(widths):  # down
        if level > 0:
            features = layers.Conv2D(width, 3, strides=2, padding="same")(features)
        for _ in range(num_blocks):
            features = block(features, width, attentions[level])
            skips.append(features)

    features = block(features, widths[-1], middle_attention)

    for level, width in reversed(list(enumerate(widths))):  # up
        for _ in range(num_blocks):
            features = layers.Concatenate()([features, skips.pop()])
            features = block(layers.Conv2D(width, 1)(features), width, attentions[level])
        if level > 0:
            features = layers.Conv2D(widths[level - 1], 3, padding="same")(features)
            features = layers.UpSampling2D(2)(features)
    return features


def join_as_ho_et_al(features, block, widths, num_blocks, attentions, middle_attention):
    """Joins blocks as Ho et al. (2020, appendix B and their code), where blocks change the width.

    The outputs of the first convolution, of each block and of each convolution that halves the
    resolution are skip connections, and each is concatenated to the input of a block on the way
    up: there is one block more for each level. The middle is two blocks, attention between them.

    Args:
        features: As of `join_compactly`, like the others.
        block: Function of features, a width and a kind of attention or `None`.
        widths: Channels of each level, the finest first.
        num_blocks: Blocks of each level on the way down.
        attentions: Kind of attention of each level.
        middle_attention: Kind of attention in the middle.

    Returns:
        Features of the size of those given.
    """
    skips = [features]
    for level, width in enumerate(widths):  # down
        if level > 0:
            features = layers.Conv2D(widths[level - 1], 3, strides=2, padding="same")(features)
            skips.append(features)
        for _ in range(num_blocks):
            features = block(features, width, attentions[level])
            skips.append(features)

    features = block(features, widths[-1], middle_attention)
    features = block(features, widths[-1], None)

    for level, width in reversed(list(enumerate(widths))):  # up
        for _ in range(num_blocks + 1):
            features = layers.Concatenate()([features, skips.pop()])
            features = block(features, width, attentions[level])
        if level > 0:
            features = layers.UpSampling2D(2)(features)
            features = layers.Conv2D(width, 3, padding="same")(features)
    return features


def first_convolution(images, width, patch_size):
    """A convolution of overlapping patches, or of 3x3 pixels: `images -> features`."""
    kernel_size = 3 if patch_size == 1 else 2 * patch_size
    return layers.Conv2D(width, kernel_size, strides=patch_size, padding="same")(images)


def last_convolution(features, channels, patch_size):
    """SiLU and a convolution that starts at zero: `features -> outputs` of the images' size."""
    features = layers.Activation("silu")(features)
    patches = layers.Conv2D(
        channels * patch_size**2,
        3,
        padding="same",
        kernel_initializer="zeros",
        dtype=OUTPUT_DTYPE,
    )(features)
    return unpatch(patches, patch_size)


def attention_of_levels(heights, attention_levels, linear_attention_levels, full_attention):
    """The kind of attention of each level, `None` for none.

    Args:
        heights: Heights of the levels' feature maps, the finest first.
        attention_levels: Levels of full attention.
        linear_attention_levels: Levels of linear attention.
        full_attention: The kind that full attention is of.

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

"""The time-dependent discriminator of denoising diffusion GANs (Xiao et al. 2022, appendix C)."""

import keras
from keras import layers, ops

from models.base import OUTPUT_DTYPE
from models.embedding import TimeEmbedding

TIME_DIM = 128
NEGATIVE_SLOPE = 0.2  # of LeakyReLU
GROUP_SIZE = 4  # images whose variety is measured together


def build_discriminator(*, image_shape, widths, num_classes=None):
    """Builds the discriminator: `[states, noisier_states, times, labels?] -> logits`.

    It judges whether `states` are what `noisier_states` were one time step before. Its levels are
    those of a DCGAN's, with the time added to each, as they learn faster than the residual blocks
    of the paper and cost less. A level halves the resolution, rounded up: 28, 14, 7, 4.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        widths: Channels of each level.
        num_classes: Adds labels, int `(batch,)`, whose embedding joins that of the time.

    Returns:
        A `keras.Model` of two float32 `(batch, *image_shape)`, time steps `(batch,)` and labels,
        with logits `(batch, 1)`. The batch must be a multiple of `GROUP_SIZE`.
    """
    states = keras.Input(image_shape, name="states")
    noisier_states = keras.Input(image_shape, name="noisier_states")
    times = keras.Input((), name="times")
    inputs = [states, noisier_states, times]
    condition = TimeEmbedding(TIME_DIM)(times)
    condition = layers.Dense(TIME_DIM)(activate(layers.Dense(TIME_DIM)(condition)))
    if num_classes is not None:
        inputs.append(keras.Input((), dtype="int32", name="labels"))
        condition = condition + layers.Embedding(num_classes, TIME_DIM)(inputs[-1])
    condition = activate(condition)
    features = layers.Concatenate()([states, noisier_states])
    for width in widths:
        features = layers.Conv2D(width, 4, strides=2, padding="same")(features)
        features = activate(features + layers.Dense(width)(condition)[:, None, None, :])
    features = append_minibatch_std(features)
    features = activate(layers.Conv2D(widths[-1], 3, padding="same")(features))
    logits = layers.Dense(1, dtype=OUTPUT_DTYPE)(layers.Flatten()(features))
    return keras.Model(inputs, logits, name="discriminator")


def activate(features):
    return layers.LeakyReLU(NEGATIVE_SLOPE)(features)


def append_minibatch_std(features):
    """Appends a channel that shows how much the images of a group differ (Karras et al. 2018).

    It is the standard deviation over the `GROUP_SIZE` images of a group (Karras et al. 2020),
    averaged over positions and channels. Without it, images that are all alike pass as real.

    Args:
        features: `(batch, height, width, channels)`; groups are neighbours in the batch.

    Returns:
        `(batch, height, width, channels + 1)`.
    """
    _, height, width, channels = features.shape
    groups = ops.reshape(features, (-1, GROUP_SIZE, height, width, channels))
    stds = ops.sqrt(ops.var(groups, axis=1) + 1e-8)
    variety = ops.repeat(ops.mean(stds, axis=(1, 2, 3)), GROUP_SIZE)
    maps = ops.ones_like(features[..., :1]) * variety[:, None, None, None]
    return ops.concatenate([features, maps], axis=-1)

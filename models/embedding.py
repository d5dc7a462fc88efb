"""What the U-Net is conditioned on: the time, the class, and the latents."""

import functools
import math
import operator

import keras
from keras import layers, ops

TIME_EMBEDDINGS = ("discrete", "continuous")
MAX_PERIOD = 10_000.0  # of discrete time steps, over 2 pi
MAX_TURNS = 1_000.0  # of continuous times, from 0 to 1
NUM_MAPPING_LAYERS = 5


class TimeEmbedding(layers.Layer):
    """Sinusoidal embedding of the diffusion time (Vaswani et al. 2017, section 3.5).

    It takes times and computes in float32 whatever the precision of the network: bfloat16 tells
    no more than about half of 1,000 time steps apart.

    Args:
        dim: Even size of the embedding.
        kind: `"discrete"` for time steps 0, 1, 2...: the paper's frequencies. `"continuous"` for
            times in [0, 1] such as noise variances: frequencies in geometric progression from 1
            to 1,000 turns, as in the Keras example of implicit models (Beres 2022).
        inclusive: Whether the slowest frequency of time steps is 1 / 10,000, as in the code of Ho
            et al. (2020), or the one before it in a longer progression, as in the paper.
    """

    def __init__(self, dim, kind="discrete", inclusive=False, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.dim = dim
        self.kind = kind
        self.inclusive = inclusive

    def call(self, times):
        """Embeds times, shape `(batch,)`, as `(batch, dim)`."""
        half = self.dim // 2
        indices = ops.arange(half, dtype="float32")
        if self.kind == "continuous":
            frequencies = 2.0 * math.pi * ops.exp(math.log(MAX_TURNS) * indices / max(1, half - 1))
        else:
            intervals = max(1, half - 1) if self.inclusive else half
            frequencies = ops.exp(-math.log(MAX_PERIOD) * indices / intervals)
        angles = ops.cast(times, "float32")[:, None] * frequencies[None, :]
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


def embed_conditions(
    *,
    base_width,
    dense_time,
    time_embedding,
    num_classes,
    time_dim=None,
    inclusive=False,
    activation="silu",
    intervals=False,
):
    """Embeds the time and, where there are any, intervals and labels, each as `(batch, dim)`.

    After dense layers, the labels are added to the time before the last nonlinearity (Dhariwal and
    Nichol 2021, in their code), so that what a class changes depends on the time.

    Args:
        base_width: Channels of the network's finest level.
        dense_time: Whether the time then passes through two dense layers. If so, `dim` is
            4 * `base_width` (Ho et al. 2020), else `time_dim`.
        time_embedding: Kind of `TimeEmbedding`.
        num_classes: Adds labels, unless `None`; the label `num_classes` stands for "no class"
            (Ho and Salimans 2022, section 3.2).
        time_dim: Size of the sinusoidal embedding of the time; `None` for `base_width`.
        inclusive: Of the `TimeEmbedding`.
        activation: Between the dense layers.
        intervals: Whether to add intervals of time, embedded as the time is.

    Returns:
        The inputs, times, intervals and labels, and their embeddings; there is a single one, of
        all, if the time passes through dense layers.
    """
    time_dim = time_dim or base_width
    dim = 4 * base_width if dense_time else time_dim
    inputs, embeddings = [], []
    for name in ["times", "intervals"] if intervals else ["times"]:
        inputs.append(keras.Input((), name=name))
        embedding = TimeEmbedding(time_dim, time_embedding, inclusive)(inputs[-1])
        if dense_time:
            embedding = layers.Dense(dim, activation=activation)(embedding)
            embedding = layers.Dense(dim)(embedding)
        embeddings.append(embedding)
    if num_classes is not None:
        labels = keras.Input((), dtype="int32", name="labels")
        inputs.append(labels)
        embeddings.append(layers.Embedding(num_classes + 1, dim)(labels))
    if dense_time:
        embeddings = [layers.Activation("silu")(functools.reduce(operator.add, embeddings))]
    return inputs, embeddings


def withhold_labels(labels, fraction, num_classes, seed_generator):
    """Replaces a fraction of the labels by `num_classes`, which stands for no class.

    So that guidance has an unconditional model (Ho and Salimans 2022, algorithm 1).

    Args:
        labels: Integers `(batch,)`.
        fraction: Probability for each label, in [0, 1].
        num_classes: Number of classes.
        seed_generator: A `keras.random.SeedGenerator`.

    Returns:
        int32 `(batch,)`.
    """
    draws = keras.random.uniform(ops.shape(labels), seed=seed_generator)
    return ops.where(draws < fraction, num_classes, ops.cast(labels, "int32"))


def map_latents(latents, dim):
    """The mapping network of denoising diffusion GANs (Xiao et al. 2022, and their code).

    Each latent vector is scaled to a mean square of 1, then passes through dense layers.

    Args:
        latents: `(batch, latent_dim)`.
        dim: Size of the embedding.

    Returns:
        A tensor `(batch, dim)`.
    """
    mean_squares = ops.mean(ops.square(latents), axis=-1, keepdims=True)
    features = latents * ops.rsqrt(mean_squares + 1e-8)
    for _ in range(NUM_MAPPING_LAYERS):
        features = layers.Dense(dim, activation="silu")(features)
    return features


def append_to_pixels(features, embeddings):
    """Concatenates each embedding to the channels of every pixel of `features`."""
    height, width, _ = features.shape[1:]
    maps = [
        layers.Reshape((height, width, embedding.shape[-1]))(
            layers.RepeatVector(height * width)(embedding)
        )
        for embedding in embeddings
    ]
    return layers.Concatenate()([features, *maps])

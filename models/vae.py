"""The convolutional variational autoencoder (Kingma and Welling 2014)."""

import math

import keras
import numpy as np
from keras import layers, ops
from scipy.stats import norm

from models.base import (
    OUTPUT_DTYPE,
    Bars,
    ClassPoints,
    GenerativeModel,
    Illustration,
    Sampler,
    check_divisible,
    to_float,
    to_uint8,
)

LIKELIHOODS = ("bernoulli", "gaussian")
MANIFOLD_QUANTILES = np.linspace(0.02, 0.98, 20)
NUM_RECONSTRUCTIONS = 12
COLLAPSED_BELOW_NATS = 0.01
ENCODED_AT_ONCE = 250


class VAE(GenerativeModel):
    """Variational autoencoder with convolutional encoder and decoder.

    The loss is the negative evidence lower bound in nats an image: the reconstruction term summed
    over pixels plus `beta` times the KL divergence summed over latent dimensions (Kingma and
    Welling 2014, eq. 10; `beta` as in Higgins et al. 2017).

    Args:
        image_shape: `(height, width, channels)`; the levels of `widths` must divide the sizes.
        seed: Integer.
        latent_dim: Number of latent dimensions, at least 1.
        widths: Channels of each level; the resolution halves at each.
        beta: Weight of the KL divergence, not negative.
        likelihood: `"bernoulli"` (pixels as probabilities) or `"gaussian"`.
        pixel_std: Standard deviation of the Gaussian likelihood on the scale [0, 1].
        optimizer: A `keras.optimizers.Optimizer`.
        name: Name of the model.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        image_shape,
        seed,
        latent_dim,
        widths,
        beta=1.0,
        likelihood="bernoulli",
        pixel_std=0.1,
        optimizer=None,
        name="vae",
    ):
        if likelihood not in LIKELIHOODS:
            raise ValueError(
                f"`likelihood` must be one of {LIKELIHOODS}. Received: likelihood={likelihood!r}"
            )
        if latent_dim < 1 or beta < 0 or pixel_std <= 0:
            raise ValueError(
                "`latent_dim` must be at least 1, `beta` not negative and `pixel_std` positive. "
                f"Received: latent_dim={latent_dim}, beta={beta}, pixel_std={pixel_std}"
            )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.latent_dim = latent_dim
        self.beta = beta
        self.likelihood = likelihood
        self.pixel_std = pixel_std
        self.encoder = build_encoder(
            image_shape=self.image_shape, widths=widths, latent_dim=latent_dim
        )
        self.decoder = build_decoder(
            image_shape=self.image_shape, widths=widths, latent_dim=latent_dim
        )
        self.reconstruction_loss = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_loss = keras.metrics.Mean(name="kl_loss")

    @property
    def network(self):
        return self.decoder

    def call(self, images, training=False):
        """Encodes and decodes uint8 `images`; returns decoder outputs, means, log variances."""
        means, log_variances = self.encoder(to_float(images), training=training)
        noises = keras.random.normal(ops.shape(means), seed=self.seed_generator)
        latents = means + ops.exp(0.5 * log_variances) * noises  # eq. 10, reparameterisation
        return self.decoder(latents, training=training), means, log_variances

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """The negative evidence lower bound, in nats, mean over the batch."""
        logits, means, log_variances = y_pred
        targets = ops.cast(x, "float32") / 255.0
        reconstruction = ops.mean(ops.sum(self.pixel_losses(targets, logits), axis=(1, 2, 3)))
        kl = ops.mean(ops.sum(kl_divergences(means, log_variances), axis=1))
        self.reconstruction_loss.update_state(reconstruction)
        self.kl_loss.update_state(kl)
        return reconstruction + self.beta * kl

    def pixel_losses(self, targets, logits):
        """Negative log-likelihood of each pixel (without the Gaussian's constant)."""
        if self.likelihood == "bernoulli":
            return ops.softplus(logits) - targets * logits
        return 0.5 * ops.square((targets - ops.sigmoid(logits)) / self.pixel_std)

    def illustrate(self, images, labels):
        """Reconstructions, the KL divergence of each latent dimension, and the latent plane.

        The plane is that of the two latent dimensions that vary most over the encoded images: what
        the decoder makes of it (Kingma and Welling 2014, figure 4), and where the images lie in it.
        """
        means, log_variances = self.encode(images)
        pictures = {
            "reconstructions": self.reconstructions(images, means),
            "divergences": self.divergences(mean_divergences(means, log_variances)),
        }
        if self.latent_dim >= 2:
            plane = np.argsort(-means.var(axis=0), kind="stable")[:2]
            pictures["manifold"] = self.manifold(plane)
            pictures["latents"] = self.latents(means, labels, plane)
        return pictures

    def facts(self, images):
        """How many latent dimensions collapsed onto the prior."""
        return {"collapsed_latents": num_collapsed(mean_divergences(*self.encode(images)))}

    def encode(self, images):
        """Means and log variances of the latents of uint8 `images`, each float32 `(N, latents)`."""
        return self.encoder.predict(to_float(images), batch_size=ENCODED_AT_ONCE, verbose=0)

    def reconstructions(self, images, means):
        """Real images above what the decoder makes of their latent means."""
        decoded = self.decode(means[:NUM_RECONSTRUCTIONS])
        rows = np.stack([images[:NUM_RECONSTRUCTIONS], decoded])
        return Illustration(rows, row_labels=("real", "reconstructed"))

    def divergences(self, values):
        """The mean KL divergence of each latent dimension, the largest first.

        Args:
            values: Float `(latents,)`, in nats.
        """
        order = np.argsort(-values, kind="stable")
        return Bars(
            values=values[order],
            names=tuple(str(dimension + 1) for dimension in order),
            threshold=COLLAPSED_BELOW_NATS,
            threshold_label=f"collapsed\nbelow {COLLAPSED_BELOW_NATS:g}",
            title=f"{num_collapsed(values)} of {self.latent_dim} latent dimensions collapsed",
            x_label="latent dimension, the most informative first",
            y_label="KL from the prior, nats per image",
        )

    def manifold(self, plane):
        """Decodes a plane of the prior, evenly spaced in its quantiles.

        Args:
            plane: The two latent dimensions that span it; the others are 0.
        """
        across, down = plane
        values, count = norm.ppf(MANIFOLD_QUANTILES), len(MANIFOLD_QUANTILES)
        latents = np.zeros((count, count, self.latent_dim), "float32")
        latents[:, :, across] = values[None, :]
        latents[:, :, down] = values[::-1, None]  # upwards, as in the picture of the latents
        images = self.decode(latents.reshape(-1, self.latent_dim))
        labels = tuple(f"{quantile:.2f}" for quantile in MANIFOLD_QUANTILES)
        return Illustration(
            images.reshape(count, count, *self.image_shape),
            row_labels=labels[::-1],
            column_labels=labels,
            x_label=f"quantile of latent {across + 1}",
            y_label=f"quantile of latent {down + 1}",
        )

    def latents(self, means, labels, plane):
        """Where the encoder puts images of known classes: their latent means in a plane."""
        rank = "" if self.latent_dim == 2 else f" (of {self.latent_dim}; the {{}} varying)"
        x_label, y_label = (
            f"mean of latent {dimension + 1}{rank.format(place)}"
            for dimension, place in zip(plane, ("most", "second most"), strict=True)
        )
        return ClassPoints(means[:, plane], np.asarray(labels), x_label=x_label, y_label=y_label)

    def decode(self, latents):
        """The decoder's mean images as uint8."""
        logits = self.decoder.predict(latents, verbose=0)
        return to_uint8(2.0 * ops.convert_to_numpy(ops.sigmoid(logits)) - 1.0)

    def build_sampler(self, method=None):
        """Returns a sampler that decodes latents of the prior in one pass."""
        return DecoderSampler(
            network=self.decoder,
            network_passes=1,
            latent_shape=(self.latent_dim,),
            seed=self.seed,
            name="decoder",
        )


class DecoderSampler(Sampler):
    """Decodes latents to the mean image of the likelihood."""

    def call(self, inputs):
        latents, _ = inputs
        return 2.0 * ops.sigmoid(self.network(latents, training=False)) - 1.0  # latents -> images


def kl_divergences(means, log_variances):
    """KL(N(mean, variance) || N(0, 1)) in nats (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (ops.square(means) + ops.exp(log_variances) - 1.0 - log_variances)


def mean_divergences(means, log_variances):
    """Mean over the images of each latent dimension's KL divergence, in nats, as NumPy array."""
    return ops.convert_to_numpy(ops.mean(kl_divergences(means, log_variances), axis=0))


def num_collapsed(divergences):
    """Counts the latent dimensions that tell nothing about the image: posterior collapse.

    They are those whose KL divergence from the prior, mean over images, is below 0.01 nats: the
    epsilon of Lucas et al. (2019, "Don't Blame the ELBO!"), here for the mean over images.
    """
    return int(np.sum(divergences < COLLAPSED_BELOW_NATS))


def build_encoder(*, image_shape, widths, latent_dim):
    """Builds the encoder: float images in [-1, 1] -> means and log variances of the latents."""
    check_divisible(image_shape, len(widths))
    images = keras.Input(image_shape, name="images")
    features = images
    for width in widths:
        features = layers.Conv2D(width, 4, strides=2, padding="same")(features)
        features = layers.Activation("silu")(features)
        features = layers.Conv2D(width, 3, padding="same", activation="silu")(features)
    features = layers.Flatten()(features)
    features = layers.Dense(4 * widths[-1], activation="silu")(features)
    means = layers.Dense(latent_dim, name="means", dtype=OUTPUT_DTYPE)(features)
    log_variances = layers.Dense(
        latent_dim, name="log_variances", kernel_initializer="zeros", dtype=OUTPUT_DTYPE
    )
    return keras.Model(images, [means, log_variances(features)], name="encoder")


def build_decoder(*, image_shape, widths, latent_dim):
    """Builds the decoder: latents -> logits of the pixels, in the images' shape."""
    height, width, channels = image_shape
    scale = 2 ** len(widths)
    latents = keras.Input((latent_dim,), name="latents")
    features = layers.Dense(4 * widths[-1], activation="silu")(latents)
    shape = (height // scale, width // scale, widths[-1])
    features = layers.Dense(math.prod(shape), activation="silu")(features)
    features = layers.Reshape(shape)(features)
    for level_width in reversed(widths):
        features = layers.Conv2DTranspose(level_width, 4, strides=2, padding="same")(features)
        features = layers.Activation("silu")(features)
        features = layers.Conv2D(level_width, 3, padding="same", activation="silu")(features)
    logits = layers.Conv2D(channels, 3, padding="same", name="logits", dtype=OUTPUT_DTYPE)(features)
    return keras.Model(latents, logits, name="decoder")

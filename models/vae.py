"""The convolutional variational autoencoder (Kingma and Welling 2014)."""

import math

import keras
import numpy as np
from keras import layers, ops

from models.base import (
    OUTPUT_DTYPE,
    Bars,
    ClassPoints,
    GenerativeModel,
    Illustration,
    count_steps,
    to_float,
    to_uint8,
)
from models.convolutional import append_labels, check_levels, default_widths
from models.latent_plane import latent_plane
from models.likelihoods import DecoderSampler, build_likelihood
from models.samplers import Decoder

NUM_RECONSTRUCTIONS = 12
COLLAPSED_BELOW_NATS = 0.01
ENCODED_AT_ONCE = 250
LATENT_DIMS = {"grey": 16, "colour": 128}


class VAE(GenerativeModel):
    """Variational autoencoder with convolutional encoder and decoder.

    The loss is the negative evidence lower bound in nats an image: the reconstruction term summed
    over pixels plus `beta` times the KL divergence summed over latent dimensions (Kingma and
    Welling 2014, eq. 10; `beta` as in Higgins et al. 2017). With classes, encoder and decoder
    also take a one-hot label (Sohn et al. 2015).

    Args:
        image_shape: `(height, width, channels)`; the levels must divide the sizes.
        seed: Integer.
        latent_dim: Number of latent dimensions, at least 1; `None` takes 16 for grey images and
            128 for those in colour.
        base_width: Channels of the first level. They double at each level, where the resolution
            halves, and there are as many levels as leave at least 4 x 4 positions.
        widths: Channels of each level instead.
        num_classes: Number of classes that the images are conditioned on; `None` for none.
        likelihood: Of a pixel, one of `models.likelihoods`; `None` takes `"bernoulli"` for grey
            images and `"discretized_logistic"` for those in colour.
        pixel_std: Standard deviation of the Gaussian likelihood on the scale [0, 1]; `None` learns
            one for each channel.
        beta: Weight of the KL divergence, not negative.
        beta_warmup_steps: Over how many steps `beta` rises linearly from 0 (Sonderby et al. 2016).
        free_bits: Nats of KL divergence that each latent dimension has for nothing, mean over a
            batch (Kingma et al. 2016, eq. 15).
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
        latent_dim=None,
        base_width=32,
        widths=None,
        num_classes=None,
        likelihood=None,
        pixel_std=None,
        beta=1.0,
        beta_warmup_steps=0,
        free_bits=0.0,
        optimizer=None,
        name="vae",
    ):
        in_colour = image_shape[-1] > 1
        if latent_dim is None:
            latent_dim = LATENT_DIMS["colour" if in_colour else "grey"]
        if latent_dim < 1 or min(beta, beta_warmup_steps, free_bits) < 0:
            raise ValueError(
                "`latent_dim` must be at least 1; `beta`, `beta_warmup_steps` and `free_bits` must "
                f"not be negative. Received: latent_dim={latent_dim}, beta={beta}, "
                f"beta_warmup_steps={beta_warmup_steps}, free_bits={free_bits}"
            )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.beta = beta
        self.beta_warmup_steps = beta_warmup_steps
        self.free_bits = free_bits
        if beta_warmup_steps:
            self.steps_done = count_steps()
        shape = {
            "image_shape": self.image_shape,
            "widths": default_widths(self.image_shape, base_width) if widths is None else widths,
            "latent_dim": latent_dim,
            "num_classes": num_classes,
        }
        self.encoder = build_encoder(**shape)
        self.decoder = build_decoder(**shape)
        self.likelihood = build_likelihood(
            likelihood or ("discretized_logistic" if in_colour else "bernoulli"),
            num_channels=self.image_shape[-1],
            pixel_std=pixel_std,
        )
        self.reconstruction_loss = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_loss = keras.metrics.Mean(name="kl_loss")

    @property
    def network(self):
        return self.decoder

    def call(self, inputs, training=False):
        """Encodes and decodes uint8 images.

        Args:
            inputs: uint8 images, or pairs `(images, labels)` where there are classes.
            training: Whether the networks are trained.

        Returns:
            `(logits, means, log_variances)`: of the decoder, and of the latents.
        """
        images, *labels = inputs if self.num_classes else (inputs,)
        labels = [ops.cast(each, "int32") for each in labels]
        means, log_variances = self.encoder([to_float(images), *labels], training=training)
        noises = keras.random.normal(ops.shape(means), seed=self.seed_generator)
        latents = means + ops.exp(0.5 * log_variances) * noises  # eq. 10, reparameterisation
        return self.decoder([latents, *labels], training=training), means, log_variances

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """The negative evidence lower bound, in nats, mean over the batch."""
        logits, means, log_variances = y_pred
        images = x[0] if self.num_classes else x
        targets = ops.cast(images, "float32") / 255.0
        losses = self.likelihood.negative_log_likelihoods(targets, logits)
        reconstruction = ops.mean(ops.sum(losses, axis=(1, 2, 3)))
        kl_of_dimensions = ops.mean(kl_divergences(means, log_variances), axis=0)
        self.reconstruction_loss.update_state(reconstruction)
        self.kl_loss.update_state(ops.sum(kl_of_dimensions))
        if self.free_bits:
            kl_of_dimensions = ops.maximum(kl_of_dimensions, self.free_bits)
        return reconstruction + self._beta_now() * ops.sum(kl_of_dimensions)

    def _beta_now(self):
        """`beta`, or what its warm-up has reached; counts the step."""
        if not self.beta_warmup_steps:
            return self.beta
        self.steps_done.assign_add(1)
        done = ops.cast(self.steps_done, "float32") / self.beta_warmup_steps
        return self.beta * ops.minimum(1.0, done)

    def illustrate(self, images, labels):
        """Reconstructions, the KL divergence of each latent dimension, and the latent plane.

        The plane is that of the two latent dimensions that vary most over the encoded images: what
        the decoder makes of it (Kingma and Welling 2014, figure 4), and where the images lie in it.
        """
        means, log_variances = self.encode(images, labels)
        pictures = {
            "reconstructions": self.reconstructions(images, labels, means),
            "divergences": self.divergences(mean_divergences(means, log_variances)),
        }
        if self.latent_dim >= 2:
            plane = np.argsort(-means.var(axis=0), kind="stable")[:2]
            pictures["manifold"] = latent_plane(self.sampler(), plane)
            pictures["latents"] = self.latents(means, labels, plane)
        return pictures

    def facts(self, images, labels):
        """How many latent dimensions collapsed onto the prior."""
        return {"collapsed_latents": num_collapsed(mean_divergences(*self.encode(images, labels)))}

    def encode(self, images, labels):
        """Means and log variances of the latents of uint8 images, each float32 `(N, latents)`."""
        inputs = [ops.convert_to_numpy(to_float(images)), *([labels] if self.num_classes else [])]
        return self.encoder.predict(inputs, batch_size=ENCODED_AT_ONCE, verbose=0)

    def reconstructions(self, images, labels, means):
        """Real images above what the decoder makes of their latent means."""
        images, means = images[:NUM_RECONSTRUCTIONS], means[:NUM_RECONSTRUCTIONS]
        inputs = [means, *([labels[:NUM_RECONSTRUCTIONS]] if self.num_classes else [])]
        logits = self.decoder.predict(inputs, verbose=0)
        decoded = to_uint8(2.0 * ops.convert_to_numpy(ops.sigmoid(logits)) - 1.0)
        rows = np.stack([images, decoded])
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

    def latents(self, means, labels, plane):
        """Where the encoder puts images of known classes: their latent means in a plane."""
        rank = "" if self.latent_dim == 2 else f" (of {self.latent_dim}; the {{}} varying)"
        x_label, y_label = (
            f"mean of latent {dimension + 1}{rank.format(place)}"
            for dimension, place in zip(plane, ("most", "second most"), strict=True)
        )
        return ClassPoints(means[:, plane], np.asarray(labels), x_label=x_label, y_label=y_label)

    def build_sampler(self, method=None):
        """Returns a sampler that decodes latents of the prior in one pass."""
        method = method or Decoder()
        return DecoderSampler(
            network=self.decoder,
            likelihood=self.likelihood,
            output=method.output,
            latent_shape=(self.latent_dim,),
            num_classes=self.num_classes,
            seed=self.seed,
            name=method.name.replace("-", "_"),
        )


def kl_divergences(means, log_variances):
    """KL(N(mean, variance) || N(0, 1)) in nats (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (ops.square(means) + ops.exp(log_variances) - 1.0 - log_variances)


def mean_divergences(means, log_variances):
    """Mean over the images of each latent dimension's KL divergence, in nats, as NumPy array."""
    return ops.convert_to_numpy(ops.mean(kl_divergences(means, log_variances), axis=0))


def num_collapsed(divergences):
    """Counts the latent dimensions that encode nothing of the image: posterior collapse.

    They are those whose KL divergence from the prior, mean over images, is below 0.01 nats: the
    epsilon of Lucas et al. (2019, "Don't Blame the ELBO!"), here for the mean over images.
    """
    return int(np.sum(divergences < COLLAPSED_BELOW_NATS))


def build_encoder(*, image_shape, widths, latent_dim, num_classes):
    """Builds the encoder: `[images, labels?]` -> means and log variances of the latents."""
    check_levels(image_shape, widths)
    inputs = [keras.Input(image_shape, name="images")]
    features = inputs[0]
    for width in widths:
        features = layers.Conv2D(width, 4, strides=2, padding="same")(features)
        features = layers.Activation("silu")(features)
        features = layers.Conv2D(width, 3, padding="same", activation="silu")(features)
    features = append_labels(layers.Flatten()(features), inputs, num_classes)
    features = layers.Dense(4 * widths[-1], activation="silu")(features)
    means = layers.Dense(latent_dim, name="means", dtype=OUTPUT_DTYPE)(features)
    log_variances = layers.Dense(
        latent_dim, name="log_variances", kernel_initializer="zeros", dtype=OUTPUT_DTYPE
    )
    return keras.Model(inputs, [means, log_variances(features)], name="encoder")


def build_decoder(*, image_shape, widths, latent_dim, num_classes):
    """Builds the decoder: `[latents, labels?]` -> logits of the pixels, in the images' shape."""
    height, width, channels = image_shape
    scale = 2 ** len(widths)
    inputs = [keras.Input((latent_dim,), name="latents")]
    features = append_labels(inputs[0], inputs, num_classes)
    features = layers.Dense(4 * widths[-1], activation="silu")(features)
    shape = (height // scale, width // scale, widths[-1])
    features = layers.Dense(math.prod(shape), activation="silu")(features)
    features = layers.Reshape(shape)(features)
    for level_width in reversed(widths):
        features = layers.Conv2DTranspose(level_width, 4, strides=2, padding="same")(features)
        features = layers.Activation("silu")(features)
        features = layers.Conv2D(level_width, 3, padding="same", activation="silu")(features)
    logits = layers.Conv2D(channels, 3, padding="same", name="logits", dtype=OUTPUT_DTYPE)(features)
    return keras.Model(inputs, logits, name="decoder")

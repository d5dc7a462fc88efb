"""The deep convolutional generative adversarial network (Radford, Metz, Chintala 2016)."""

import math

import keras
from keras import layers, ops

from models.base import OUTPUT_DTYPE, GenerativeModel, Sampler, check_divisible, to_float

WEIGHT_STD = 0.02  # Radford et al., section 4
MOMENTUM = 0.9  # of the batch statistics


class DCGAN(GenerativeModel):
    """DCGAN with the non-saturating loss (Goodfellow et al. 2014), under plain `fit`.

    One step updates both networks from the same batch. Their losses are summed: the generator's
    passes through a discriminator whose weights are constants, the discriminator's through
    generated images that are constants, so that each weight receives its own loss's gradient.

    Args:
        image_shape: `(height, width, channels)`; the levels of `widths` must divide the sizes.
        seed: Integer.
        latent_dim: Number of latent dimensions, at least 1.
        widths: Channels of the discriminator's levels; the generator has them in reverse.
        label_smoothing: How far below 1 the discriminator's target for real images is, in [0, 1)
            (one-sided: Salimans et al. 2016, section 3.4).
        instance_noise: Standard deviation, on the images' scale [-1, 1], of the Gaussian noise that
            the discriminator sees real and generated images through (Sonderby et al. 2017). It
            falls linearly to 0.
        instance_noise_steps: After how many steps it is 0.
        spectral_norm: Whether the discriminator's layers have spectral norm 1 instead of batch
            norm (Miyato et al. 2018).
        optimizer: A `keras.optimizers.Optimizer` for both networks.
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
        label_smoothing=0.0,
        instance_noise=0.0,
        instance_noise_steps=None,
        spectral_norm=False,
        optimizer=None,
        name="dcgan",
    ):
        check_options(latent_dim, label_smoothing, instance_noise, instance_noise_steps)
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.latent_dim = latent_dim
        self.label_smoothing = label_smoothing
        self.instance_noise = instance_noise
        self.instance_noise_steps = instance_noise_steps
        if instance_noise:  # a weight, so that a run that goes on knows how far it was
            self.steps_done = keras.Variable(0.0, trainable=False, name="steps_done")
        self.generator = build_generator(
            image_shape=self.image_shape, latent_dim=latent_dim, widths=widths
        )
        self.discriminator = build_discriminator(
            image_shape=self.image_shape, widths=widths, spectral_norm=spectral_norm
        )
        self.generator_loss = keras.metrics.Mean(name="generator_loss")
        self.discriminator_loss = keras.metrics.Mean(name="discriminator_loss")

    @property
    def network(self):
        return self.generator

    def call(self, images, training=False):
        """Generates as many images in [-1, 1] as there are `images`."""
        shape = (ops.shape(images)[0], self.latent_dim)
        latents = keras.random.normal(shape, seed=self.seed_generator)
        return self.generator(latents, training=training)

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """Sum of both losses, each reaching its own network only."""
        real_images, generated_images = to_float(x), y_pred
        if self.instance_noise:
            real_images, generated_images = self._with_noise(real_images, generated_images)
        real_logits = self.discriminator(real_images, training=training)
        generated_logits = self.discriminator(
            ops.stop_gradient(generated_images), training=training
        )
        # The cross entropy with the target 1 - s: softplus(-logit) + s * logit.
        real_losses = ops.softplus(-real_logits) + self.label_smoothing * real_logits
        discriminator_loss = ops.mean(real_losses) + ops.mean(ops.softplus(generated_logits))
        generator_loss = ops.mean(ops.softplus(-self._judge(generated_images, training)))
        self.discriminator_loss.update_state(discriminator_loss)
        self.generator_loss.update_state(generator_loss)
        return discriminator_loss + generator_loss

    def build_sampler(self, method=None):
        """Returns a sampler that runs the generator once."""
        return GeneratorSampler(
            network=self.generator,
            network_passes=1,
            latent_shape=(self.latent_dim,),
            seed=self.seed,
            name="generator",
        )

    def _with_noise(self, *batches):
        """Adds the instance noise of this step, fresh for each image."""
        share_done = self.steps_done / self.instance_noise_steps
        std = self.instance_noise * ops.maximum(0.0, 1.0 - share_done)
        self.steps_done.assign_add(1.0)
        return [
            images + std * keras.random.normal(ops.shape(images), seed=self.seed_generator)
            for images in batches
        ]

    def _judge(self, images, training):
        """The discriminator's logits, its weights taken as constants."""
        logits, _ = self.discriminator.stateless_call(
            [ops.stop_gradient(v.value) for v in self.discriminator.trainable_variables],
            [v.value for v in self.discriminator.non_trainable_variables],
            images,
            training=training,
        )
        return logits


class GeneratorSampler(Sampler):
    """Turns latents into images in one pass."""

    def call(self, inputs):
        latents, _ = inputs
        return self.network(latents, training=False)  # noise -> images


def check_options(latent_dim, label_smoothing, instance_noise, instance_noise_steps):
    """Refuses what `DCGAN` cannot be built from."""
    if latent_dim < 1:
        raise ValueError(f"`latent_dim` must be at least 1. Received: latent_dim={latent_dim}")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(
            f"`label_smoothing` must be in [0, 1). Received: label_smoothing={label_smoothing}"
        )
    if instance_noise < 0.0 or (instance_noise and not instance_noise_steps):
        raise ValueError(
            "`instance_noise` must not be negative, and takes `instance_noise_steps`. Received: "
            f"instance_noise={instance_noise}, instance_noise_steps={instance_noise_steps}"
        )


def initial_weights():
    """N(0, 0.02), a fresh initializer for each layer: a reused one repeats its numbers."""
    return keras.initializers.RandomNormal(stddev=WEIGHT_STD)


def build_generator(*, image_shape, latent_dim, widths):
    """Builds the generator: latents -> images in [-1, 1] (batch norm, ReLU, tanh at the end)."""
    height, width, channels = image_shape
    scale = 2 ** len(widths)
    shape = (height // scale, width // scale, widths[-1])
    latents = keras.Input((latent_dim,), name="latents")
    features = layers.Dense(math.prod(shape), use_bias=False, kernel_initializer=initial_weights())(
        latents
    )
    features = layers.Reshape(shape)(features)
    for level_width in reversed(widths[:-1]):
        features = layers.BatchNormalization(momentum=MOMENTUM)(features)
        features = layers.ReLU()(features)
        features = layers.Conv2DTranspose(
            level_width,
            4,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=initial_weights(),
        )(features)
    features = layers.BatchNormalization(momentum=MOMENTUM)(features)
    features = layers.ReLU()(features)
    images = layers.Conv2DTranspose(
        channels,
        4,
        strides=2,
        padding="same",
        activation="tanh",
        dtype=OUTPUT_DTYPE,
        kernel_initializer=initial_weights(),
    )(features)
    return keras.Model(latents, images, name="generator")


def build_discriminator(*, image_shape, widths, spectral_norm):
    """Builds the discriminator: images -> logits (LeakyReLU; no batch norm on the first).

    With `spectral_norm` there is no batch norm. Each training pass divides the kernels by their
    largest singular value, estimated by one more step of the power iteration (Miyato et al. 2018,
    algorithm 1). On TensorFlow, Keras keeps the quotient as the kernel, so that no gradient passes
    through the division; on JAX one does, as in the paper, and the kernel stays as it is.
    """
    check_divisible(image_shape, len(widths))
    normalized = layers.SpectralNormalization if spectral_norm else lambda layer: layer
    images = keras.Input(image_shape, name="images")
    features = images
    for level, level_width in enumerate(widths):
        convolution = layers.Conv2D(
            level_width,
            4,
            strides=2,
            padding="same",
            use_bias=level == 0 or spectral_norm,
            kernel_initializer=initial_weights(),
        )
        features = normalized(convolution)(features)
        if level > 0 and not spectral_norm:
            features = layers.BatchNormalization(momentum=MOMENTUM)(features)
        features = layers.LeakyReLU(negative_slope=0.2)(features)
    features = layers.Flatten()(features)
    logits = normalized(layers.Dense(1, kernel_initializer=initial_weights(), dtype=OUTPUT_DTYPE))(
        features
    )
    return keras.Model(images, logits, name="discriminator")

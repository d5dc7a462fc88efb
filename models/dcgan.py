"""The deep convolutional generative adversarial network (Radford, Metz, Chintala 2016)."""

import math

import keras
from keras import layers, ops

from models.adversarial import accuracies, build_optimizer, frozen_logits, total_loss
from models.base import OUTPUT_DTYPE, GenerativeModel, NetworkSampler, count_steps, to_float
from models.batch_statistics import renew_batch_statistics
from models.convolutional import append_labels, check_levels, default_widths
from models.latent_plane import illustrate_plane

WEIGHT_STD = 0.02  # Radford et al., section 4
MOMENTUM = 0.9  # of the batch statistics
NUM_STATISTICS, STATISTICS_BATCH = 1280, 128  # images from which they are recomputed
ACTIVATIONS = {
    "leaky_relu": lambda: layers.LeakyReLU(negative_slope=0.2),
    "relu_capped": lambda: layers.ReLU(max_value=0.2),
}
LOGGED = ("generator_loss", "discriminator_loss", "real_accuracy", "generated_accuracy")


class DCGAN(GenerativeModel):
    """DCGAN with the non-saturating loss (Goodfellow et al. 2014), under plain `fit`.

    The losses and the two ways to update the networks are those of `models.adversarial`. With
    classes, the generator takes a one-hot label beside its latents (Mirza and Osindero 2014) and
    the discriminator adds the projection of its features on the label's embedding to its logit
    (Miyato and Koyama 2018).

    Args:
        image_shape: `(height, width, channels)`; the levels must divide the sizes.
        seed: Integer.
        latent_dim: Number of latent dimensions, at least 1.
        base_width: Channels of the discriminator's first level. They double at each level, and
            there are as many levels as leave at least 4 x 4 positions: 2 for 28 x 28 pixels, 4
            for 64 x 64 (Radford et al. 2016, figure 1).
        widths: Channels of the discriminator's levels instead; the generator has them in reverse.
        num_classes: Number of classes that the images are conditioned on; `None` for none.
        activation: Of the discriminator's levels: `"leaky_relu"`, as in the paper, with a slope of
            0.2; or `"relu_capped"`, a ReLU that ends at 0.2, by which some tutorials replace it.
        alternating: Whether steps update the discriminator and the generator in turns, each
            with a batch of its own, or both at once from the same batch.
        label_smoothing: How far below 1 the discriminator's target for real images is, in [0, 1)
            (one-sided: Salimans et al. 2016, section 3.4).
        instance_noise: Standard deviation, on the images' scale [-1, 1], of the Gaussian noise that
            the discriminator sees real and generated images through (Sonderby et al. 2017). It
            falls linearly to 0.
        instance_noise_steps: After how many steps it is 0.
        spectral_norm: Whether the discriminator's layers have spectral norm 1 instead of batch
            norm (Miyato et al. 2018).
        generator_optimizer: A `keras.optimizers.Optimizer`.
        discriminator_optimizer: Likewise.
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
        base_width=64,
        widths=None,
        num_classes=None,
        activation="leaky_relu",
        alternating=False,
        label_smoothing=0.0,
        instance_noise=0.0,
        instance_noise_steps=None,
        spectral_norm=False,
        generator_optimizer=None,
        discriminator_optimizer=None,
        name="dcgan",
    ):
        check_options(latent_dim, activation, label_smoothing, instance_noise, instance_noise_steps)
        optimizer = build_optimizer(
            generator_optimizer, discriminator_optimizer, alternating=alternating
        )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.alternating = alternating
        self.label_smoothing = label_smoothing
        self.instance_noise = instance_noise
        self.instance_noise_steps = instance_noise_steps
        self.steps_done = count_steps()
        shape = {
            "image_shape": self.image_shape,
            "widths": default_widths(self.image_shape, base_width) if widths is None else widths,
            "num_classes": num_classes,
        }
        with keras.name_scope("generator"):
            self.generator = build_generator(latent_dim=latent_dim, **shape)
        with keras.name_scope("discriminator"):
            self.discriminator = build_discriminator(
                activation=activation, spectral_norm=spectral_norm, **shape
            )
        self.means = {key: keras.metrics.Mean(name=key) for key in LOGGED}

    @property
    def network(self):
        return self.generator

    def call(self, inputs, training=False):
        """Draws latents, one vector for each of the images."""
        images = inputs[0] if self.num_classes else inputs
        shape = (ops.shape(images)[0], self.latent_dim)
        return keras.random.normal(shape, seed=self.seed_generator)

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of both losses, or that of the network whose turn it is."""
        images, *labels = x if self.num_classes else (x,)
        real_images, labels = to_float(images), [ops.cast(each, "int32") for each in labels]
        noises = self._instance_noises(real_images)

        def generate():
            return self.generator([y_pred, *labels], training=training) + noises[1]

        def generator_losses(generated_images):
            logits = frozen_logits(
                self.discriminator, [generated_images, *labels], training=training
            )
            return {"generator_loss": ops.mean(ops.softplus(-logits))}

        def discriminator_losses(generated_images):
            real_logits = self.discriminator([real_images + noises[0], *labels], training=training)
            generated_logits = self.discriminator(
                [ops.stop_gradient(generated_images), *labels], training=training
            )
            # The cross entropy with the target 1 - s: softplus(-logit) + s * logit.
            real_losses = ops.softplus(-real_logits) + self.label_smoothing * real_logits
            loss = ops.mean(real_losses) + ops.mean(ops.softplus(generated_logits))
            return {"discriminator_loss": loss, **accuracies(real_logits, generated_logits)}

        return total_loss(self, generate, generator_losses, discriminator_losses)

    def update_statistics(self):
        """Recomputes the batch statistics for the weights as they are, which may be averages."""
        sampler = self.sampler()
        starts = range(0, NUM_STATISTICS, STATISTICS_BATCH)
        batches = (
            map(ops.convert_to_tensor, sampler.inputs(start, STATISTICS_BATCH)) for start in starts
        )
        inputs = [sampler.network_inputs(*batch) for batch in batches]
        renew_batch_statistics(self.generator, inputs)

    def illustrate(self, images, labels):
        """The latent plane, or what two directions through the latent space change."""
        return illustrate_plane(self.sampler())

    def build_sampler(self, method=None):
        """Returns a sampler that runs the generator once."""
        return NetworkSampler(
            network=self.generator,
            network_passes=1,
            latent_shape=(self.latent_dim,),
            num_classes=self.num_classes,
            seed=self.seed,
            name="generator",
        )

    def _instance_noises(self, images):
        """The instance noise of this step for real and for generated images, 0 if there is none."""
        if not self.instance_noise:
            return 0.0, 0.0
        done = ops.cast(self.steps_done, "float32") / self.instance_noise_steps
        std = self.instance_noise * ops.maximum(0.0, 1.0 - done)
        return [
            std * keras.random.normal(ops.shape(images), seed=self.seed_generator) for _ in range(2)
        ]


def check_options(latent_dim, activation, label_smoothing, instance_noise, instance_noise_steps):
    """Refuses what `DCGAN` cannot be built from."""
    if latent_dim < 1:
        raise ValueError(f"`latent_dim` must be at least 1. Received: latent_dim={latent_dim}")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"`activation` must be one of {tuple(ACTIVATIONS)}. Received: activation={activation!r}"
        )
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


def build_generator(*, image_shape, latent_dim, widths, num_classes):
    """Builds the generator: `[latents, labels?]` -> images in [-1, 1].

    Batch norm and ReLU between transposed convolutions, tanh at the end.
    """
    check_levels(image_shape, widths)
    height, width, channels = image_shape
    scale = 2 ** len(widths)
    shape = (height // scale, width // scale, widths[-1])
    inputs = [keras.Input((latent_dim,), name="latents")]
    features = append_labels(inputs[0], inputs, num_classes)
    features = layers.Dense(math.prod(shape), use_bias=False, kernel_initializer=initial_weights())(
        features
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
    return keras.Model(inputs, images, name="generator")


def build_discriminator(*, image_shape, widths, num_classes, activation, spectral_norm):
    """Builds the discriminator: `[images, labels?]` -> logits, with no batch norm at first.

    With `spectral_norm` there is no batch norm. Each training pass divides the kernels by their
    largest singular value, estimated by one more step of the power iteration (Miyato et al. 2018,
    algorithm 1). On TensorFlow, Keras keeps the quotient as the kernel, so that no gradient passes
    through the division; on JAX one does, as in the paper, and the kernel stays as it is.
    """
    normalized = layers.SpectralNormalization if spectral_norm else lambda layer: layer
    inputs = [keras.Input(image_shape, name="images")]
    features = inputs[0]
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
        features = ACTIVATIONS[activation]()(features)
    features = layers.Flatten()(features)
    logits = normalized(layers.Dense(1, kernel_initializer=initial_weights(), dtype=OUTPUT_DTYPE))(
        features
    )
    if num_classes is not None:
        inputs.append(keras.Input((), dtype="int32", name="labels"))
        dim = features.shape[-1]
        embeddings = layers.Embedding(num_classes, dim, embeddings_initializer=initial_weights())
        projections = layers.Dot(axes=1, dtype=OUTPUT_DTYPE)([features, embeddings(inputs[-1])])
        logits = logits + projections
    return keras.Model(inputs, logits, name="discriminator")

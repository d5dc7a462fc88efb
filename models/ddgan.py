"""The denoising diffusion GAN (Xiao, Kreis, Vahdat 2022).

The diffusion takes few steps, each so large that what it undoes has many modes. A GAN learns each
of them: what the image at time t was at time t - 1. As in the paper, t = 0 is the image. In the
code, `states` are at time t - 1 and `noisier_states` at time t.
"""

import keras
import numpy as np
from keras import layers, ops

from models.adversarial import (
    PERIOD,
    accuracies,
    build_optimizer,
    cond,
    frozen_logits,
    total_loss,
)
from models.base import (
    OUTPUT_DTYPE,
    GenerativeModel,
    Illustration,
    count_steps,
    to_float,
    to_uint8,
)
from models.discriminator import GROUP_SIZE, build_discriminator
from models.gradients import with_input_gradients
from models.reverse_process import NUM_ILLUSTRATED, DiffusionSampler
from models.samplers import DDPM
from models.schedules import VariancePreservingSchedule
from models.unet import build_unet

LOGGED = (
    "generator_loss",
    "discriminator_loss",
    "gradient_penalty",
    "real_accuracy",
    "generated_accuracy",
)


class DenoisingDiffusionGAN(GenerativeModel):
    """Denoising diffusion GAN with R1 (Mescheder et al. 2018), under plain `fit`.

    R1 is applied at some of the discriminator's steps only, without a larger weight there, as in
    the authors' code.

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        num_steps: T, the number of denoising steps, at least 1; 4 in the paper.
        latent_dim: Number of latent dimensions of each step.
        r1_gamma: Weight of the squared gradient of the discriminator at real states.
        r1_interval: R1 is applied at every so many of the discriminator's steps, at least 1.
        discriminator_widths: Channels of each level of the discriminator, at least one.
        num_classes: Number of classes that the images are conditioned on; `None` for none.
        alternating: Whether steps update the discriminator and the generator in turns, each with
            times, noises and latents of its own (see `models.adversarial`), as in the paper, or
            each step updates both.
        generator_optimizer: An optimizer of `models.optimizers`.
        discriminator_optimizer: Likewise.
        name: Name of the model.
        **unet: Options of `models.unet.build_unet`, for the generator.

    Raises:
        ValueError: If an argument is out of its range.
    """

    batch_multiple = GROUP_SIZE

    def __init__(
        self,
        *,
        image_shape,
        seed,
        num_steps,
        latent_dim,
        r1_gamma,
        discriminator_widths,
        r1_interval=15,
        num_classes=None,
        alternating=True,
        generator_optimizer=None,
        discriminator_optimizer=None,
        name="ddgan",
        **unet,
    ):
        if num_steps < 1 or r1_gamma < 0.0 or r1_interval < 1:
            raise ValueError(
                "`num_steps` and `r1_interval` must be at least 1, `r1_gamma` not negative. "
                f"Received: num_steps={num_steps}, r1_interval={r1_interval}, r1_gamma={r1_gamma}"
            )
        optimizer = build_optimizer(
            generator_optimizer, discriminator_optimizer, alternating=alternating
        )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.num_steps = num_steps
        self.latent_dim = latent_dim
        self.r1_gamma = r1_gamma
        self.r1_interval = r1_interval
        self.num_classes = num_classes
        self.alternating = alternating
        self.steps_done = count_steps()
        method = DDPM(num_steps=num_steps)
        schedule = VariancePreservingSchedule(num_timesteps=num_steps)
        self.steps = method.reverse_steps(schedule)
        _, self.alpha_bars, self.next_alpha_bars = method.timesteps(schedule)
        shape = {"image_shape": self.image_shape, "num_classes": num_classes}
        with keras.name_scope("generator"):
            self.generator = build_generator(latent_dim=latent_dim, **shape, **unet)
        with keras.name_scope("discriminator"):
            self.discriminator = build_discriminator(widths=discriminator_widths, **shape)
        self.means = {key: keras.metrics.Mean(name=key) for key in LOGGED}

    @property
    def network(self):
        return self.generator

    def call(self, inputs, training=False):
        """Noises images (uint8) for random numbers of steps.

        Returns:
            `(indices, real_states, noisier_states)`: the numbers of the steps, x_{t-1} and x_t.
        """
        images = to_float(inputs[0] if self.num_classes else inputs)
        shape = (ops.shape(images)[0],)
        indices = keras.random.randint(shape, 0, self.num_steps, seed=self.seed_generator)
        return indices, *self.diffuse(images, indices)

    def diffuse(self, images, indices):
        """Draws from q(x_{t-1} | x_0), then from q(x_t | x_{t-1}).

        Args:
            images: Float `(batch, height, width, channels)` in [-1, 1].
            indices: Numbers of the steps, int `(batch,)`, the noisiest being 0.

        Returns:
            `(states, noisier_states)`, x_{t-1} and x_t.
        """
        next_alpha_bars = _of_each(self.next_alpha_bars, indices)
        alphas = _of_each(self.alpha_bars / self.next_alpha_bars, indices)
        noises = ops.sqrt(1.0 - next_alpha_bars) * self._noises(images)
        states = ops.sqrt(next_alpha_bars) * images + noises
        noisier_states = ops.sqrt(alphas) * states + ops.sqrt(1.0 - alphas) * self._noises(images)
        return states, noisier_states

    def denoise(self, predicted_images, noisier_states, indices, noises):
        """Draws from q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 6) with x_0 as predicted."""
        return (
            _of_each(self.steps.image_weights, indices) * predicted_images
            + _of_each(self.steps.state_weights, indices) * noisier_states
            + _of_each(self.steps.stds, indices) * noises
        )

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """The non-saturating loss of the network whose turn it is, or of both, with R1 if due."""
        indices, real_states, noisier_states = y_pred
        times = ops.take(ops.convert_to_tensor(self.steps.times), indices)
        labels = [ops.cast(x[1], "int32")] if self.num_classes else []
        updates = self.steps_done // (PERIOD if self.alternating else 1)  # of the discriminator
        is_due = ops.equal(updates % self.r1_interval, 0)
        noises, latents = self._noises(noisier_states), self._latents(ops.shape(times)[0])

        def generate():
            inputs = [noisier_states, times, *labels, latents]
            predicted_images = self.generator(inputs, training=training)
            return self.denoise(predicted_images, noisier_states, indices, noises)

        def generator_losses(generated_states):
            inputs = [generated_states, noisier_states, times, *labels]
            logits = frozen_logits(self.discriminator, inputs, training=training)
            return {"generator_loss": ops.mean(ops.softplus(-logits))}

        def logits_of(states):
            inputs = [states, noisier_states, times, *labels]
            return self.discriminator(inputs, training=training)

        def discriminator_losses(generated_states):
            real_logits = logits_of(real_states)
            generated_logits = logits_of(ops.stop_gradient(generated_states))
            return {
                "discriminator_loss": ops.mean(ops.softplus(-real_logits))
                + ops.mean(ops.softplus(generated_logits)),
                "gradient_penalty": self._gradient_penalty(logits_of, real_states, is_due),
                **accuracies(real_logits, generated_logits),
            }

        return total_loss(self, generate, generator_losses, discriminator_losses)

    def _gradient_penalty(self, function, states, is_due):
        """R1 (Mescheder et al. 2018, eq. 9) where it is due, else 0."""

        def penalize():
            _, gradients = with_input_gradients(function, states)
            squared_norms = ops.sum(ops.square(gradients), axis=(1, 2, 3))
            return 0.5 * self.r1_gamma * ops.mean(squared_norms)

        return cond(is_due, penalize, lambda: ops.zeros(()), self.discriminator.variables)

    def build_sampler(self, method=None):
        """Returns a `DiffusionSampler` that takes all steps, each with latents of its own."""
        return DiffusionSampler(
            unet=self.generator,
            steps=self.steps,
            prediction="image",
            num_classes=self.num_classes,
            latent_dim=self.latent_dim,
            seed=self.seed,
            name=f"{self.name}_{self.num_steps}",
        )

    def illustrate(self, images, labels):
        """What the generator predicts at each step of a few samples."""
        sampler = self.sampler()
        states, seeds = map(ops.convert_to_tensor, sampler.inputs(0, NUM_ILLUSTRATED))
        columns, column_labels, predicted_images = [], [], None
        for index in range(self.num_steps):
            columns.append(ops.convert_to_numpy(states))
            column_labels.append(f"t = {self.num_steps - index}")
            states, predicted_images = sampler.reverse_step(index, states, predicted_images, seeds)
            columns.append(ops.convert_to_numpy(predicted_images))
            column_labels.append("predicted")
        images = to_uint8(np.stack(columns, axis=1))
        return {"predictions": Illustration(images, column_labels=tuple(column_labels))}

    def _latents(self, count):
        return keras.random.normal((count, self.latent_dim), seed=self.seed_generator)

    def _noises(self, images):
        return keras.random.normal(ops.shape(images), seed=self.seed_generator)


def build_generator(**options):
    """Builds the U-Net with tanh at its end: `[states, times, latents] -> images` in [-1, 1]."""
    unet = build_unet(**options)
    images = layers.Activation("tanh", dtype=OUTPUT_DTYPE)(unet.output)
    return keras.Model(unet.inputs, images, name="generator")


def _of_each(values, indices):
    """Takes the coefficient of each image's step, to be multiplied with images."""
    chosen = ops.take(ops.convert_to_tensor(values, "float32"), indices)
    return chosen[:, None, None, None]

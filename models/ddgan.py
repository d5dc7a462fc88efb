"""The denoising diffusion GAN (Xiao, Kreis, Vahdat 2022).

The diffusion takes few steps, each so large that what it undoes has many modes. A GAN learns each
of them: what the image at time t was at time t - 1. As in the paper, t = 0 is the image. In the
code, `states` are at time t - 1 and `noisier_states` at time t.
"""

import keras
import numpy as np
from keras import layers, ops

from models.base import OUTPUT_DTYPE, GenerativeModel, Illustration, to_float, to_uint8
from models.discriminator import GROUP_SIZE, build_discriminator
from models.gradients import with_input_gradients
from models.reverse_process import NUM_ILLUSTRATED, DiffusionSampler
from models.samplers import DDPM
from models.schedules import VariancePreservingSchedule
from models.unet import build_unet


class DenoisingDiffusionGAN(GenerativeModel):
    """Denoising diffusion GAN with R1 (Mescheder et al. 2018), under plain `fit`.

    One step updates both networks from the same batch, as in `models.dcgan.DCGAN`. R1 is applied
    at every step, where the paper applies it at every fifteenth, and at all of its weight.

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        num_steps: T, the number of denoising steps, at least 1; 4 in the paper.
        latent_dim: Number of latent dimensions of each step.
        r1_gamma: Weight of the squared gradient of the discriminator at real states.
        discriminator_widths: Channels of each level of the discriminator, at least one.
        optimizer: A `keras.optimizers.Optimizer` for both networks.
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
        optimizer=None,
        name="ddgan",
        **unet,
    ):
        if num_steps < 1 or r1_gamma < 0.0:
            raise ValueError(
                "`num_steps` must be at least 1 and `r1_gamma` not negative. Received: "
                f"num_steps={num_steps}, r1_gamma={r1_gamma}"
            )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.num_steps = num_steps
        self.latent_dim = latent_dim
        self.r1_gamma = r1_gamma
        method = DDPM(num_steps=num_steps)
        schedule = VariancePreservingSchedule(num_timesteps=num_steps)
        self.steps = method.reverse_steps(schedule)
        _, self.alpha_bars, self.following_alpha_bars = method.walk(schedule)
        self.generator = build_generator(
            image_shape=self.image_shape, latent_dim=latent_dim, **unet
        )
        self.discriminator = build_discriminator(
            image_shape=self.image_shape, widths=discriminator_widths
        )
        self.means = {
            key: keras.metrics.Mean(name=key)
            for key in ("generator_loss", "discriminator_loss", "gradient_penalty")
        }

    @property
    def network(self):
        return self.generator

    def call(self, images, training=False):
        """Noises images (uint8) for random numbers of steps, and takes back one by the generator.

        Returns:
            `(times, noisier_states, real_states, generated_states)`.
        """
        images = to_float(images)
        count = ops.shape(images)[0]
        indices = keras.random.randint((count,), 0, self.num_steps, seed=self.seed_generator)
        times = ops.take(ops.convert_to_tensor(self.steps.times), indices)
        real_states, noisier_states = self.diffuse(images, indices)
        latents = keras.random.normal((count, self.latent_dim), seed=self.seed_generator)
        predicted_images = self.generator([noisier_states, times, latents], training=training)
        generated_states = self.denoise(predicted_images, noisier_states, indices)
        return times, noisier_states, real_states, generated_states

    def diffuse(self, images, indices):
        """Draws from q(x_{t-1} | x_0), then from q(x_t | x_{t-1}).

        Args:
            images: Float `(batch, height, width, channels)` in [-1, 1].
            indices: Numbers of the steps, int `(batch,)`, the noisiest being 0.

        Returns:
            `(states, noisier_states)`, x_{t-1} and x_t.
        """
        following = _of_each(self.following_alpha_bars, indices)
        alphas = _of_each(self.alpha_bars / self.following_alpha_bars, indices)
        states = ops.sqrt(following) * images + ops.sqrt(1.0 - following) * self._noises(images)
        noisier_states = ops.sqrt(alphas) * states + ops.sqrt(1.0 - alphas) * self._noises(images)
        return states, noisier_states

    def denoise(self, predicted_images, noisier_states, indices):
        """Draws from q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 6) with x_0 as predicted."""
        return (
            _of_each(self.steps.image_weights, indices) * predicted_images
            + _of_each(self.steps.state_weights, indices) * noisier_states
            + _of_each(self.steps.stds, indices) * self._noises(noisier_states)
        )

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """Sum of both non-saturating losses and R1, each reaching its own network only."""
        times, noisier_states, real_states, generated_states = y_pred

        def discriminate(states):
            return self.discriminator([states, noisier_states, times], training=training)

        real_logits, gradients = with_input_gradients(discriminate, real_states)
        generated_logits = discriminate(ops.stop_gradient(generated_states))
        judged_logits = self._judge([generated_states, noisier_states, times], training)
        squared_norms = ops.sum(ops.square(gradients), axis=(1, 2, 3))
        losses = {
            "generator_loss": ops.mean(ops.softplus(-judged_logits)),
            "discriminator_loss": ops.mean(ops.softplus(-real_logits))
            + ops.mean(ops.softplus(generated_logits)),
            # Mescheder et al. 2018, eq. 9
            "gradient_penalty": 0.5 * self.r1_gamma * ops.mean(squared_norms),
        }
        for key, loss in losses.items():
            self.means[key].update_state(loss)
        return sum(losses.values())

    def build_sampler(self, method=None):
        """Returns a `DiffusionSampler` that takes all steps, each with latents of its own."""
        return DiffusionSampler(
            unet=self.generator,
            steps=self.steps,
            prediction="image",
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

    def _judge(self, inputs, training):
        """The discriminator's logits, its weights taken as constants."""
        logits, _ = self.discriminator.stateless_call(
            [ops.stop_gradient(v.value) for v in self.discriminator.trainable_variables],
            [v.value for v in self.discriminator.non_trainable_variables],
            inputs,
            training=training,
        )
        return logits

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

"""Denoising diffusion: training and the compiled reverse process.

With alpha_bar as in Ho et al. (2020), `signal_rate` is sqrt(alpha_bar) and `noise_rate` is
sqrt(1 - alpha_bar), both standard deviations: noisy = signal_rate * image + noise_rate * noise.
"""

import keras
import numpy as np
from keras import ops

from models.base import GenerativeModel, Illustration, Sampler, to_float, to_uint8
from models.noise import step_noise
from models.samplers import DDPM
from models.schedules import linear_alpha_bars
from models.unet import build_unet

PREDICTIONS = ("noise", "velocity", "image")
NUM_ILLUSTRATED, NUM_ILLUSTRATED_STEPS = 5, 11


class DiffusionModel(GenerativeModel):
    """Denoising diffusion probabilistic model (Ho, Jain, Abbeel 2020).

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        num_timesteps: T, the number of noise levels.
        prediction: What the network learns: `"noise"` (Ho et al. 2020), `"image"` or `"velocity"`
            (Salimans and Ho 2022).
        optimizer: A `keras.optimizers.Optimizer`.
        name: Name of the model.
        **unet: Options of `models.unet.build_unet`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        image_shape,
        seed,
        num_timesteps,
        prediction="noise",
        optimizer=None,
        name="ddpm",
        **unet,
    ):
        if prediction not in PREDICTIONS:
            raise ValueError(
                f"`prediction` must be one of {PREDICTIONS}. Received: prediction={prediction!r}"
            )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.num_timesteps = num_timesteps
        self.alpha_bars = linear_alpha_bars(num_timesteps)
        self.prediction = prediction
        self.unet = build_unet(image_shape=self.image_shape, **unet)

    @property
    def network(self):
        return self.unet

    def call(self, images, training=False):
        """Noises `images` (uint8) to random time steps; returns the network's output and target."""
        images = to_float(images)
        timesteps, noises = self._draw(ops.shape(images))
        signal_rates, noise_rates = self._rates(timesteps)
        noisy_images = signal_rates * images + noise_rates * noises  # Ho et al. 2020, eq. 4
        targets = {
            "noise": noises,
            "velocity": signal_rates * noises - noise_rates * images,
            "image": images,
        }
        return self.unet([noisy_images, timesteps], training=training), targets[self.prediction]

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean squared error of the prediction (for noise: Ho et al. 2020, eq. 14)."""
        predictions, targets = y_pred
        return ops.mean(ops.square(predictions - targets))

    def illustrate(self, images):
        """The forward process (eq. 4) on a few images: data -> noise."""
        images = images[:NUM_ILLUSTRATED] / 127.5 - 1.0
        timesteps = np.linspace(0, self.num_timesteps - 1, NUM_ILLUSTRATED_STEPS).astype(int)
        noises = np.random.default_rng(self.seed).standard_normal(images.shape)
        alpha_bars = self.alpha_bars[timesteps][None, :, None, None, None]
        noisy_images = (
            np.sqrt(alpha_bars) * images[:, None] + np.sqrt(1.0 - alpha_bars) * noises[:, None]
        )
        labels = tuple(str(timestep + 1) for timestep in timesteps)
        return {
            "forward": Illustration(
                to_uint8(noisy_images), column_labels=labels, x_label="steps of noise"
            )
        }

    def sampler(self, method=None):
        """Returns a `DiffusionSampler` that takes the steps of `method` (default: all of DDPM)."""
        method = method or DDPM(self.num_timesteps)
        return DiffusionSampler(
            unet=self.unet,
            steps=method.reverse_steps(self.alpha_bars),
            prediction=self.prediction,
            seed=self.seed,
            name=method.name.replace("-", "_"),
        )

    def _draw(self, shape):
        timesteps = keras.random.randint(shape[:1], 0, self.num_timesteps, seed=self.seed_generator)
        return timesteps, keras.random.normal(shape, seed=self.seed_generator)

    def _rates(self, timesteps):
        alpha_bars = ops.convert_to_tensor(self.alpha_bars, "float32")
        alpha_bars = ops.take(alpha_bars, timesteps)[:, None, None, None]
        return ops.sqrt(alpha_bars), ops.sqrt(1.0 - alpha_bars)


class DiffusionSampler(Sampler):
    """Runs the reverse process: one compiled loop over a table of steps.

    Args:
        unet: Network with the inputs `[images, timesteps]`.
        steps: `models.samplers.ReverseSteps`.
        prediction: What the network predicts, as for `DiffusionModel`.
        seed: Integer.
        name: Name of the sampler.
    """

    def __init__(self, *, unet, steps, seed, name, prediction="noise"):
        super().__init__(
            network=unet,
            network_passes=len(steps.timesteps),
            latent_shape=unet.inputs[0].shape[1:],
            seed=seed,
            name=name,
        )
        self.steps = steps
        self.prediction = prediction

    def call(self, inputs):
        """Maps `(latents, seeds)` to images in [-1, 1]: noise -> images."""
        latents, seeds = inputs

        def body(index, images):
            return self.reverse_step(index, images, seeds)

        images = ops.fori_loop(0, self.network_passes, body, latents)
        return ops.clip(images, -1.0, 1.0)

    def reverse_step(self, index, images, seeds):
        """One step of the reverse process, with the predicted image clipped to [-1, 1]."""

        def coefficient(name):
            return ops.take(ops.convert_to_tensor(getattr(self.steps, name), "float32"), index)

        signal_rate, noise_rate = coefficient("signal_rates"), coefficient("noise_rates")
        output = self.network(self.pass_inputs(images, index), training=False)
        predicted_images = {
            "noise": lambda: (images - noise_rate * output) / signal_rate,
            "velocity": lambda: signal_rate * images - noise_rate * output,
            "image": lambda: output,
        }[self.prediction]()
        predicted_images = ops.clip(predicted_images, -1.0, 1.0)
        predicted_noises = (images - signal_rate * predicted_images) / noise_rate
        means = (
            coefficient("image_weights") * predicted_images
            + coefficient("noise_weights") * predicted_noises
            + coefficient("state_weights") * images
        )
        if not np.any(self.steps.stds):
            return means
        noises = step_noise(seeds, index, self.latent_shape)
        return means + coefficient("stds") * noises

    def pass_inputs(self, latents, index=0):
        """The U-Net's inputs: images and their time step, that of step number `index`."""
        timesteps = ops.take(ops.convert_to_tensor(self.steps.timesteps, "int32"), index)
        return [latents, ops.broadcast_to(timesteps, ops.shape(latents)[:1])]

    def trajectory(self, latents, seeds, indices):
        """The images after the steps numbered `indices`, for pictures of the reverse process.

        Returns:
            float32 `(len(indices), batch, height, width, channels)`, clipped to [-1, 1].
        """
        images, frames = ops.convert_to_tensor(latents), {}
        seeds = ops.convert_to_tensor(seeds)
        for index in range(self.network_passes):
            images = self.reverse_step(index, images, seeds)
            if index in indices:
                frames[index] = np.clip(ops.convert_to_numpy(images), -1.0, 1.0)
        return np.stack([frames[index] for index in indices])

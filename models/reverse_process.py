"""The reverse process of diffusion models: from noise to images in one compiled loop."""

import functools

import numpy as np
from keras import ops

from models.base import Animation, Illustration, Program, Sampler, to_uint8
from models.noise import step_noise
from models.standardization import destandardized, standardized

NUM_ANIMATED, NUM_FRAMES = 25, 41
NUM_NOISED_FRAMES = 15  # on the way into the noise
NUM_ILLUSTRATED, NUM_ILLUSTRATED_STEPS = 5, 11


class DiffusionSampler(Sampler):
    """Runs the reverse process: one compiled loop over a table of steps.

    Image i of a class-conditional model is of class i modulo `num_classes`.

    Args:
        unet: Network with the inputs `[images, times]`, then `intervals` where `steps` has them,
            `labels` where there are classes and `latents` where there is a `latent_dim`. Output
            channels beyond those of the images say how large the variances are; only steps of
            learned variance look at them.
        steps: `models.samplers.ReverseSteps`.
        seed: Integer.
        name: Name of the sampler.
        prediction: What the network predicts, as for `DiffusionModel`.
        clip_predicted_images: Whether predicted images are clipped to [-1, 1].
        num_classes: Number of classes, or `None`.
        guidance_scale: As for `models.samplers.ReverseMethod`.
        latent_dim: Number of standard normal numbers that each pass takes besides, or `None`.
        standardization: The `models.standardization.Standardization` of the images that the network
            was trained with, or `None`. The states of the reverse process are standardised.
    """

    def __init__(
        self,
        *,
        unet,
        steps,
        seed,
        name,
        prediction="noise",
        clip_predicted_images=True,
        num_classes=None,
        guidance_scale=1.0,
        latent_dim=None,
        standardization=None,
    ):
        self.steps = steps
        self.prediction = prediction
        self.clip_predicted_images = clip_predicted_images
        self.guidance_scale = guidance_scale
        self.latent_dim = latent_dim
        self.standardization = standardization
        self.num_steps = len(steps.times)
        self.deterministic = latent_dim is None and not np.any(steps.stds)
        super().__init__(
            network=unet,
            network_passes=self.num_steps * (1 if guidance_scale == 1.0 else 2),
            latent_shape=unet.inputs[0].shape[1:],
            seed=seed,
            num_classes=num_classes,
            name=name,
        )
        if standardization is not None:
            self.parts = [unet, standardization]

    @classmethod
    def of_method(cls, method, steps, **options):
        """A sampler that takes `steps`, with the options of a method.

        Args:
            method: A `models.samplers.ReverseMethod` or `models.flow_samplers.FlowMethod`.
            steps: Its `models.samplers.ReverseSteps`.
            **options: As of the constructor: what does not follow from the method.
        """
        return cls(
            steps=steps,
            clip_predicted_images=method.clip_predicted_images,
            guidance_scale=method.guidance_scale,
            name=method.name.replace("-", "_"),
            **options,
        )

    def call(self, inputs):
        """Maps `(latents, seeds)` to images in [-1, 1]: noise -> images."""
        latents, seeds = inputs
        return self.images_of(self.denoise(latents, seeds))

    def images_of(self, states):
        """Images in [-1, 1], as `states` show them."""
        return ops.clip(destandardized(states, self.standardization), -1.0, 1.0)

    def denoise(self, images, seeds, start=0, predict=None):
        """Runs the steps from number `start` on; `predict` as for `reverse_step`."""

        def body(index, carried):
            return self.reverse_step(index, *carried, seeds, predict)

        carried = (images, ops.zeros_like(images))
        images, _ = ops.fori_loop(start, self.num_steps, body, carried)
        return images

    def reverse_step(self, index, images, previous_images, seeds, predict=None):
        """One step of the reverse process.

        Args:
            index: Number of the step.
            images: The state, `(batch, height, width, channels)`.
            previous_images: The image that was predicted one step before.
            seeds: uint32 `(batch, 2)`.
            predict: `predict_guided`, the default, or `predict_without_class`.

        Returns:
            The next state and the predicted image.
        """

        def coefficient(name):
            return ops.take(ops.convert_to_tensor(getattr(self.steps, name), "float32"), index)

        signal_rate, noise_rate = coefficient("signal_rates"), coefficient("noise_rates")
        outputs = (predict or self.predict_guided)(images, index, seeds)
        predictions, values = split_outputs(outputs, self.latent_shape[-1])
        predicted_images = predict_images(
            self.prediction, predictions, images, signal_rate, noise_rate
        )
        if self.clip_predicted_images:
            predicted_images = standardized(self.images_of(predicted_images), self.standardization)
        predicted_noises = (images - signal_rate * predicted_images) / noise_rate
        means = (
            coefficient("image_weights") * predicted_images
            + coefficient("noise_weights") * predicted_noises
            + coefficient("state_weights") * images
        )
        if np.any(self.steps.previous_image_weights):
            means = means + coefficient("previous_image_weights") * previous_images
        if not self.deterministic:
            stds = coefficient("stds")
            if self.steps.std_ratios is not None:  # Nichol and Dhariwal 2021, eq. 15
                stds = stds * coefficient("std_ratios") ** variance_fractions(values)
            means = means + stds * step_noise(seeds, index, self.latent_shape)
        return means, predicted_images

    def predict_guided(self, images, index, seeds):
        """The network's output, with classifier-free guidance (Ho and Salimans 2022, eq. 6).

        Any prediction is a linear function of the noise at a given state, so that guiding it is
        guiding the noise. A learned variance is that of the class.
        """
        if self.num_classes is None:
            return self.predict_without_class(images, index, seeds)
        latents = self.network_latents(index, seeds)
        labels = ops.cast(seeds[:, 1], "int32") % self.num_classes
        if self.guidance_scale == 1.0:
            inputs = self.network_inputs(images, index, labels, *latents)
            return self.network(inputs, training=False)
        both = self.network_inputs(
            ops.concatenate([images, images]),
            index,
            ops.concatenate([labels, ops.full_like(labels, self.num_classes)]),
            *(ops.concatenate([values, values]) for values in latents),
        )
        conditional, unconditional = ops.split(self.network(both, training=False), 2)
        guided = unconditional + self.guidance_scale * (conditional - unconditional)
        channels = self.latent_shape[-1]
        return ops.concatenate([guided[..., :channels], conditional[..., channels:]], axis=-1)

    def predict_without_class(self, images, index, seeds):
        """The network's output without a class, in one pass."""
        conditions = self.network_latents(index, seeds)
        if self.num_classes is not None:
            no_class = ops.full_like(seeds[:, 1], self.num_classes, dtype="int32")
            conditions = [no_class, *conditions]
        return self.network(self.network_inputs(images, index, *conditions), training=False)

    def network_latents(self, index, seeds):
        """The latents of step number `index`, a list of at most one `(batch, latent_dim)`."""
        if self.latent_dim is None:
            return []
        # The numbers from 0 on are those of the noise that is added to the images.
        return [step_noise(seeds, self.num_steps + index, (self.latent_dim,))]

    def network_inputs(self, images, index, *conditions):
        """The network's inputs at step number `index`."""
        told = [self.steps.times]
        if self.steps.intervals is not None:
            told.append(self.steps.intervals)
        numbers = [ops.take(ops.convert_to_tensor(values), index) for values in told]
        count = ops.shape(images)[:1]
        return [images, *(ops.broadcast_to(number, count) for number in numbers), *conditions]

    def pass_inputs(self, latents):
        """The inputs of the first step; with classes, of the first one."""
        count = ops.shape(latents)[0]
        conditions = [] if self.num_classes is None else [ops.zeros((count,), "int32")]
        if self.latent_dim is not None:
            conditions.append(ops.zeros((count, self.latent_dim)))
        return self.network_inputs(latents, 0, *conditions)

    def trajectory(self, states, seeds, indices, start=0, predict=None):
        """The images after the steps numbered `indices`, for pictures of the reverse process.

        Args:
            states: What step number `start` begins with: latents, where that is 0.
            seeds: uint32 `(batch, 2)`.
            indices: List of numbers of steps, in order.
            start: Number of the first step.
            predict: As for `reverse_step`.

        Returns:
            float32 `(len(indices), batch, height, width, channels)`, clipped to [-1, 1].
        """
        function = functools.partial(self._frames, indices, start, predict)
        frames = Program(function, self.parts, jit_compile=self.batch_jit)
        return np.moveaxis(frames.run((states, seeds)), 1, 0)

    def _frames(self, indices, start, predict, inputs):
        """Maps `(states, seeds)` to images `(batch, len(indices), height, width, channels)`."""
        states, seeds = inputs
        chosen = ops.reshape(ops.convert_to_tensor(indices, "int32"), (1, -1, 1, 1, 1))

        def body(index, carried):
            state, predicted, frames = carried
            state, predicted = self.reverse_step(index, state, predicted, seeds, predict)
            return state, predicted, ops.where(chosen == index, state[:, None], frames)

        frames = ops.repeat(states[:, None], len(indices), axis=1)
        carried = (states, ops.zeros_like(states), frames)
        _, _, frames = ops.fori_loop(start, self.num_steps, body, carried)
        return self.images_of(frames)

    def reconstruct(self, images, fraction):
        """Partial diffusion: noises real images part of the way and denoises them from there.

        Without a class, whatever `num_classes` and `guidance_scale`.

        Args:
            images: uint8 `(N, height, width, channels)`.
            fraction: How far to go, in (0, 1]; 1 is pure noise.

        Returns:
            The noisy and the denoised images, uint8 `(N, height, width, channels)`, and the name
            of the point: its time step, or the variance of its noise.
        """
        start = self._start(fraction)
        _, seeds = self.inputs(0, len(images))
        states = self._noised(images, start)
        inputs = states, seeds, np.full(len(images), start)
        denoised_images = self._run("_denoise_from", inputs, len(images))
        return to_uint8(self.images_of(states)), to_uint8(denoised_images), self._level(start)

    def reconstruction(self, images, fraction):
        """The way of `reconstruct`, real images beside what becomes of them, as an `Animation`."""
        start = self._start(fraction)
        _, seeds = self.inputs(0, len(images))
        levels = evenly_chosen(self.num_steps - 1, start, NUM_NOISED_FRAMES)
        states = [self._noised(images, index) for index in levels]
        taken = evenly_chosen(start, self.num_steps - 1, NUM_FRAMES)
        denoised_images = self.trajectory(
            states[-1], seeds, taken, start, self.predict_without_class
        )
        noisy_images = [self.images_of(state) for state in states]
        frames = np.stack([images, *map(to_uint8, [*noisy_images, *denoised_images])])
        real_images = np.broadcast_to(images, frames.shape)
        unit = "" if np.issubdtype(self.steps.times.dtype, np.integer) else "variance "
        captions = ["real", *(f"noised to {unit}{self._level(index)}" for index in levels)]
        captions += [f"denoised to {unit}{self._level(index + 1)}" for index in taken[:-1]]
        return Animation(
            np.concatenate([real_images, frames], axis=1),
            columns=max(2, len(images)),
            captions=(*captions, "denoised"),
        )

    def _level(self, index):
        """Name of the point that step number `index` begins at: time step or noise variance."""
        time = self.steps.times[index]
        return f"step {time + 1}" if np.issubdtype(type(time), np.integer) else f"{time:.2f}"

    def _start(self, fraction):
        """Number of the step that a way back from `fraction` of the way to noise begins with."""
        return self.num_steps - max(1, round(fraction * self.num_steps))

    def _noised(self, images, index):
        """The state at step number `index` of real images (uint8), always by the same noises."""
        noises = np.random.default_rng(self.seed).standard_normal(images.shape)
        signal_rate, noise_rate = self.steps.signal_rates[index], self.steps.noise_rates[index]
        standard_images = np.asarray(standardized(images / 127.5 - 1.0, self.standardization))
        return (signal_rate * standard_images + noise_rate * noises).astype("float32")

    def _denoise_from(self, inputs):
        """Maps `(noisy images, seeds, starts)` to images in [-1, 1]; all start at one step."""
        images, seeds, starts = inputs
        start = ops.cast(starts[0], "int32")
        return self.images_of(self.denoise(images, seeds, start, self.predict_without_class))

    def illustrate(self):
        """The way of some images out of the noise, in a few steps and as an animation."""
        latents, seeds = self.inputs(0, NUM_ANIMATED)
        taken = evenly_chosen(0, self.num_steps, NUM_FRAMES)
        frames = self.trajectory(latents, seeds, [count - 1 for count in taken[1:]])
        frames = to_uint8(np.concatenate([np.asarray(self.images_of(latents))[None], frames]))
        shown = evenly_chosen(0, len(frames) - 1, NUM_ILLUSTRATED_STEPS)
        denoising = Illustration(
            np.moveaxis(frames[shown, :NUM_ILLUSTRATED], 0, 1),
            column_labels=tuple(str(taken[index]) for index in shown),
            x_label="steps taken",
        )
        return {"denoising": denoising, "process": Animation(frames), **super().illustrate()}


def split_outputs(outputs, channels):
    """Splits a network's outputs into predictions of `channels` channels and what remains."""
    return outputs[..., :channels], outputs[..., channels:]


def variance_fractions(values):
    """v of Nichol and Dhariwal (2021, eq. 15) from outputs in [-1, 1], as in their code."""
    return (values + 1.0) / 2.0


def predict_images(prediction, predictions, states, signal_rates, noise_rates):
    """The images that a network's predictions of noise, velocity or image amount to.

    `"velocity"` is that of Salimans and Ho (2022), `"flow"` the one of straight paths, noise minus
    image, where signal and noise rate add up to 1.
    """
    return {
        "noise": lambda: (states - noise_rates * predictions) / signal_rates,
        "velocity": lambda: signal_rates * states - noise_rates * predictions,
        "flow": lambda: states - noise_rates * predictions,
        "image": lambda: predictions,
    }[prediction]()


def evenly_chosen(first, last, count):
    """At most `count` whole numbers from `first` to `last`, either way, both included."""
    return list(dict.fromkeys(np.rint(np.linspace(first, last, count)).astype(int).tolist()))

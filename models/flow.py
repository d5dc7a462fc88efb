"""Rectified flow, or flow matching with straight paths (Liu et al. 2023; Lipman et al. 2023).

The way from image x to noise eps is a straight line, z = (1 - t) x + t eps, with t from 0 to 1. The
network learns the velocity eps - x along it; its mean over all lines through a point is the
velocity v(z, t) of a flow that carries noise to images. Liu et al. count t from the noise.

The network's output is this velocity, or the image x = z - t v, which is nearer to the data than
any noisy quantity (Li and He 2025, "Back to basics: let denoising generative models denoise").
"""

import keras
import numpy as np
from keras import ops

from models.base import GenerativeModel, Illustration, to_float, to_uint8
from models.checks import check_choice, check_rate
from models.embedding import withhold_labels
from models.flow_samplers import Euler, FlowMethod
from models.reverse_process import DiffusionSampler
from models.unet import build_unet

TIME_DISTRIBUTIONS = ("uniform", "logit_normal")
PREDICTIONS = {"velocity": "flow", "image": "image"}  # and what samplers call them
EARLIEST_TIME = 0.05  # earlier ones count as this where velocities are computed from images
NUM_ILLUSTRATED, NUM_ILLUSTRATED_TIMES = 5, 11


class FlowModel(GenerativeModel):
    """Rectified flow.

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        prediction: What the network's output is, `"velocity"` or `"image"`. The loss is that of the
            velocity, (z - x) / t, either way (Li and He 2025).
        time_distribution: Of t in training: `"uniform"` (Liu et al. 2023, Lipman et al. 2023), or
            `"logit_normal"`, which prefers the middle of the way (Esser et al. 2024, section 3.1).
        logit_mean: Mean of log(t / (1 - t)) of the latter.
        logit_std: Its standard deviation, positive.
        time_scale: The network takes `time_scale` times t, as it embeds time steps.
        num_classes: Number of classes that the images are conditioned on; `None` for none.
        label_dropout: As for `models.diffusion.DiffusionModel`.
        optimizer: A `keras.optimizers.Optimizer`.
        name: Name of the model.
        build_network: Function that builds the network, such as `models.unet.build_unet`.
        **options: Its options.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        image_shape,
        seed,
        prediction="velocity",
        time_distribution="logit_normal",
        logit_mean=0.0,
        logit_std=1.0,
        time_scale=1000.0,
        num_classes=None,
        label_dropout=0.1,
        optimizer=None,
        name="flow",
        build_network=build_unet,
        **options,
    ):
        check_choice("prediction", prediction, tuple(PREDICTIONS))
        check_choice("time_distribution", time_distribution, TIME_DISTRIBUTIONS)
        check_rate("label_dropout", label_dropout)
        if logit_std <= 0.0 or time_scale <= 0.0:
            raise ValueError(
                "`logit_std` and `time_scale` must be positive. Received: "
                f"logit_std={logit_std}, time_scale={time_scale}"
            )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.prediction = prediction
        self.time_distribution = time_distribution
        self.logit_mean = logit_mean
        self.logit_std = logit_std
        self.time_scale = time_scale
        self.num_classes = num_classes
        self.label_dropout = label_dropout
        self.unet = build_network(
            image_shape=self.image_shape,
            num_classes=num_classes,
            time_embedding="discrete",
            **options,
        )

    @property
    def network(self):
        return self.unet

    def call(self, inputs, training=False):
        """Predicts the velocities of images (uint8) at random points of their way to noise.

        Args:
            inputs: uint8 images, or pairs `(images, labels)` where there are classes.
            training: Whether the network is trained.

        Returns:
            `(predictions, velocities)`, each `(batch, height, width, channels)`.
        """
        images, labels = inputs if self.num_classes else (inputs, None)
        images = to_float(images)
        times = self.draw_times(ops.shape(images)[0])
        noises = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        states = interpolate(images, noises, times)
        network_inputs = [states, self.time_scale * times]
        if self.num_classes:
            network_inputs.append(
                withhold_labels(labels, self.label_dropout, self.num_classes, self.seed_generator)
            )
        outputs = self.unet(network_inputs, training=training)
        if self.prediction == "velocity":
            return outputs, noises - images
        return tuple(velocities_from(each, states, times) for each in (outputs, images))

    def draw_times(self, count):
        """Draws t of each image of a batch, `(count,)` in [0, 1]."""
        return draw_times(
            count, self.time_distribution, self.logit_mean, self.logit_std, self.seed_generator
        )

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean squared error of the velocity (Liu et al. 2023, eq. 1)."""
        predictions, velocities = y_pred
        return ops.mean(ops.square(predictions - velocities))

    def build_sampler(self, method=None):
        """Returns a `DiffusionSampler` that takes the steps of `method` (default: 100 of Euler's).

        Raises:
            ValueError: If `method` is not a solver of flows, which `MeanFlow` is not.
        """
        method = method or Euler(num_steps=100)
        check_flow_method(method)
        steps = method.reverse_steps(self.time_scale)
        if steps.intervals is not None:
            raise ValueError(
                f"a flow has no average velocities for the jumps of {type(method).__name__}; "
                "Euler takes its velocities"
            )
        return DiffusionSampler.of_method(
            method,
            steps,
            unet=self.unet,
            prediction=PREDICTIONS[self.prediction],
            num_classes=self.num_classes,
            seed=self.seed,
        )

    def illustrate(self, images, labels):
        """Images on their straight way to noise."""
        return {"forward": line_to_noise(images, self.seed)}


def interpolate(images, noises, times):
    """(1 - t) x + t eps, with a t for each entry of the axis before the last three."""
    times = times[..., None, None, None]
    return (1.0 - times) * images + times * noises


def velocities_from(images, states, times):
    """The velocities (z - x) / t that lead from images to states.

    Times before `EARLIEST_TIME` count as that, as in Li and He 2025, since errors of the images
    count by 1 / t.
    """
    return (states - images) / ops.maximum(times, EARLIEST_TIME)[:, None, None, None]


def draw_times(count, distribution, mean, std, seed_generator):
    """Draws times, `(count,)` in [0, 1]: uniform, or with log(t / (1 - t)) from N(mean, std^2)."""
    if distribution == "uniform":
        return keras.random.uniform((count,), seed=seed_generator)
    return ops.sigmoid(mean + std * keras.random.normal((count,), seed=seed_generator))


def line_to_noise(images, seed):
    """Some images (uint8) on their straight way to noise, an `Illustration`."""
    images = images[:NUM_ILLUSTRATED]
    noises = np.random.default_rng(seed).standard_normal(images.shape)
    times = np.linspace(0.0, 1.0, NUM_ILLUSTRATED_TIMES)
    states = interpolate((images / 127.5 - 1.0)[:, None], noises[:, None], times)
    labels = tuple(f"{time:.1f}" for time in times)
    return Illustration(to_uint8(states), column_labels=labels, x_label="t")


def check_flow_method(method):
    """Raises `ValueError` if `method` is not one of `models.flow_samplers`."""
    if not isinstance(method, FlowMethod):
        raise ValueError(
            "a flow is sampled by a method of `models.flow_samplers`, such as Euler. "
            f"Received: {type(method).__name__}"
        )

"""MeanFlow: a flow that jumps (Geng et al. 2025a), with its improved loss (Geng et al. 2025b).

On the straight way z = (1 - t) x + t eps from image to noise, the network learns the average
velocity u(z, r, t) of the flow between the times r and t. A jump z - (t - r) u(z, r, t) leads from
t to r without steps in between: from noise to an image in one pass.

2025a is "Mean flows for one-step generative modeling", 2025b "Improved mean flows: on the
challenges of fastforward generative models". The network's output may also be an image (Lu et al.
2026, "One-step latent-free image generation with pixel mean flows").
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from models.base import GenerativeModel, to_float
from models.checks import check_choice, check_rate
from models.embedding import withhold_labels
from models.flow import (
    PREDICTIONS,
    TIME_DISTRIBUTIONS,
    check_flow_method,
    draw_times,
    interpolate,
    line_to_noise,
    velocities_from,
)
from models.flow_samplers import MeanFlow
from models.gradients import with_directional_derivative
from models.reverse_process import DiffusionSampler
from models.unet import build_unet

TANGENTS = ("predicted", "conditional")


class MeanFlowModel(GenerativeModel):
    """MeanFlow.

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        prediction: What the network's output is: the average velocity u, `"velocity"`, or the image
            z - t u, `"image"` (Lu et al. 2026), which one jump from noise leads to.
        tangent: Along which velocity the average one is differentiated: the network's own,
            `"predicted"` (2025b, section 4.1), or eps - x, `"conditional"` (2025a).
        interval_fraction: Fraction of the training images for which r and t differ, in (0, 1]. The
            others have r = t, which is flow matching.
        time_distribution: Of t in training, `"uniform"` or `"logit_normal"`; r is drawn alike, and
            the larger of both is t.
        logit_mean: Mean of log(t / (1 - t)) of the latter.
        logit_std: Its standard deviation, positive.
        weight_power: p of the weights 1 / (error + `weight_offset`)^p of the images' summed
            squared errors (2025a, section 4.3), not negative; 0 weighs all alike.
        weight_offset: c of the weights, positive.
        time_scale: The network takes t and t - r, times this. Derivatives by time
            grow with it.
        num_classes: Number of classes that the images are conditioned on; `None` for none.
        label_dropout: As for `models.diffusion.DiffusionModel`.
        optimizer: A `keras.optimizers.Optimizer`.
        name: Name of the model.
        build_network: Function that builds the network, such as `models.unet.build_unet`, with
            the option `intervals`.
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
        tangent="predicted",
        interval_fraction=0.5,
        time_distribution="logit_normal",
        logit_mean=-0.4,
        logit_std=1.0,
        weight_power=0.75,
        weight_offset=1e-3,
        time_scale=30.0,
        num_classes=None,
        label_dropout=0.1,
        optimizer=None,
        name="meanflow",
        build_network=build_unet,
        **options,
    ):
        check_choice("prediction", prediction, tuple(PREDICTIONS))
        check_choice("tangent", tangent, TANGENTS)
        check_choice("time_distribution", time_distribution, TIME_DISTRIBUTIONS)
        check_rate("label_dropout", label_dropout)
        if not 0.0 < interval_fraction <= 1.0 or weight_power < 0.0:
            raise ValueError(
                "`interval_fraction` must be in (0, 1] and `weight_power` not negative. Received: "
                f"interval_fraction={interval_fraction}, weight_power={weight_power}"
            )
        if min(logit_std, weight_offset, time_scale) <= 0.0:
            raise ValueError(
                "`logit_std`, `weight_offset` and `time_scale` must be positive. Received: "
                f"logit_std={logit_std}, weight_offset={weight_offset}, time_scale={time_scale}"
            )
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        self.prediction = prediction
        self.tangent = tangent
        self.interval_fraction = interval_fraction
        self.time_distribution = time_distribution
        self.logit_mean = logit_mean
        self.logit_std = logit_std
        self.weight_power = weight_power
        self.weight_offset = weight_offset
        self.time_scale = time_scale
        self.num_classes = num_classes
        self.label_dropout = label_dropout
        self.unet = build_network(
            image_shape=self.image_shape,
            num_classes=num_classes,
            time_embedding="discrete",
            intervals=True,
            **options,
        )
        self.velocity_loss = keras.metrics.Mean(name="velocity_loss")

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
        count = ops.shape(images)[0]
        num_jumps = self.count_jumps(count)
        times, intervals = self.draw_intervals(count, num_jumps)
        noises = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        states, velocities = interpolate(images, noises, times), noises - images
        conditions = [states, times]
        if self.num_classes:
            conditions.append(
                withhold_labels(labels, self.label_dropout, self.num_classes, self.seed_generator)
            )
        jumping = [values[:num_jumps] for values in conditions]
        predictions = self.velocity_by_jumps(
            *jumping, intervals=intervals, velocities=velocities[:num_jumps], training=training
        )
        if self.interval_fraction < 1.0:
            flowing = [values[num_jumps:] for values in conditions]
            rest = self.average_velocity(*flowing, training=training)
            predictions = ops.concatenate([predictions, rest])
        if self.prediction == "image":
            velocities = velocities_from(images, states, times)
        return predictions, velocities

    def count_jumps(self, count):
        """For how many images of a batch r and t differ."""
        if isinstance(count, int):
            return round(self.interval_fraction * count)
        # The part of a batch that one of several devices gets is known as it trains.
        return ops.cast(ops.round(self.interval_fraction * ops.cast(count, "float32")), "int32")

    def draw_intervals(self, count, num_jumps):
        """Draws t of each image and t - r of the first `num_jumps`; the others have r = t.

        Returns:
            `(times, intervals)`, `(count,)` and `(num_jumps,)`.
        """
        both = [
            draw_times(
                count, self.time_distribution, self.logit_mean, self.logit_std, self.seed_generator
            )
            for _ in range(2)
        ]
        times = ops.maximum(*both)
        return times, (times - ops.minimum(*both))[:num_jumps]

    def average_velocity(self, states, times, labels=None, *, intervals=None, training=False):
        """u(z, t - intervals, t), by the network; without intervals the velocity at t."""
        intervals = ops.zeros_like(times) if intervals is None else intervals
        inputs = [states, self.time_scale * times, self.time_scale * intervals]
        outputs = self.unet(inputs if labels is None else [*inputs, labels], training=training)
        return outputs if self.prediction == "velocity" else velocities_from(outputs, states, times)

    def velocity_by_jumps(
        self, states, times, labels=None, *, intervals, velocities, training=False
    ):
        """The velocity at t that the average one over an interval amounts to.

        Along the flow, v = u + (t - r) du/dt, the identity of 2025a. No gradient passes through
        du/dt.

        Args:
            states: `(batch, height, width, channels)`.
            times: t, `(batch,)`.
            labels: Int `(batch,)` where there are classes.
            intervals: t - r, `(batch,)`.
            velocities: eps - x, of the shape of `states`.
            training: Whether the network is trained.

        Returns:
            A tensor of the shape of `states`.
        """

        def average(states, times, intervals):
            return self.average_velocity(
                states, times, labels, intervals=intervals, training=training
            )

        tangents = velocities
        if self.tangent == "predicted":
            tangents = self.average_velocity(states, times, labels, training=training)
        ones = ops.ones_like(times)  # of dt/dt and, as r stays, of d(t - r)/dt
        averages, derivatives = with_directional_derivative(
            average, [states, times, intervals], [ops.stop_gradient(tangents), ones, ones]
        )
        return averages + intervals[:, None, None, None] * ops.stop_gradient(derivatives)

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """The weighted squared errors of the velocities (2025a, section 4.3; 2025b, section 4.1).

        The mean squared error without weights is logged beside it.
        """
        predictions, velocities = y_pred
        squared = ops.square(predictions - velocities)
        self.velocity_loss.update_state(ops.mean(squared))
        errors = ops.sum(squared, axis=(1, 2, 3))
        weights = (errors + self.weight_offset) ** -self.weight_power
        return ops.mean(errors * ops.stop_gradient(weights))

    def build_sampler(self, method=None):
        """Returns a `DiffusionSampler` that takes the jumps of `method` (default: a single one).

        Solvers of flows take velocities at single times instead, by intervals of 0.

        Raises:
            ValueError: If `method` is not one of `models.flow_samplers`.
        """
        method = method or MeanFlow(num_steps=1)
        check_flow_method(method)
        steps = method.reverse_steps(self.time_scale)
        if steps.intervals is None:
            steps = dataclasses.replace(steps, intervals=np.zeros_like(steps.times))
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

"""Consistency distillation of a diffusion model into few steps (Song et al. 2023, algorithm 2).

The teacher's deterministic sampler (DDIM) leads each state to an image. The student learns to
predict that image at once: its prediction for a state must equal its prediction for the next, less
noisy one, to which a step of the teacher leads.
"""

import math

import keras
from keras import ops

from models.base import GenerativeModel, to_float
from models.checks import check_at_least
from models.reverse_process import DiffusionSampler, predict_images
from models.samplers import DDIM, Consistency

HUBER_WIDTH = 0.00054  # c over the square root of the number of values (Song and Dhariwal 2024)


class DistilledModel(GenerativeModel):
    """A consistency model distilled from a diffusion model.

    The student starts as a copy of the teacher's network, and predicts in the same way. Where no
    noise is left, the image is the state itself.

    Other than Song et al., and as Song and Dhariwal (2024) advise: the target is the student
    itself, without gradient, not an average of it; and the distance is pseudo-Huber.

    Args:
        image_shape: `(height, width, channels)`.
        seed: Integer.
        teacher: Function that builds the teacher, a `models.diffusion.DiffusionModel`, from
            `image_shape` and `seed`. Its weights are put in by `learn_from`.
        num_levels: Number of noise levels at which the student learns, at least 2.
        teacher_steps: Number of steps that the teacher takes from one level to the next: more lead
            to better images, and take longer.
        num_classes: Number of classes that the teacher is conditioned on; `None` for none.
        optimizer: A `keras.optimizers.Optimizer`.
        name: Name of the model.

    Raises:
        ValueError: If the teacher has fewer time steps or other classes, learns its variance or
            standardises images.
    """

    def __init__(
        self,
        *,
        image_shape,
        seed,
        teacher,
        num_levels,
        teacher_steps=1,
        num_classes=None,
        optimizer=None,
        name="distilled",
    ):
        check_at_least(2, num_levels=num_levels)
        check_at_least(1, teacher_steps=teacher_steps)
        super().__init__(image_shape=image_shape, seed=seed, optimizer=optimizer, name=name)
        trained, student = (teacher(image_shape=self.image_shape, seed=seed) for _ in range(2))
        check_teacher(trained, num_classes)
        self.schedule = trained.schedule
        self.prediction = trained.prediction
        self.num_classes = num_classes
        self.num_levels, self.teacher_steps = num_levels, teacher_steps
        self.steps = DDIM(num_steps=num_levels * teacher_steps).reverse_steps(self.schedule)
        self.teacher, self.student = trained.unet, student.unet
        self.teacher.trainable = False

    @property
    def network(self):
        return self.student

    def learn_from(self, arrays):
        """Puts the weights of a trained diffusion model into the teacher and the student.

        Args:
            arrays: List of arrays, in the order of its `weights`.
        """
        self.teacher.set_weights(arrays)
        self.student.set_weights(arrays)

    def call(self, inputs, training=False):
        """Predicts images (uint8) from noisy states of them, at random levels.

        Args:
            inputs: uint8 images, or pairs `(images, labels)` where there are classes.
            training: Whether the network is trained.

        Returns:
            `(predicted_images, targets)`, each `(batch, height, width, channels)`.
        """
        images, *labels = inputs if self.num_classes else (inputs,)
        images = to_float(images)
        shape = (ops.shape(images)[0],)
        levels = keras.random.randint(shape, 0, self.num_levels, seed=self.seed_generator)
        indices = self.teacher_steps * levels
        noises = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        states = self.coefficients("signal_rates", indices) * images
        states = states + self.coefficients("noise_rates", indices) * noises
        predicted_images = self.predict(self.student, states, indices, labels, training=training)
        next_states = states
        for step in range(self.teacher_steps):
            taught_images, next_states = self.teacher_step(next_states, indices + step, labels)
        last = self.num_levels - 1
        next_indices = self.teacher_steps * ops.minimum(levels + 1, last)
        next_images = self.predict(self.student, next_states, next_indices, labels)
        is_last = ops.equal(levels, last)[:, None, None, None]
        targets = ops.where(is_last, taught_images, next_images)
        return predicted_images, ops.stop_gradient(targets)

    def predict(self, network, states, indices, labels, training=False):
        """A network's predictions of the images from states at these steps of the sampler."""
        times = ops.take(ops.convert_to_tensor(self.steps.times), indices)
        return predict_images(
            self.prediction,
            network([states, times, *labels], training=training),
            states,
            self.coefficients("signal_rates", indices),
            self.coefficients("noise_rates", indices),
        )

    def teacher_step(self, states, indices, labels):
        """The image that the teacher predicts, clipped, and the state to which DDIM leads."""
        images = ops.clip(self.predict(self.teacher, states, indices, labels), -1.0, 1.0)
        signal_rates = self.coefficients("signal_rates", indices)
        noises = (states - signal_rates * images) / self.coefficients("noise_rates", indices)
        next_states = self.coefficients("image_weights", indices) * images
        return images, next_states + self.coefficients("noise_weights", indices) * noises

    def coefficients(self, name, indices):
        """A column of the sampler's table at steps, to be multiplied with images."""
        column = ops.convert_to_tensor(getattr(self.steps, name), "float32")
        return ops.take(column, indices)[:, None, None, None]

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        """The pseudo-Huber distance of predicted images from their targets."""
        predicted_images, targets = y_pred
        num_values = math.prod(self.image_shape)
        width = HUBER_WIDTH * math.sqrt(num_values)
        squared = ops.sum(ops.square(predicted_images - targets), axis=(1, 2, 3))
        return ops.mean(ops.sqrt(squared + width**2) - width)

    def build_sampler(self, method=None):
        """Returns a `DiffusionSampler` that takes the steps of `method` (default: a single one)."""
        method = method or Consistency(num_steps=1)
        return DiffusionSampler.of_method(
            method,
            method.reverse_steps(self.schedule),
            unet=self.student,
            prediction=self.prediction,
            num_classes=self.num_classes,
            seed=self.seed,
        )


def check_teacher(teacher, num_classes):
    """Raises `ValueError` if a model cannot teach."""
    if teacher.num_classes != num_classes:
        raise ValueError(
            "`num_classes` must be the teacher's. Received: "
            f"num_classes={num_classes}, of the teacher {teacher.num_classes}"
        )
    if teacher.learned_variance or teacher.standardization is not None:
        raise ValueError(
            "`teacher` must be a diffusion model without learned_variance and standardize. "
            f"Received: learned_variance={teacher.learned_variance}, "
            f"standardize={teacher.standardization is not None}"
        )

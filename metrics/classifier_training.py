"""Trains a dataset's classifier, tests and calibrates it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from metrics.calibration import calibration_error, cross_fitted_probabilities, fit_temperature
from metrics.classifier import WIDTHS, ModeClassifier, build_classifier_network, round_weights
from metrics.outliers import TRAINED_KINDS, draw_outliers


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
        widths: filters of the three convolutions.
        epochs: passes over the training split.
        batch_size: images of classes in a step; at most as many as there are.
        outliers_per_batch: images of no class in a step beside them.
        learning_rate: its peak.
        max_shift: each training image is moved along each axis by up to this part of its side,
        max_rotation: turned by up to so many degrees,
        max_scaling: and scaled along each axis by a factor of up to exp(max_scaling).
    """

    widths: tuple[int, int, int] = WIDTHS
    epochs: int = 10
    batch_size: int = 128
    outliers_per_batch: int = 24
    learning_rate: float = 6e-3
    max_shift: float = 0.07
    max_rotation: float = 10.0
    max_scaling: float = 0.1


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled batches of slightly warped images, and outliers drawn afresh for each epoch.

    The images of an epoch depend on (seed, epoch) alone.

    Args:
        images: uint8 `(N, H, W, C)`.
        labels: integers `(N,)`.
        num_classes: the label that outliers get.
        recipe: how many of each and how far they are warped.
        seed: seed of order, warps and outliers.
    """

    def __init__(self, *, images, labels, num_classes: int, recipe: Recipe, seed: int):
        super().__init__()
        self.images = images
        self.labels = np.asarray(labels)
        self.num_classes = num_classes
        self.recipe = recipe
        self.seed = seed
        self.epoch = -1
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.labels) // self.recipe.batch_size  # the incomplete last one is left out

    def on_epoch_end(self):
        self.epoch += 1
        generator = np.random.default_rng([self.seed, self.epoch])
        self.order = generator.permutation(len(self.labels))
        if self.epoch < self.recipe.epochs:
            self.outliers = draw_outliers(
                count=len(self) * self.recipe.outliers_per_batch,
                images=self.images,
                seed=[self.seed, self.epoch, 1],
            )

    def __getitem__(self, index: int):
        size, num_outliers = self.recipe.batch_size, self.recipe.outliers_per_batch
        chosen = self.order[index * size : (index + 1) * size]
        generator = np.random.default_rng([self.seed, self.epoch, 2, index])
        warped = warp(np.asarray(self.images[chosen]), generator=generator, recipe=self.recipe)
        outliers = self.outliers[index * num_outliers : (index + 1) * num_outliers]
        labels = np.concatenate([self.labels[chosen], np.full(num_outliers, self.num_classes)])
        return np.concatenate([warped, outliers]), labels


def warp(images: np.ndarray, *, generator: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Moves, turns and scales each image a little, interpolating bilinearly, edges repeated.

    Args:
        images: uint8 `(N, H, W, C)`.
        generator: where the warps come from.
        recipe: their ranges.

    Returns:
        uint8 `(N, H, W, C)`.
    """
    count, height, width, channels = images.shape
    angles = np.deg2rad(generator.uniform(-recipe.max_rotation, recipe.max_rotation, count))
    scales = np.exp(generator.uniform(-recipe.max_scaling, recipe.max_scaling, (2, count)))
    sides = np.array([height, width])
    shifts = generator.uniform(-recipe.max_shift, recipe.max_shift, (count, 2)) * sides
    cosines, sines = np.cos(angles), np.sin(angles)
    rotations = np.moveaxis(np.array([[cosines, -sines], [sines, cosines]]), -1, 0)
    centre = (sides - 1) / 2.0
    offsets = np.moveaxis(np.indices((height, width)), 0, -1).reshape(-1, 2) - centre
    places = (offsets * scales.T[:, None]) @ rotations + centre + shifts[:, None]
    places = np.clip(places, 0.0, sides - 1.0)
    corners = np.minimum(places.astype(int), sides - 2)
    down, right = np.moveaxis((places - corners).astype(np.float32)[..., None], 2, 0)
    pixels = images.reshape(count, -1, channels).astype(np.float32)
    first = (corners[..., 0] * width + corners[..., 1])[..., None]

    def at(offset):
        return np.take_along_axis(pixels, first + offset, axis=1)

    upper = (1.0 - right) * at(0) + right * at(1)
    lower = (1.0 - right) * at(width) + right * at(width + 1)
    warped = (1.0 - down) * upper + down * lower
    return np.rint(warped).astype(np.uint8).reshape(images.shape)


def train_classifier(
    *,
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    num_classes: int,
    seed: int,
    recipe: Recipe | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> ModeClassifier:
    """Trains the classifier on the training split, tests and calibrates it on the other one.

    AdamW (Loshchilov and Hutter 2019) with a learning rate that rises for a fifth of the steps and
    falls to zero along a cosine (Smith and Topin 2018). Outliers are a class more, so that what
    shows no class is given to none (outlier exposure, Hendrycks et al. 2019). No label smoothing:
    confidence is to be calibrated, by a temperature (Guo et al. 2017).

    Args:
        images: uint8 `(N, H, W, C)`, the training split.
        labels: integers `(N,)` from 0 to `num_classes - 1`.
        test_images: uint8 `(M, H, W, C)`.
        test_labels: integers `(M,)`.
        num_classes: number of classes, 2 or more.
        seed: seed of weights, order, warps and outliers.
        recipe: how it is trained.
        callbacks: Keras callbacks, for progress.

    Returns:
        The trained classifier, which knows its `confusion`; weights are rounded to half precision.

    Raises:
        ValueError: if labels and images do not fit together.
    """
    recipe = recipe or Recipe()
    _check_labels(images, labels, num_classes)
    _check_labels(test_images, test_labels, num_classes)
    if len(images) < recipe.batch_size:
        raise ValueError(
            f"the classifier needs at least batch_size={recipe.batch_size} training images. "
            f"Received: {len(images)}"
        )
    batches = TrainingBatches(
        images=images, labels=labels, num_classes=num_classes, recipe=recipe, seed=seed
    )
    network = build_classifier_network(
        image_shape=images.shape[1:], num_classes=num_classes, seed=seed, widths=recipe.widths
    )
    trained = keras.Model(network.input, network.output["logits"])
    num_steps = recipe.epochs * len(batches)
    trained.compile(
        optimizer=_build_optimizer(num_steps=num_steps, learning_rate=recipe.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    trained.fit(batches, epochs=recipe.epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    round_weights(network)
    record = {"seed": seed, **asdict(recipe), "outliers": list(TRAINED_KINDS)}
    return _test(network, test_images, np.asarray(test_labels), record)


def _test(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, record: dict[str, Any]
) -> ModeClassifier:
    """Measures accuracy and calibration; one temperature for all logits changes no accuracy."""
    num_classes = network.output["logits"].shape[-1] - 1
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    untested = ModeClassifier(network=network, confusion=np.eye(num_classes))
    logits = untested.predict_logits(images)
    np.add.at(confusion, (labels, logits[:, :num_classes].argmax(axis=1)), 1)
    probabilities = cross_fitted_probabilities(logits=logits, labels=labels)[:, :num_classes]
    return ModeClassifier(
        network=network,
        confusion=confusion,
        temperature=fit_temperature(logits=logits, labels=labels),
        calibration_error=calibration_error(probabilities=probabilities, labels=labels),
        record=record,
    )


def _build_optimizer(*, num_steps: int, learning_rate: float) -> keras.optimizers.Optimizer:
    warmup_steps = max(1, num_steps // 5)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / 30.0,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, num_steps - warmup_steps),
    )
    # With a few hundred steps in all, the second moment must forget faster than by default.
    return keras.optimizers.AdamW(schedule, weight_decay=0.01, beta_2=0.99)


def _check_labels(images: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    labels = np.asarray(labels)
    if labels.shape != (len(images),) or not len(labels):
        raise ValueError(
            f"labels must be of shape ({len(images)},), one or more. Received: {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must lie in 0..{num_classes - 1}. Received: {labels.min()}..{labels.max()}"
        )

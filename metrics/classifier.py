"""A small image classifier: the instrument of mode coverage, and the feature space `digits`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from scipy.special import softmax

from metrics.base import DIGITS, Progress, encode_in_batches
from metrics.encoders import check_sha256

# The classifiers in the package by dataset, with the SHA-256 of their files.
PACKAGED = {
    "mnist": "f7be6994c1d8648410044f1dd91c7870f0d950a56592c0cadeafe57e7f119a58",
    "fashion_mnist": "5ce4ce6dad920347feed87698bcc40a4fadc88fda7617348126b884f79bc4521",
}
WEIGHTS = Path(__file__).parent / "weights"
WIDTHS = (24, 48, 96)
NUM_FEATURES = 128
NORMALIZATION_MOMENTUM = 0.9  # the default 0.99 lags behind in so short a training
PREDICTION_BATCH = 256
MEASURED = ("temperature", "calibration_error")


def build_classifier_network(
    *, image_shape: Sequence[int], num_classes: int, seed: int, widths: Sequence[int] = WIDTHS
) -> keras.Model:
    """Three convolutions, the first of stride 2, two pools and a hidden layer, batch-normalised.

    The stride comes first because the cost of a convolution is its output's area. The last logit
    is that of outliers, images of no class.

    Args:
        image_shape: `(H, W, C)`; H and W are at least 8.
        num_classes: number of classes.
        seed: seed of the weights.
        widths: filters of the three convolutions.

    Returns:
        Model: uint8 `(N, H, W, C)` -> a dict of `features` `(N, 128)`, not negative, and `logits`
        `(N, num_classes + 1)`.
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(len(widths) + 2).tolist())

    def weighted(layer, **arguments):
        return layer(kernel_initializer=keras.initializers.HeNormal(next(seeds)), **arguments)

    def normalized(hidden, name=None):
        hidden = layers.BatchNormalization(momentum=NORMALIZATION_MOMENTUM)(hidden)
        return layers.Activation("relu", name=name)(hidden)

    images = keras.Input(tuple(image_shape), dtype="uint8")
    hidden = layers.Rescaling(1.0 / 255.0)(ops.cast(images, "float32"))
    for width, kernel_size, strides in zip(widths, (5, 3, 3), (2, 1, 1), strict=True):
        convolution = weighted(
            layers.Conv2D,
            filters=width,
            kernel_size=kernel_size,
            strides=strides,
            padding="same",
            use_bias=False,
        )
        hidden = normalized(convolution(hidden))
        if strides == 1:
            hidden = layers.MaxPooling2D(2, padding="same")(hidden)
    hidden = layers.Flatten()(hidden)
    features = normalized(weighted(layers.Dense, units=NUM_FEATURES, use_bias=False)(hidden))
    logits = weighted(layers.Dense, units=num_classes + 1)(features)
    return keras.Model(images, {"features": features, "logits": logits})


class ModeClassifier:
    """A trained classifier; also an encoder, by its penultimate layer.

    Args:
        network: what `build_classifier_network` returned, trained.
        confusion: integers `(K, K)`, how many test images of each class (row) were taken for each
            class (column).
        temperature: what the logits are divided by before they become probabilities.
        calibration_error: expected calibration error on test images at temperatures that were
            fitted to others.
        record: how it was trained and what else is known of it, ready for JSON.
        name: name of its feature space.

    Attributes:
        test_accuracy: fraction of the test images that it classifies correctly, in [0, 1].
        image_shape: `(H, W, C)` of its images.
        num_classes: number of classes, K.
        widths: filters of the network's convolutions.
        weights_hash: first eight digits of the SHA-256 of its weights and temperature.
        label: hash and input height in one line.
    """

    requires_classifier = False

    def __init__(
        self,
        *,
        network: keras.Model,
        confusion: np.ndarray,
        temperature: float = 1.0,
        calibration_error: float = float("nan"),
        record: Mapping[str, Any] | None = None,
        name: str = DIGITS,
    ):
        self.network = network
        self.confusion = np.asarray(confusion)
        self.temperature = float(temperature)
        self.calibration_error = float(calibration_error)
        self.record = dict(record or {})
        self.name = name
        self.test_accuracy = float(np.trace(self.confusion) / self.confusion.sum())
        self.image_shape = tuple(network.input_shape[1:])
        self.num_classes = len(self.confusion)
        convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
        self.widths = tuple(layer.filters for layer in convolutions)

    @property
    def weights_hash(self) -> str:
        digest = hashlib.sha256()
        for array in [*self.network.get_weights(), np.float64(self.temperature)]:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:8]

    @property
    def label(self) -> str:
        return f"classifier {self.weights_hash} @{self.image_shape[0]}"

    @property
    def description(self) -> str:
        """Its label and how far it is to be believed, in one line."""
        return (
            f"{self.label}, test accuracy {self.test_accuracy:.2%}, "
            f"calibration error {self.calibration_error:.2%}"
        )

    @property
    def recipe(self) -> dict[str, Any]:
        return {"encoder": self.name, "weights_hash": self.weights_hash}

    def __call__(self, images: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """uint8 `(N, H, W, C)` -> float32 `(N, 128)`, the activations of the penultimate layer.

        A classifier of grey images encodes others channel by channel, features side by side:
        `(N, C * 128)`.
        """
        channels = np.shape(images)[-1] // self.image_shape[-1]

        def report(done: int, total: int) -> None:
            if progress:
                progress(done // channels, total // channels)

        features = self._run("features", self._single_channels(images), report)
        return features.reshape(len(images), -1)

    def _single_channels(self, images: np.ndarray) -> np.ndarray:
        if self.image_shape[-1] != 1 or np.shape(images)[1:3] != self.image_shape[:2]:
            return images
        return np.moveaxis(images, -1, 1).reshape(-1, *self.image_shape)

    features = __call__

    def predict_probabilities(
        self, images: np.ndarray, progress: Progress | None = None
    ) -> np.ndarray:
        """uint8 `(N, H, W, C)` -> float64 `(N, num_classes)`.

        What a row lacks of one is the probability that the image shows no class.
        """
        probabilities = softmax(self.predict_logits(images, progress) / self.temperature, axis=1)
        return probabilities[:, : self.num_classes]

    def predict_logits(self, images: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """uint8 `(N, H, W, C)` -> float64 `(N, num_classes + 1)`, before the temperature."""
        return self._run("logits", images, progress).astype(np.float64)

    def _run(self, output: str, images: np.ndarray, progress: Progress | None) -> np.ndarray:
        if np.shape(images)[1:] != self.image_shape:
            raise ValueError(
                f"the classifier expects images of shape {self.image_shape}. "
                f"Received: {np.shape(images)[1:]}"
            )
        return encode_in_batches(
            lambda batch: self.network.predict_on_batch(batch)[output],
            images,
            batch_size=PREDICTION_BATCH,
            progress=progress,
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All that `from_arrays` needs, as plain arrays for an npz file."""
        stored = {f"weights_{i:02}": _halve(w) for i, w in enumerate(self.network.get_weights())}
        return {
            "image_shape": np.asarray(self.image_shape),
            "widths": np.asarray(self.widths),
            "confusion": self.confusion,
            **{name: np.asarray(getattr(self, name)) for name in MEASURED},
            "record": np.asarray(json.dumps(self.record)),
            **stored,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ModeClassifier":
        """Rebuilds a classifier; its weights are the same bits on every machine.

        Raises:
            ValueError: if the arrays are not those of `to_arrays`.
        """
        missing = {"image_shape", "widths", "confusion", "record", *MEASURED} - set(arrays)
        if missing:
            raise ValueError(f"these arrays hold no classifier: {sorted(missing)} missing")
        confusion = arrays["confusion"]
        network = build_classifier_network(
            image_shape=[int(size) for size in arrays["image_shape"]],
            num_classes=len(confusion),
            seed=0,
            widths=[int(width) for width in arrays["widths"]],
        )
        names = sorted(name for name in arrays if name.startswith("weights_"))
        network.set_weights([arrays[name].astype(np.float32) for name in names])
        measured: dict[str, Any] = {name: float(arrays[name]) for name in MEASURED}
        record = json.loads(str(arrays["record"]))
        return cls(network=network, confusion=confusion, record=record, **measured)


def load_packaged_classifier(name: str) -> ModeClassifier:
    """Loads the classifier of a dataset in `PACKAGED`, the same on every machine.

    Raises:
        ValueError: if its file is missing or damaged.
    """
    path = WEIGHTS / f"classifier_{name}.npz"
    check_sha256(path, PACKAGED[name])
    with np.load(path, allow_pickle=False) as arrays:
        return ModeClassifier.from_arrays(arrays)


def round_weights(network: keras.Model) -> None:
    """Rounds the weights to half precision, in which they are stored, before anything is measured.

    So a classifier that was just trained and the same one from its file agree bit for bit.
    """
    network.set_weights([_halve(weight) for weight in network.get_weights()])


def _halve(weight: np.ndarray) -> np.ndarray:
    return weight.astype(np.float16)


class ClassifierEncoder:
    """The mode classifier as the run's encoder; the runner puts the trained one in its place."""

    requires_classifier = True

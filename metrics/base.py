"""What a metric is called with, and how it declines to answer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from metrics.memory import fewer_after

Progress = Callable[[int, int], None]
"""Called with (images done, images in all) after every batch."""

DIGITS = "digits"
"""Name of the feature space of the mode classifier."""

ROLES = ("real", "generated", "reference")
"""The sets of images of an evaluation, by the part that they play in it."""


class NotMeasured(Exception):
    """Raised by a metric that cannot give an honest number; the message is the reason."""


class Encoder(Protocol):
    """Turns images into features; `InceptionV3Encoder` and `ModeClassifier` are two.

    Attributes:
        name: short name of the feature space, such as `"inception_v3"`.
        label: everything on which the numbers depend, in one line, such as
            `"inception_v3 embedded 7e83f1eb @75"`.
        weights_hash: hexadecimal digits which identify the weights.
        recipe: all that its features depend on besides the images, ready for JSON: the key under
            which features are kept.
        requires_classifier: whether the trained mode classifier is to take this encoder's place.
    """

    name: str
    label: str
    weights_hash: str
    recipe: dict[str, Any]
    requires_classifier: bool

    def __call__(self, images: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """uint8 images `(N, H, W, C)` -> float32 features `(N, D)`."""
        ...


class Metric(Protocol):
    """Keyword-only options; called with an `Evaluation`; returns named numbers, or words.

    Attributes:
        requires_sampler: whether `Evaluation.sampler` must be there.
        minimum_samples: real and generated images needed at the least, for a check up front.
    """

    requires_sampler: bool
    minimum_samples: int

    def __call__(self, evaluation: "Evaluation") -> Mapping[str, float | str]: ...


@dataclass(kw_only=True)
class Evaluation:
    """The samples to be judged, what they are judged against, and with which instruments.

    Args:
        real_images: uint8 `(N, H, W, C)`, about as many training images as there are samples, for
            what depends on how many there are.
        generated_images: uint8 `(M, H, W, C)`, the samples.
        reference_images: uint8 `(R, H, W, C)`, the large reference for distances between
            distributions; by default `real_images`.
        seed: seed of the run, an integer.
        real_labels: integers `(L,)`, whose histogram gives the real fractions of the classes (of
            `real_images` or of the whole split); of stacked images, the labels of the images that
            are stacked; `None` where the dataset has none.
        num_classes: number of classes, or `None`.
        class_names: names of the classes, or empty.
        training_images: uint8 `(T, H, W, C)`, the whole training split, for memorisation; `None`
            where it is not at hand. May be a memory map or any array that is read by slices.
        stacked: whether each channel is an image of its own, as in stacked MNIST; the classes are
            then the K ** C combinations of the K classes of a channel.
        encoders: encoders by name; the first one is the run's encoder.
        classifier: a `ModeClassifier`, or `None`. It is also the encoder named `"digits"`.
        sampler: the sampler to be timed, or `None` where only images are at hand.
        generated_labels: integers `(M,)`, the classes that the generated images were asked to show;
            `None` where the model was not asked for classes.
        encode: called as `encode(encoder, role)` with one of `ROLES`, once for each encoder and
            role, to encode `images(role)`; so a runner can show progress and keep features. By
            default, the encoder is called.
        details: what a metric has to say beyond its numbers, by metric, ready for JSON.
    """

    real_images: np.ndarray
    generated_images: np.ndarray
    seed: int
    real_labels: np.ndarray | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    training_images: np.ndarray | None = None
    stacked: bool = False
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    classifier: Any = None
    sampler: Any = None
    generated_labels: np.ndarray | None = None
    reference_images: np.ndarray | None = None
    encode: Callable[[Encoder, str], np.ndarray] | None = None
    details: dict[str, dict] = field(default_factory=dict)
    _features: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False)
    _reference_role: str = field(default="reference", init=False, repr=False)

    def __post_init__(self):
        if self.reference_images is None:
            self.reference_images, self._reference_role = self.real_images, "real"
        for role in ROLES:
            check_images(self.images(role), name=f"{role}_images")

    def images(self, role: str) -> np.ndarray:
        """The images of one of `ROLES`, uint8 `(N, H, W, C)`.

        Raises:
            ValueError: if there is no such role.
        """
        if role not in ROLES:
            raise ValueError(f"`role` must be one of {', '.join(ROLES)}. Received: role={role}")
        return getattr(self, f"{role}_images")

    def encoder(self, name: str | None = None) -> Encoder:
        """The encoder of that name; `None` means the run's encoder, the first one.

        Raises:
            NotMeasured: where the run has no such encoder.
        """
        if name is None and self.encoders:
            return next(iter(self.encoders.values()))
        if name is not None and name in self.encoders:
            return self.encoders[name]
        if name == DIGITS:
            if self.classifier is None:
                raise NotMeasured("there is no classifier for the feature space `digits`")
            return self.classifier
        valid = ", ".join(sorted({*self.encoders, DIGITS}))
        raise NotMeasured(f"there is no encoder `{name}`; there are: {valid}")

    def features(self, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Features of the real and of the generated images, each encoded once.

        Args:
            name: name of the encoder; `None` means the run's encoder.

        Returns:
            A pair `(real_features, generated_features)`, float32 `(N, D)` and `(M, D)`.
        """
        return self.features_of("real", name), self.features_of("generated", name)

    def reference_features(self, name: str | None = None) -> np.ndarray:
        """Features of the large reference, float32 `(R, D)`; `name` as of `features`."""
        return self.features_of("reference", name)

    def features_of(self, role: str, name: str | None = None) -> np.ndarray:
        """Features of the images of one of `ROLES`, encoded once; `name` as of `features`."""
        encoder = self.encoder(name)
        if role == "reference":
            role = self._reference_role  # without a large one the real images are encoded once
        key = (encoder.name, role)
        if key not in self._features:
            self._features[key] = (
                self.encode(encoder, role) if self.encode else encoder(self.images(role))
            )
        return self._features[key]

    def describe_features(
        self, name: str | None = None, *, roles: tuple[str, ...] = ("real", "generated")
    ) -> dict[str, Any]:
        """What a number in a feature space rests on, ready for JSON: encoder and counts.

        Args:
            name: name of the encoder; `None` means the run's encoder.
            roles: the sets of images that are compared, of `ROLES`.
        """
        encoder = self.encoder(name)
        return {
            "encoder": encoder.label,
            "weights_hash": encoder.weights_hash,
            **{f"num_{role}": len(self.images(role)) for role in roles},
        }


def check_images(images: np.ndarray, *, name: str = "images") -> None:
    """Refuses whatever is not a batch of uint8 images.

    Raises:
        ValueError: if `images` is not uint8 `(N, H, W, C)` with one or three channels.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"`{name}` must be uint8 of shape (N, H, W, 1 or 3). "
            f"Received: dtype={images.dtype}, shape={images.shape}"
        )


def check_features(*, real_features: np.ndarray, generated_features: np.ndarray) -> None:
    """Refuses feature sets that cannot be compared with each other.

    Raises:
        ValueError: if they are not two finite matrices with equally many columns.
    """
    real, generated = np.shape(real_features), np.shape(generated_features)
    if len(real) != 2 or len(generated) != 2 or real[1] != generated[1]:
        raise ValueError(
            "`real_features` and `generated_features` must be (N, D) and (M, D) with the same D. "
            f"Received: {real} and {generated}"
        )
    for name, values in (
        ("real_features", real_features),
        ("generated_features", generated_features),
    ):
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` must be finite. Received: NaN or infinite values")


def without_dead_features(
    real_features: np.ndarray, generated_features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Leaves out the columns that are zero everywhere: they change no product and no distance.

    Two thirds of InceptionV3's features are such on digits of 75 pixels.

    Args:
        real_features: `(N, D)`.
        generated_features: `(M, D)`.

    Returns:
        Both with the same remaining columns; the arrays themselves where all remain.
    """
    alive = np.any(real_features, axis=0) | np.any(generated_features, axis=0)
    if alive.all():
        return real_features, generated_features
    return real_features[:, alive], generated_features[:, alive]


def padded_batches(images: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Cuts images into batches of one shape, so that a compiled function is traced once.

    Args:
        images: `(N, ...)`.
        batch_size: images in a batch.

    Yields:
        Pairs `(batch, count)`: `batch` always has `batch_size` images, of which the first `count`
        count; the rest repeats the last image.
    """
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        count = len(batch)
        if count < batch_size:
            batch = np.concatenate([batch, np.repeat(batch[-1:], batch_size - count, axis=0)])
        yield batch, count


def encode_in_batches(
    function: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """Applies a function to any number of images, in batches of one size.

    Args:
        function: `(batch_size, H, W, C)` -> `(batch_size, D)`.
        images: uint8 `(N, H, W, C)`, one image at the least.
        batch_size: images in a call; fewer, with a warning, once the memory does not suffice.
        progress: called with (images done, images in all) after every batch.

    Returns:
        Array `(N, D)`.

    Raises:
        ValueError: if `images` is not a batch of uint8 images or is empty.
    """
    check_images(images)
    if not len(images):
        raise ValueError("`images` must hold at least one image. Received: 0 images")
    results, done = [], 0
    while done < len(images):
        try:
            for batch, count in padded_batches(images[done:], batch_size):
                results.append(np.asarray(function(batch))[:count])
                done += count
                if progress:
                    progress(done, len(images))
        except Exception as error:
            batch_size = fewer_after(error, batch_size)
    return np.concatenate(results)

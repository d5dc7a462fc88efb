"""Validation during training: the headline of quality on few samples chooses the weights."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from benchmark import interruption
from benchmark.classifiers import rejected_fraction
from benchmark.errors import UserError
from benchmark.evaluation import REFERENCE_SEED, draw
from benchmark.features import reference_features
from benchmark.headline import VALIDATION_REJECTED, WITH_CLASSIFIER
from benchmark.results import Folder
from benchmark.sampling import generate
from metrics.classifier import ModeClassifier
from metrics.fid import fid


class Validation:
    """The headline of quality, of a few samples against the same number of test images.

    It is a Fréchet distance (see `benchmark.headline`), which is biased by the number of images:
    only values for the same number are comparable. The real images are *test* images, drawn once
    for all runs. The headline in the results compares with training images, and these must not
    choose the weights that it judges. Latents and real images are the same each time, so two values
    differ only because of the weights.

    Args:
        model: The `models.base.GenerativeModel` that trains.
        dataset: Its `ImageDataset`.
        headline: Column of the dataset's headline of quality, `fid_digits` or `fid`.
        encoder: The `metrics.base.Encoder` whose features it compares: the dataset's classifier or
            the run's encoder.
        cache: Where the features of the test images are kept between runs.
        method: How to sample cheaply (see `models.samplers`); `None` is the model's own way.
        every: Checkpoints from one validation to the next; the last one is always validated.
        num_samples: Images on each side, 2 or more; no more than there are test images.
        batch_size: Images for each call of the sampler.

    Raises:
        UserError: If there is only one test image.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        dataset: Any,
        headline: str,
        encoder: Any,
        cache: Folder,
        method: Any,
        every: int,
        num_samples: int,
        batch_size: int,
    ) -> None:
        images = draw(dataset.test_images, num_samples, REFERENCE_SEED)
        if len(images) < 2:
            raise UserError(
                f"validation needs at least 2 test images, and dataset {dataset.name} has 1: "
                "set training.validation.every=null"
            )
        source = {
            "dataset": dataset.fingerprint,
            "split": "test",
            "num_images": len(images),
            "draw": REFERENCE_SEED,
        }
        self.real_features = reference_features(encoder, images, source=source, cache=cache)
        self.headline = headline
        self.encoder = encoder
        self.sampler = model.sampler(method)
        # If a model has only one sampler, that has the row's name, in Keras's spelling.
        self.sampler_name = method.name if method else self.sampler.name.replace("_", "-")
        self.every = every
        self.batch_size = min(batch_size, len(images))

    @property
    def history_column(self) -> str:
        """The column of its values in the training's history."""
        return f"validation_{self.headline}"

    @property
    def description(self) -> dict[str, Any]:
        """What is measured, and how, ready for JSON."""
        return {
            "measure": self.headline,
            "instrument": self.encoder.label,
            "sampler": self.sampler_name,
            "num_samples": len(self.real_features),
        }

    def is_due(self, checkpoint: int, num_checkpoints: int) -> bool:
        """Whether checkpoint number `checkpoint`, counted from 1, is validated."""
        return checkpoint % self.every == 0 or checkpoint == num_checkpoints

    def sample(self) -> np.ndarray:
        """Samples uint8 images with the model's current weights.

        Raises:
            Interruption: If the program was asked to stop.
            NotFinite: If some of their values are not finite numbers.
        """
        count, batches = len(self.real_features), []
        for start in range(0, count, self.batch_size):
            interruption.check()
            batches.append(generate(self.sampler, self.sampler.inputs(start, self.batch_size)))
        return np.concatenate(batches)[:count]

    def distance(self, images: np.ndarray) -> float:
        """The headline of images; lower is better."""
        return fid(real_features=self.real_features, generated_features=self.encoder(images))

    def rejected_fraction_of(self, images: np.ndarray) -> dict[str, float]:
        """The fraction that the classifier rejects, by column of the history; empty without one."""
        encoder = self.encoder
        if not isinstance(encoder, ModeClassifier) or images.shape[1:] != encoder.image_shape:
            return {}
        return {VALIDATION_REJECTED: rejected_fraction(encoder, images)}


@dataclass(frozen=True)
class Best:
    """The weights with the best validation so far.

    Attributes:
        step: After how many steps.
        measure: Column of the headline of quality that was measured.
        value: What it was.
        instrument: Label of the encoder or classifier that it was measured with.
        weights: Arrays of `benchmark.training.weights`.
    """

    step: int
    measure: str
    value: float
    instrument: str
    weights: dict[str, np.ndarray] = field(repr=False)

    @property
    def description(self) -> dict[str, Any]:
        """All but the weights, ready for JSON."""
        entries = vars(self).items()
        return {name: value for name, value in entries if name != "weights"}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a checkpoint."""
        weights = {f"best/{name}": array for name, array in self.weights.items()}
        return {"best": np.array(json.dumps(self.description)), **weights}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Best | None":
        """What `to_arrays` has put among `arrays`, `None` if nothing."""
        if "best" not in arrays:
            return None
        weights = {
            name.removeprefix("best/"): array
            for name, array in arrays.items()
            if name.startswith("best/")
        }
        return cls(**json.loads(str(arrays["best"])), weights=weights)


def build_validation(builder: Any, model: keras.Model, evaluator: Any) -> Validation | None:
    """Builds what chooses the best weights; `None` if validation is off."""
    options = builder.settings["training"]["validation"]
    if options["every"] is None:
        return None
    measure = evaluator.description["headline"]
    return Validation(
        model,
        dataset=evaluator.dataset,
        headline=measure,
        encoder=evaluator.classifier if measure == WITH_CLASSIFIER else evaluator.encoder,
        cache=evaluator.cache,
        method=builder.build_validation_method(),
        every=options["every"],
        num_samples=options["num_samples"],
        batch_size=builder.settings["sampling"]["batch_size"],
    )


def is_better(value: float, measure: str, instrument: str, best: Best | None) -> bool:
    """Whether a value is the best so far for its measure and instrument."""
    if best is None or (best.measure, best.instrument) != (measure, instrument):
        return True
    return value < best.value


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Puts the averages of the weights into the model, where its optimizer keeps any.

    The end of the `with` block restores the original weights, bit for bit.
    """
    variables = model.weights
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    swap_in_ema(model)
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def without_final_averages(model: keras.Model) -> Iterator[None]:
    """Keeps `fit` from replacing the weights by their averages at its end, within the block.

    A resumed training may need more than one `fit`.
    """
    optimizer = model.optimizer
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


def swap_in_ema(model: keras.Model) -> None:
    """Puts copies of the averages of the weights into the model, where its optimizer keeps any.

    Under JAX, assigning one variable to another makes them share memory, which the next call of a
    compiled program takes away from both.
    """
    variables, optimizer = model.trainable_variables, model.optimizer
    # The class's method, as `without_final_averages` replaces the instance's.
    type(optimizer).finalize_variable_values(optimizer, variables)
    for variable in variables:
        variable.assign(keras.ops.copy(variable))
    model.update_statistics()

"""The instruments that measure a table, and images whose scores are known beforehand."""

from functools import cached_property
from typing import Any

import numpy as np

from benchmark.classifiers import load_classifier
from benchmark.errors import UserError
from benchmark.features import FEATURES, instrument_recipe, kept_features
from benchmark.files import sweep
from benchmark.headline import headline
from benchmark.provenance import module_version
from benchmark.results import Folder, digest
from metrics.base import DIGITS, Evaluation

REFERENCE_SEED = 2020  # for drawing real images, the same in every run
SANITY_ROWS = ("test_images", "noise", "repeated_image", "few_images")
NUM_FEW = 20  # different images of the row `few_images`
BELIEVED_ACCURACY = 0.8  # that a classifier needs for its features to be the headline
ENCODER, CLASSIFIER = "encoder", "classifier"  # the instruments that a metric may use


class ObservedEvaluation(Evaluation):
    """An `Evaluation` that remembers which instruments a metric asks for.

    Attributes:
        instruments: Those used so far: `"encoder"` (the run's) and `"classifier"`.
    """

    def __init__(self, **arguments: Any) -> None:
        self.instruments: set[str] = set()
        super().__init__(**arguments)

    def encoder(self, name: str | None = None) -> Any:
        self.instruments.add(CLASSIFIER if name == DIGITS else ENCODER)
        return super().encoder(name)

    @property
    def classifier(self) -> Any:
        self.instruments.add(CLASSIFIER)
        return self._classifier

    @classifier.setter
    def classifier(self, value: Any) -> None:
        self._classifier = value


class Evaluator:
    """The instruments that all rows of a table are measured with.

    Real images are training images, drawn once for all runs: one set of the samples' size, and a
    larger reference for the distances between distributions.

    Args:
        dataset: The `ImageDataset`.
        encoder: A `metrics.base.Encoder`, the quality metrics' feature space.
        metrics: Metrics by name.
        metric_settings: Their options by name, ready for JSON.
        num_samples: Images per row.
        num_reference_images: Training images in the reference; all if there are fewer.
        cache: Where the classifier and the features of real images are kept between runs.

    Raises:
        UserError: If the encoder is the dataset's classifier and the dataset has no labels.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        encoder: Any,
        metrics: dict[str, Any],
        metric_settings: dict[str, Any],
        num_samples: int,
        num_reference_images: int,
        cache: Folder,
    ) -> None:
        self.dataset = dataset
        self.metrics = metrics
        self.metric_settings = metric_settings
        self.num_samples = num_samples
        self.num_reference_images = min(num_reference_images, len(dataset.train_images))
        self.cache = cache
        if encoder.requires_classifier:
            if self.classifier is None:
                raise UserError(
                    f"encoder=digits needs a classifier; dataset {dataset.name} has no labels"
                )
            encoder = self.classifier
        self.encoder = encoder
        self._code: dict[str, str] = {}
        self._recipes: dict[str, dict[str, Any] | None] = {}

    @cached_property
    def classifier(self) -> Any:
        """The mode classifier of this dataset, or of its channels; `None` without labels."""
        if not self.dataset.num_classes:
            return None
        return load_classifier(self.dataset.channel_dataset or self.dataset, self.cache)

    @cached_property
    def real_images(self) -> np.ndarray:
        """Training images, as many as a row has samples; all if there are fewer."""
        return draw(self.dataset.train_images, self.num_samples, REFERENCE_SEED)

    @cached_property
    def reference_images(self) -> np.ndarray:
        """The training images of the larger reference."""
        return draw(self.dataset.train_images, self.num_reference_images, REFERENCE_SEED)

    @property
    def reference(self) -> dict[str, Any]:
        """What samples are compared with, ready for JSON."""
        return {
            "dataset": self.dataset.fingerprint,
            "split": "train",
            "draw": REFERENCE_SEED,
            "num_real_images": min(self.num_samples, len(self.dataset.train_images)),
            "num_reference_images": self.num_reference_images,
        }

    @property
    def protocol(self) -> str:
        """What rows must have in common to stand in one table."""
        classifier = f"; {self.classifier.label}" if self.classifier is not None else ""
        return (
            f"{self.encoder.label}; N={self.num_samples}; "
            f"reference: {self.num_reference_images} training images of "
            f"{'x'.join(map(str, self.dataset.image_shape))}{classifier}"
        )

    @property
    def description(self) -> dict[str, str]:
        """What a row records about how it was measured."""
        classifier = self.classifier
        believed = classifier is not None and classifier.test_accuracy >= BELIEVED_ACCURACY
        return {
            "headline": headline(believed),
            "protocol": self.protocol,
            "kid_encoder": self.encoder.label,
            "classifier": classifier.description if classifier is not None else "",
        }

    def row_key(self, preset: str = "") -> str:
        """The key that distinguishes a row from other measurements of the same samples.

        Args:
            preset: The preset whose table has the row; empty for rows of all tables.
        """
        instruments = {name: self.recipe(name) for name in (ENCODER, CLASSIFIER)}
        return digest([instruments, self.num_samples, self.reference, preset])

    def recipe(self, instrument: str) -> dict[str, Any] | None:
        """What the outputs of `"encoder"` or `"classifier"` depend on, apart from code."""
        found = self._instrument(instrument)
        return None if found is None else found.recipe

    def _instrument(self, name: str) -> Any:
        return self.encoder if name == ENCODER else self.classifier

    def number_key(self, *, options: Any, module: str, instruments: list[str], subject: Any) -> str:
        """The key of a metric's numbers: a hash of everything that determines them.

        Args:
            options: The metric's options.
            module: The module of its class.
            instruments: Those that it uses.
            subject: What it measures, and against what, ready for JSON.
        """
        used = {name: self._recipe_and_code(name) for name in instruments}
        return digest([options, self._version(module), used, subject])

    def _recipe_and_code(self, instrument: str) -> dict[str, Any] | None:
        if instrument not in self._recipes:
            found = self._instrument(instrument)
            self._recipes[instrument] = None if found is None else instrument_recipe(found)
        return self._recipes[instrument]

    def _version(self, module: str) -> str:
        if module not in self._code:
            self._code[module] = module_version(module)
        return self._code[module]

    def evaluation(
        self, images: np.ndarray, *, source: dict[str, Any], features: Folder, **subject: Any
    ) -> ObservedEvaluation:
        """Builds what a metric is called with.

        Args:
            images: uint8 `(N, height, width, channels)`, the images to measure.
            source: What they are, ready for JSON.
            features: Where their features are kept.
            **subject: `sampler` and `generated_labels` of an `Evaluation`.
        """
        generated = (images, source, features)
        return ObservedEvaluation(
            real_images=self.real_images,
            reference_images=self.reference_images,
            generated_images=images,
            seed=REFERENCE_SEED,
            real_labels=(self.dataset.channel_dataset or self.dataset).train_labels,
            num_classes=self.dataset.num_classes,
            class_names=self.dataset.class_names,
            training_images=self.dataset.train_images,
            stacked=self.dataset.channel_dataset is not None,
            encoders={self.encoder.name: self.encoder},
            classifier=self.classifier,
            encode=lambda encoder, role: kept_features(
                encoder,
                *(generated if role == "generated" else self._real(role)),
                what=f"{role} images",
            ),
            **subject,
        )

    def _real(self, role: str) -> tuple[np.ndarray, dict[str, Any], Folder]:
        """The images of a role, what they are, and where their features are kept."""
        images = self.real_images if role == "real" else self.reference_images
        source = {name: self.reference[name] for name in ("dataset", "split", "draw")}
        return images, {**source, "num_images": len(images)}, Folder(self.cache.path / FEATURES)

    def sanity_images(self, row: str) -> np.ndarray:
        """Images whose scores are known beforehand: the floor and the ceilings of the table."""
        test_images = draw(self.dataset.test_images, self.num_samples, REFERENCE_SEED)
        if row == "test_images":
            return test_images
        if row == "noise":
            shape = (self.num_samples, *test_images.shape[1:])
            return np.random.default_rng(REFERENCE_SEED).integers(0, 256, shape, dtype="uint8")
        repeated = test_images[:1]
        if row == "few_images":
            repeated = draw(self.dataset.test_images, NUM_FEW, REFERENCE_SEED)
        return np.resize(repeated, (self.num_samples, *test_images.shape[1:]))  # one after another

    def shortfall(self, num_samples: int) -> list[str]:
        """A note, if there are fewer samples than the dataset's protocol asks for."""
        wanted = self.dataset.protocol_samples
        if wanted is None or num_samples >= wanted:
            return []
        return [f"{num_samples:,} samples, not the {wanted:,} of {self.dataset.name}'s protocol"]


def build_evaluator(builder: Any, dataset: Any) -> Evaluator:
    """Builds the instruments; rejects before training what they could not measure afterwards.

    Args:
        builder: The `benchmark.cli.RunBuilder` of a run or of an evaluation.
        dataset: Its `ImageDataset`.

    Raises:
        UserError: If a metric needs more images than there are.
    """
    settings, metrics = builder.settings, builder.build_metrics()
    chosen = {key: settings[key] for key in ("num_samples", "num_reference_images")}
    available = min(*chosen.values(), len(dataset.train_images))
    for name, metric in metrics.items():
        if available < metric.minimum_samples:
            raise UserError(
                f"metric.{name} needs at least {metric.minimum_samples} images on each side. "
                f"Received: {', '.join(f'{key}={count}' for key, count in chosen.items())} and "
                f"{len(dataset.train_images)} training images"
            )
    cache = Folder(settings["cache_dir"])
    sweep(cache.path / FEATURES, ".*", hours=1)  # others may write to it now
    return Evaluator(
        dataset,
        encoder=builder.build_encoder(),
        metrics=metrics,
        metric_settings=settings["metric"],
        **chosen,
        cache=cache,
    )


def draw(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws up to `count` images without replacement."""
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    return np.asarray(images[np.sort(chosen)])

"""Runs the metrics over samples, and over images that no model made."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark import console
from benchmark.classifiers import load_classifier
from benchmark.errors import UserError
from benchmark.features import encode, reference_features
from benchmark.machine import measuring_alone, pause, working_seconds
from benchmark.provenance import MEASURED_CODE, code_version
from benchmark.results import Folder, digest

REFERENCE_SEED = 2020  # of the choice of real images, the same for every run
SANITY_ROWS = ("test_images", "noise", "repeated_image")


@dataclass
class Scores:
    """What the metrics say of one set of images.

    Attributes:
        values: Named numbers, the columns of the table.
        details: What a metric has beyond numbers, by metric.
        seconds: How long it took, by stage: `instruments`, `measuring`, and `latency` apart.
        notes: Why something was not measured, or not as its protocol asks.
    """

    values: dict[str, float] = field(default_factory=dict)
    details: dict[str, dict] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: str = ""


class Judge:
    """The instruments that all rows of a table are measured with.

    The reference are as many training images as there are samples, drawn once for all runs.

    Args:
        dataset: The `ImageDataset`.
        encoder: A `metrics.base.Encoder`, the quality metrics' feature space.
        metrics: Metrics by name.
        metric_settings: Their options, for the key.
        num_samples: Images on each side.
        cache: Where the classifier and the reference's features are kept between runs.

    Raises:
        UserError: If the encoder is the dataset's classifier and the dataset has no labels.
    """

    def __init__(self, dataset, *, encoder, metrics, metric_settings, num_samples, cache):
        self.dataset = dataset
        self.metrics = metrics
        self.num_samples = num_samples
        self.cache: Folder = cache
        self._classifier: Any = None
        if encoder.requires_classifier:
            if self.classifier is None:
                raise UserError(
                    f"encoder=digits is a classifier's; dataset {dataset.name} has no labels"
                )
            encoder = self.classifier
        self.encoder = encoder
        self.reference = draw(dataset.train_images, num_samples, REFERENCE_SEED)
        plan = metric_settings.get("kid", {})
        self.protocol = (
            f"{encoder.label}; N={num_samples}; "
            f"KID {plan.get('num_subsets')}x{plan.get('subset_size')}; "
            f"reference: {len(self.reference)} training images of "
            f"{'x'.join(map(str, dataset.image_shape))}"
        )
        self.key = digest(
            [
                metric_settings,
                encoder.recipe,
                dataset.fingerprint,
                num_samples,
                code_version(MEASURED_CODE),
            ]
        )

    @property
    def description(self) -> dict[str, str]:
        """What a row says of how it was measured."""
        return {
            "protocol": self.protocol,
            "kid_encoder": self.encoder.label,
            "classifier": self.classifier.description if self.classifier else "",
            "judge": self.key[:8],
        }

    def scores(self, images: np.ndarray, sampler: Any = None) -> Scores:
        """Measures `images` (uint8 NHWC), and the speed of `sampler` where there is one."""
        from metrics.base import Evaluation, NotMeasured

        start = working_seconds()
        evaluation = Evaluation(  # trains the classifier if there is none
            real_images=self.reference,
            generated_images=images,
            seed=REFERENCE_SEED,
            real_labels=(self.dataset.channel_dataset or self.dataset).train_labels,
            num_classes=self.dataset.num_classes,
            class_names=self.dataset.class_names,
            training_images=self.dataset.train_images,
            stacked=self.dataset.channel_dataset is not None,
            encoders={self.encoder.name: self.encoder},
            classifier=self.classifier,
            sampler=sampler,
            generated_labels=None if sampler is None else sampler.labels(0, len(images)),
            encode=lambda encoder, role: self.encode(encoder, evaluation.images(role)),
        )
        scores, notes = Scores(details=evaluation.details), self._shortfall(len(images))
        scores.seconds["instruments"] = working_seconds() - start
        for name, metric in self.metrics.items():
            if metric.requires_sampler and sampler is None:
                continue
            if len(images) < metric.minimum_samples:  # of a dataset with few test images
                notes.append(f"{name} not measured: it needs {metric.minimum_samples} images")
                continue
            pause()
            start = working_seconds()
            alone = measuring_alone() if metric.requires_sampler else contextlib.nullcontext()
            try:
                with alone:
                    scores.values.update(metric(evaluation))
                console.say(f"{name}: {console.duration(working_seconds() - start)}")
            except NotMeasured as reason:
                notes.append(f"{name} not measured: {reason}")
                console.say(notes[-1], style="yellow")
            stage = "latency" if metric.requires_sampler else "measuring"
            scores.seconds[stage] = scores.seconds.get(stage, 0.0) + working_seconds() - start
        scores.notes = "; ".join(notes)
        return scores

    def _shortfall(self, num_samples: int) -> list[str]:
        """What to note where there are fewer samples than the dataset's protocol asks for."""
        wanted = self.dataset.protocol_samples
        if wanted is None or num_samples >= wanted:
            return []
        return [f"{num_samples:,} samples, not the {wanted:,} of {self.dataset.name}'s protocol"]

    def sanity_images(self, row: str) -> np.ndarray:
        """Images whose scores are known beforehand: the floor and the ceilings of the table."""
        test_images = draw(self.dataset.test_images, self.num_samples, REFERENCE_SEED)
        if row == "test_images":
            return test_images
        if row == "noise":
            shape = (self.num_samples, *test_images.shape[1:])
            return np.random.default_rng(REFERENCE_SEED).integers(0, 256, shape, dtype="uint8")
        return np.repeat(test_images[:1], self.num_samples, axis=0)

    def encode(self, encoder, images: np.ndarray) -> np.ndarray:
        """Features of `images`; those of the reference are kept in the cache."""
        if images is not self.reference:
            return encode(encoder, images, "images")
        source = {
            "dataset": self.dataset.fingerprint,
            "split": "train",
            "num_images": len(images),
            "draw": REFERENCE_SEED,
        }
        return reference_features(encoder, images, source=source, cache=self.cache)

    @property
    def classifier(self):
        """The mode classifier of this dataset, trained once; `None` without labels."""
        if self._classifier is None and self.dataset.num_classes:
            judged = self.dataset.channel_dataset or self.dataset
            self._classifier = load_classifier(judged, self.cache)
        return self._classifier


def draw(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws up to `count` images without replacement."""
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    return np.asarray(images[np.sort(chosen)])

"""Mode coverage through the whole evaluator: which datasets it measures, and by which rule."""

import numpy as np
import pytest

from benchmark.datasets import ImageDataset
from benchmark.datasets.stacked_mnist import StackedImages
from benchmark.evaluation import Evaluator
from benchmark.measurement import Subject, measure
from benchmark.results import Folder
from metrics.coverage import ModeCoverage
from metrics.kid import KID

NUM_CLASSES, SIZE = 3, 8


class FirstPixels:
    """An encoder that is quick."""

    name, label, weights_hash = "pixels", "pixels", "0"
    recipe = {"encoder": "pixels"}
    requires_classifier = False

    def __call__(self, images, progress=None):
        return images.reshape(len(images), -1)[:, :6].astype(np.float32)


def bars(count, *, seed):
    """Grey images with a bright bar on the left, in the middle or on the right: three classes."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(
        np.repeat(np.arange(NUM_CLASSES), [count // 2, count // 10 * 3, count // 5])
    )
    images = generator.integers(0, 60, (count, SIZE, SIZE, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label : 3 * label + 2] += 180
    return images, labels


def dataset_of(train, test, **options):
    values = {
        "name": "bars",
        "num_classes": NUM_CLASSES,
        "fingerprint": options.get("name", "bars"),
        "class_names": tuple("abc"),
    }
    return ImageDataset(
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
        **{**values, **options},
    )


def stack(images, labels, *, count, seed):
    sources = np.random.default_rng(seed).integers(len(images), size=(count, 3))
    return StackedImages(images, sources), labels[sources] @ [9, 3, 1]


@pytest.fixture
def learnable():
    return dataset_of(bars(1500, seed=0), bars(300, seed=1))


@pytest.fixture
def stacked(learnable):
    train, test = (
        stack(*pair, count=count, seed=count)
        for pair, count in (
            ((learnable.train_images, learnable.train_labels), 900),
            ((learnable.test_images, learnable.test_labels), 400),
        )
    )
    return dataset_of(
        train,
        test,
        name="stacked_bars",
        num_classes=27,
        class_names=tuple(str(index) for index in range(27)),
        channel_dataset=learnable,
        protocol_samples=300,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all, so that the classifier of the bars is trained once."""
    return Folder(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def evaluator(cache):
    def build(dataset, num_samples=300):
        metrics = {
            "mode_coverage": ModeCoverage(),
            "kid_digits": KID(encoder="digits", prefix="kid_digits", num_subsets=3, subset_size=50),
        }
        return Evaluator(
            dataset,
            encoder=FirstPixels(),
            metrics=metrics,
            metric_settings=dict.fromkeys(metrics, {}),
            num_samples=num_samples,
            num_reference_images=300,
            cache=cache,
        )

    return build


@pytest.fixture
def measured(tmp_path):
    def measure_images(evaluator, images):
        return measure(evaluator, Subject(Folder(tmp_path / "samples"), images))

    return measure_images


def test_a_dataset_that_can_be_learned_is_measured(evaluator, measured, learnable):
    scores = measured(evaluator(learnable), learnable.test_images)
    assert scores.values["modes_covered"] == scores.values["num_modes"] == 3
    assert scores.values["classifier_accuracy"] >= 0.992
    assert scores.notes == []


def test_a_dataset_that_cannot_be_learned_is_not_measured_and_says_why(evaluator, measured):
    images, _ = bars(500, seed=0)
    labels = np.random.default_rng(2).integers(0, NUM_CLASSES, 500)
    halves = (images[:300], labels[:300]), (images[300:], labels[300:])
    dataset = dataset_of(*halves, name="unlearnable")
    scores = measured(evaluator(dataset), images[:200])
    assert "modes_covered" not in scores.values and "kid_digits_mean" in scores.values
    (note,) = scores.notes
    assert note.startswith("mode_coverage not measured: the classifier is right on ")
    assert "believed from 80.00% on" in note


def test_stacked_images_are_judged_by_the_classifier_of_their_channels(
    evaluator, measured, stacked
):
    instruments = evaluator(stacked)
    scores = measured(instruments, instruments.sanity_images("test_images"))
    assert instruments.classifier.image_shape == (SIZE, SIZE, 1)
    assert scores.values["num_modes"] == 27 and scores.values["modes_covered"] >= 24
    assert scores.values["mode_kl"] == pytest.approx(scores.values["mode_kl_floor"], rel=0.25)
    assert abs(scores.values["kid_digits_mean"]) < 0.05
    # The real fractions are products of the training digits', not those of the 900 stacks.
    fractions = np.bincount(stacked.channel_dataset.train_labels) / 1500
    real = np.array(scores.details("mode_coverage")["real_histogram"])
    assert real[0] / real.sum() == pytest.approx(fractions[0] ** 3)
    assert real[1] / real.sum() == pytest.approx(fractions[0] ** 2 * fractions[1])


def test_one_stack_repeated_is_one_mode(evaluator, measured, stacked):
    instruments = evaluator(stacked)
    scores = measured(instruments, instruments.sanity_images("repeated_image"))
    assert scores.values["modes_covered"] == 1
    assert scores.values["mode_kl"] == pytest.approx(np.log(27))
    assert scores.values["kid_digits_mean"] > 0.5


@pytest.mark.parametrize(
    ("num_samples", "notes"),
    [(299, ["299 samples, not the 300 of stacked_bars's protocol"]), (300, []), (301, [])],
)
def test_fewer_samples_than_the_protocol_asks_for_are_noted(evaluator, stacked, num_samples, notes):
    assert evaluator(stacked).shortfall(num_samples) == notes

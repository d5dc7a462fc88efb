"""The evaluator draws what samples are compared with, and says what it cannot measure."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.datasets import ImageDataset
from benchmark.errors import UserError
from benchmark.evaluation import NUM_FEW, Evaluator, build_evaluator
from benchmark.headline import headline
from benchmark.measurement import Subject, measure
from benchmark.results import Folder
from metrics.prdc import PRDC


class MeanColour:
    """An encoder whose features are the means of rows of pixels."""

    name = label = "mean_colour"
    weights_hash = "0" * 8
    recipe = {"name": "mean_colour"}
    requires_classifier = False

    def __call__(self, images, progress=None):
        return images.mean(axis=(2, 3)).astype("float32")


@pytest.fixture
def build(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype="uint8")

    def build_with(num_test_images=30, **options):
        dataset = ImageDataset(
            name="pictures",
            train_images=images,
            train_labels=np.zeros(60, "int64"),
            test_images=images[:num_test_images],
            test_labels=np.zeros(num_test_images, "int64"),
            num_classes=None,
            fingerprint="",
        )
        return Evaluator(
            dataset,
            encoder=MeanColour(),
            metrics={"prdc": PRDC(nearest_k=5)},
            metric_settings={"prdc": {}},
            cache=Folder(tmp_path),
            **{"num_samples": 40, "num_reference_images": 50, **options},
        )

    return build_with


@pytest.fixture
def measure_row(tmp_path):
    def measure_images(evaluator, row):
        return measure(evaluator, Subject(Folder(tmp_path / row), evaluator.sanity_images(row)))

    return measure_images


def test_too_few_test_images_are_not_measured_and_noted(build, measure_row):
    evaluator = build(num_test_images=4)
    few = measure_row(evaluator, "test_images")
    assert few.values == {}
    assert few.notes == ["prdc not measured: it needs 6 images"]
    assert 0.0 <= measure_row(evaluator, "noise").values["precision"] <= 1.0


def test_enough_test_images_are_measured(build, measure_row):
    measured = measure_row(build(), "test_images")
    assert measured.values["precision"] > 0.5 and not measured.notes


@pytest.mark.parametrize(
    ("num_samples", "num_reference_images"), [(5, 50), (40, 5)], ids=["samples", "reference"]
)
def test_too_few_images_for_a_metric_are_refused_before(build, num_samples, num_reference_images):
    settings = {"num_samples": num_samples, "num_reference_images": num_reference_images}
    parts = SimpleNamespace(settings=settings, build_metrics=lambda: {"prdc": PRDC(nearest_k=5)})
    with pytest.raises(UserError, match="prdc needs at least 6 images.*_images=.* and 60 training"):
        build_evaluator(parts, build().dataset)


def test_real_images_are_as_many_as_samples_and_the_reference_larger(build):
    evaluator = build()
    assert (len(evaluator.real_images), len(evaluator.reference_images)) == (40, 50)
    reference = {image.tobytes() for image in evaluator.reference_images}
    assert {image.tobytes() for image in evaluator.real_images} < reference
    assert len(build(num_reference_images=10_000).reference_images) == 60
    assert "N=40; reference: 50 training images of 8x8x3" in evaluator.protocol


def test_images_have_roles_even_where_they_are_the_same(build, tmp_path):
    """Identity says nothing: the real images as samples have features of their own."""
    evaluator = build()
    evaluation = evaluator.evaluation(
        evaluator.real_images, features=Folder(tmp_path / "own"), source={"images": "0"}
    )
    real, generated = evaluation.features()
    np.testing.assert_array_equal(real, generated)
    assert len(evaluation.reference_features()) == 50
    assert len(list((tmp_path / "own").glob("*.npz"))) == 1
    assert len(list((tmp_path / "features").glob("*.npz"))) == 2


@pytest.mark.parametrize(
    ("row", "num_different", "times"),
    [("few_images", NUM_FEW, 2), ("repeated_image", 1, 40), ("noise", 40, 1)],
)
def test_sanity_images_are_what_their_names_say(build, row, num_different, times):
    images = build().sanity_images(row)
    _, counts = np.unique(images.reshape(40, -1), axis=0, return_counts=True)
    assert counts.tolist() == num_different * [times]
    test_images = {image.tobytes() for image in build().dataset.test_images}
    assert ({image.tobytes() for image in images} <= test_images) == (row != "noise")


def test_without_labels_the_headline_needs_no_classifier(build):
    description = build().description
    assert description["headline"] == headline(False) and description["classifier"] == ""

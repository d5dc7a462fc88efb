"""The judge measures what can be measured, and says of the rest why not."""

import numpy as np

from benchmark.datasets import ImageDataset
from benchmark.evaluation import Judge
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


def judge_of(folder, num_test_images):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype="uint8")
    dataset = ImageDataset(
        name="pictures",
        train_images=images,
        train_labels=np.zeros(60, "int64"),
        test_images=images[:num_test_images],
        test_labels=np.zeros(num_test_images, "int64"),
        num_classes=None,
        fingerprint="",
    )
    return Judge(
        dataset,
        encoder=MeanColour(),
        metrics={"prdc": PRDC(nearest_k=5)},
        metric_settings={},
        num_samples=40,
        cache=Folder(folder),
    )


def test_too_few_test_images_are_not_measured_and_noted(tmp_path):
    judge = judge_of(tmp_path, num_test_images=4)
    scores = judge.scores(judge.sanity_images("test_images"))
    assert scores.values == {}
    assert scores.notes == "prdc not measured: it needs 6 images"
    assert 0.0 <= judge.scores(judge.sanity_images("noise")).values["precision"] <= 1.0


def test_enough_test_images_are_measured(tmp_path):
    judge = judge_of(tmp_path, num_test_images=30)
    scores = judge.scores(judge.sanity_images("test_images"))
    assert scores.values["precision"] > 0.5 and not scores.notes

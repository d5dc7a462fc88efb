"""The mode classifier of a dataset; `python -m benchmark.classifiers` trains the packaged ones.

    python -m benchmark.classifiers dataset=mnist

trains the classifier of a labelled dataset and writes it to a file, with its test accuracy, its
calibration, and the fraction of each kind of image that it rejects. This takes a few minutes on two
idle cores. To package a new classifier, move the file to metrics/weights and add its SHA-256 to
`metrics.classifier.PACKAGED`.
"""

import argparse
import contextlib
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import console
from benchmark.errors import EnvironmentProblem
from benchmark.machine import pause
from benchmark.provenance import code_version
from benchmark.results import Folder, digest

CLASSIFIER_SEED = 0
CLASSIFIER_CODE = (
    "metrics/calibration.py",
    "metrics/classifier.py",
    "metrics/classifier_training.py",
    "metrics/outliers.py",
)
# Departures from the recipe's defaults: clothes are harder to distinguish, and always upright.
RECIPES: dict[str, dict[str, Any]] = {
    "fashion_mnist": {"widths": (32, 64, 128), "max_rotation": 5.0, "max_scaling": 0.05},
}
MINIMUM_CONFIDENCE = 0.9
NUM_OF_A_KIND = 2000
OTHER_PICTURES = "pictures of other things"


def load_classifier(dataset, cache: Folder):
    """Finds the dataset's mode classifier in the package or in the cache, or trains it.

    The packaged one is used only for the images it was trained for: MNIST and Fashion-MNIST at
    their original size. For other sizes and other datasets, one is trained once and cached.

    Args:
        dataset: A labelled `ImageDataset`.
        cache: Folder of all caches.

    Returns:
        A `metrics.classifier.ModeClassifier`.

    Raises:
        EnvironmentProblem: If a packaged file is missing or damaged.
    """
    from metrics.classifier import ModeClassifier

    packaged = find_packaged(dataset)
    if packaged is not None:
        return packaged
    key = digest([dataset.fingerprint, code_version(CLASSIFIER_CODE)])
    name = f"classifiers/{dataset.name}_{key}.npz"
    arrays = cache.recall_arrays(name)
    if arrays is not None:
        return ModeClassifier.from_arrays(arrays)
    with cache.waiting_lock("classifier"):
        arrays = cache.recall_arrays(name)
        if arrays is not None:
            return ModeClassifier.from_arrays(arrays)
        console.say(f"training the mode classifier for {dataset.name}; it is cached afterwards")
        classifier = train(dataset)
        cache.write_arrays(name, classifier.to_arrays())
    console.say(classifier.description)
    return classifier


def find_packaged(dataset):
    """The classifier in the package that was made for the dataset's images, or `None`."""
    from metrics.classifier import PACKAGED, load_packaged_classifier

    if dataset.name not in PACKAGED:
        return None
    try:
        classifier = load_packaged_classifier(dataset.name)
    except ValueError as error:
        raise EnvironmentProblem(str(error)) from error
    if classifier.image_shape != dataset.image_shape:
        return None
    made_for = classifier.record["test_split"] == hash_split(
        dataset.test_images, dataset.test_labels
    )
    return classifier if made_for else None


def hash_split(images, labels: np.ndarray) -> str:
    """SHA-256 of images and labels, independent of their order, which differs between sources."""
    hashes = sorted(
        hashlib.sha256(f"{label} ".encode() + np.asarray(image).tobytes()).digest()
        for image, label in zip(images, labels, strict=True)
    )
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def train(dataset):
    """Trains the dataset's classifier, showing progress."""
    from metrics.classifier_training import Recipe, train_classifier

    recipe = Recipe(**RECIPES.get(dataset.name, {}))
    with console.progress("epoch", recipe.epochs) as update:
        return train_classifier(
            images=dataset.train_images,
            labels=dataset.train_labels,
            test_images=dataset.test_images,
            test_labels=dataset.test_labels,
            num_classes=dataset.num_classes,
            seed=CLASSIFIER_SEED,
            recipe=recipe,
            callbacks=[epoch_progress(update)],
        )


def epoch_progress(update):
    """A Keras callback that shows finished epochs and their loss."""
    import keras

    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: update(epoch + 1, f"loss {logs['loss']:.4f}"),
        on_train_batch_end=lambda batch, logs: pause(),  # an epoch is long
    )


def rejected_fraction(classifier, images: np.ndarray) -> float:
    """Fraction of the images for which the classifier is not sure of any class."""
    confidences = classifier.predict_probabilities(images).max(axis=1)
    return float(np.mean(confidences < MINIMUM_CONFIDENCE))


def rejections(classifier, dataset, others: np.ndarray | None) -> dict[str, dict[str, float]]:
    """The fraction of each kind of image that the classifier rejects.

    Args:
        classifier: A `ModeClassifier`.
        dataset: Its `ImageDataset`; its test images are classified, both as they are and changed.
        others: Pictures of other things, uint8 of the dataset's shape, or `None`.

    Returns:
        Fractions by group and kind.
    """
    from metrics import outliers

    groups = {
        "seen in training": outliers.TRAINED_KINDS,
        "held out": outliers.HELD_OUT_KINDS,
        "recognisable": outliers.RECOGNISABLE_KINDS,
    }
    test_images = np.asarray(dataset.test_images)
    table = {
        group: {
            name: rejected_fraction(
                classifier, kind(np.random.default_rng(CLASSIFIER_SEED), NUM_OF_A_KIND, test_images)
            )
            for name, kind in kinds.items()
        }
        for group, kinds in groups.items()
    }
    if others is not None:
        table["held out"][OTHER_PICTURES] = rejected_fraction(classifier, others)
    table["recognisable"]["test images"] = rejected_fraction(classifier, test_images)
    return table


def other_pictures(dataset, cache_dir: str) -> np.ndarray | None:
    """Test images of Fashion-MNIST for MNIST, and of MNIST for others; `None` if unavailable."""
    from benchmark.datasets.fashion_mnist import load_fashion_mnist
    from benchmark.datasets.mnist import load_mnist

    height, width, channels = dataset.image_shape
    if channels != 1 or height != width:
        return None
    load = load_fashion_mnist if dataset.name == "mnist" else load_mnist
    with contextlib.suppress(EnvironmentProblem):
        return load(image_size=height, cache_dir=cache_dir).test_images[:NUM_OF_A_KIND]
    return None


def describe(classifier, dataset, others: np.ndarray | None) -> None:
    """Adds to the classifier's record what it was made for and what it rejects."""
    classifier.record |= {
        "dataset": dataset.name,
        "test_split": hash_split(dataset.test_images, dataset.test_labels),
        "test_accuracy": classifier.test_accuracy,
        "minimum_confidence": MINIMUM_CONFIDENCE,
        "rejected": rejections(classifier, dataset, others),
    }


def show(record: Mapping[str, Any]) -> None:
    """Prints the fraction of each kind of image that is rejected."""
    lines = [
        [group, kind, f"{fraction:.2%}"]
        for group, kinds in record["rejected"].items()
        for kind, fraction in kinds.items()
    ]
    console.table(["Images", "Kind", "Rejected"], [False, False, True], lines, [])


def main(arguments: list[str] | None = None) -> int:
    """Runs `python -m benchmark.classifiers dataset=NAME`; 0 is success."""
    from benchmark.cli import choose_device, compose, exit_on_user_error, import_backend
    from metrics.encoders import hash_file

    parser = argparse.ArgumentParser(prog="python -m benchmark.classifiers", description=__doc__)
    parser.add_argument("overrides", nargs="+", metavar="dataset=NAME", help="and its options")
    parser.add_argument("--folder", type=Path, default=Path(), help="to write to (default: here)")
    options = parser.parse_intermixed_args(arguments)
    with exit_on_user_error():
        builder = compose(*options.overrides)
        choose_device(builder.settings)
        import_backend()
        dataset = builder.load_dataset()
        if dataset.num_classes is None:
            parser.error(f"dataset {dataset.name} has no labels")
        classifier = train(dataset)
        describe(classifier, dataset, other_pictures(dataset, builder.settings["cache_dir"]))
        path = options.folder / f"classifier_{dataset.name}.npz"
        np.savez(path, **classifier.to_arrays())
        show(classifier.record)
        console.say(classifier.description)
        console.say(f"{path}: SHA-256 {hash_file(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

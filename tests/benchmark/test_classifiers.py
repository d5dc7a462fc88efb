"""Which classifier judges a dataset: the packaged one, or one that is trained and cached."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark import classifiers
from benchmark.classifiers import find_packaged, hash_split, load_classifier, main
from benchmark.datasets import ImageDataset, fashion_mnist
from benchmark.datasets.idx import IDX_FILES
from benchmark.datasets.mnist import load_mnist
from benchmark.datasets.stacked_mnist import load_stacked_mnist
from benchmark.errors import EnvironmentProblem
from benchmark.results import Folder
from metrics import classifier as packaged
from metrics.class_fractions import correct_fractions
from metrics.classifier import PACKAGED, ModeClassifier
from tests.benchmark.test_datasets import write_idx_folder

SIZE = 8


@pytest.fixture(scope="module")
def mnist(shared_cache):
    return load_mnist(cache_dir=shared_cache)


def bars(count, *, seed):
    """Grey images with a bright bar on the left or on the right."""
    labels = np.arange(count) % 2
    images = np.random.default_rng(seed).integers(0, 60, (count, SIZE, SIZE, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 5 * label : 5 * label + 2] += 180
    return images, labels


@pytest.fixture
def small():
    (train_images, train_labels), (test_images, test_labels) = bars(200, seed=0), bars(40, seed=1)
    return ImageDataset(
        name="bars",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=2,
        fingerprint="bars",
        class_names=("left", "right"),
    )


@pytest.fixture
def count_trainings(monkeypatch):
    trained = []
    train = classifiers.train
    monkeypatch.setattr(classifiers, "train", lambda x: trained.append(x.name) or train(x))
    return trained


def test_mnist_is_judged_by_the_packaged_classifier(mnist, tmp_path, count_trainings):
    classifier = load_classifier(mnist, Folder(tmp_path))
    assert classifier.record["dataset"] == "mnist"
    assert count_trainings == [] and list(tmp_path.iterdir()) == []


def test_so_are_the_channels_of_stacked_mnist(shared_cache):
    stacked = load_stacked_mnist(num_train_images=50, num_test_images=50, cache_dir=shared_cache)
    assert find_packaged(stacked.channel_dataset).record["dataset"] == "mnist"


def test_the_same_images_in_another_order_are_the_same_dataset(mnist):
    order = np.random.default_rng(0).permutation(len(mnist.test_labels))
    images, labels = np.array(mnist.test_images)[order], mnist.test_labels[order]
    assert find_packaged(replace(mnist, test_images=images, test_labels=labels)) is not None
    labels[0] = (labels[0] + 1) % 10
    assert find_packaged(replace(mnist, test_images=images, test_labels=labels)) is None


def test_other_sizes_and_other_images_of_that_name_are_not(mnist, small):
    assert find_packaged(replace(small, name="mnist")) is None
    padded = {
        f"{split}_images": np.pad(
            getattr(mnist, f"{split}_images")[:50], ((0, 0), (2, 2), (2, 2), (0, 0))
        )
        for split in ("train", "test")
    }
    labels = {
        f"{split}_labels": getattr(mnist, f"{split}_labels")[:50] for split in ("train", "test")
    }
    assert find_packaged(replace(mnist, **padded, **labels)) is None


def test_a_hash_of_pairs_of_image_and_label():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    same = hash_split(images, np.array([0, 1]))
    assert hash_split(images[::-1], np.array([1, 0])) == same
    assert hash_split(images, np.array([1, 0])) != same
    assert hash_split(images[:1], np.array([0])) != same


def test_a_damaged_packaged_file_is_told(mnist, tmp_path, monkeypatch):
    original = packaged.WEIGHTS / "classifier_mnist.npz"
    content = bytearray(original.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / original.name).write_bytes(content)
    monkeypatch.setattr(packaged, "WEIGHTS", tmp_path)
    with pytest.raises(EnvironmentProblem, match="classifier_mnist.npz is damaged"):
        find_packaged(mnist)


def test_another_dataset_s_is_trained_once_and_cached(small, tmp_path, count_trainings):
    first = load_classifier(small, Folder(tmp_path))
    again = load_classifier(small, Folder(tmp_path))
    assert count_trainings == ["bars"]
    assert first.label == again.label and first.test_accuracy == again.test_accuracy
    images = small.test_images
    np.testing.assert_array_equal(
        first.predict_probabilities(images), again.predict_probabilities(images)
    )


def test_the_command_writes_a_classifier_and_says_what_it_refuses(tmp_path, capsys):
    (train_images, train_labels), (test_images, test_labels) = bars(200, seed=0), bars(40, seed=1)
    arrays = {
        "train_images": train_images[..., 0],
        "train_labels": train_labels,
        "test_images": test_images[..., 0],
        "test_labels": test_labels,
    }
    assert set(arrays) == set(IDX_FILES)
    write_idx_folder(tmp_path / "idx", arrays)
    folder = ["--folder", str(tmp_path)]
    source = [f"dataset.source={tmp_path}/idx", f"dataset.image_size={SIZE}"]
    cache = f"cache_dir={tmp_path}/cache"
    assert main(["dataset=mnist", "dataset.name=bars", *source, *folder, cache]) == 0
    with np.load(tmp_path / "classifier_bars.npz", allow_pickle=False) as arrays:
        classifier = ModeClassifier.from_arrays(arrays)
    assert classifier.record["test_split"] == hash_split(test_images, test_labels)
    rejected = classifier.record["rejected"]
    assert set(rejected) == {"seen in training", "held out", "recognisable"}
    assert "pictures of other things" in rejected["held out"]
    said = capsys.readouterr().out
    assert classifier.label in said and "SHA-256" in said and "uniform noise" in said


def test_a_dataset_without_labels_or_an_unknown_one_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["dataset=nosuch"])
    assert end.value.code == 2
    assert "fashion_mnist" in capsys.readouterr().err


@pytest.mark.parametrize("name", PACKAGED)
def test_what_the_readme_of_the_weights_says(name):
    text = (packaged.WEIGHTS / "README.md").read_text()
    classifier = packaged.load_packaged_classifier(name)
    assert PACKAGED[name] in text
    assert classifier.weights_hash in text
    assert f"{classifier.test_accuracy:.2%}".replace("%", " %") in text
    assert f"python -m benchmark.classifiers dataset={name}" in text


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="no dataset-fashion-mnist")
def test_known_fractions_of_clothes_are_found_again_to_half_a_percentage_point(tmp_path):
    """Half of the test images give the confusion matrix, the other half is drawn from."""
    dataset = fashion_mnist.load_fashion_mnist(cache_dir=tmp_path)
    classifier = find_packaged(dataset)
    assert classifier.record["dataset"] == "fashion_mnist"
    labels = dataset.test_labels
    predicted = classifier.predict_probabilities(np.asarray(dataset.test_images)).argmax(axis=1)
    assert np.mean(predicted == labels) == pytest.approx(classifier.test_accuracy, abs=3e-4)
    generator, errors, uncorrected = np.random.default_rng(0), [], []
    for _ in range(10):
        one, other = np.split(generator.permutation(len(labels)), 2)
        confusion = np.zeros((10, 10), dtype=int)
        np.add.at(confusion, (labels[one], predicted[one]), 1)
        fractions = generator.dirichlet(np.ones(10))
        weights = fractions[labels[other]] / np.bincount(labels[other], minlength=10)[labels[other]]
        drawn = generator.choice(other, 10_000, p=weights / weights.sum())
        known = np.bincount(labels[drawn], minlength=10) / len(drawn)
        counts = np.bincount(predicted[drawn], minlength=10)
        errors.append(correct_fractions(counts=counts, confusion=confusion) - known)
        uncorrected.append(counts / len(drawn) - known)
    assert np.sqrt(np.mean(np.square(errors))) < 0.005
    assert np.mean(np.abs(errors)) < 0.5 * np.mean(np.abs(uncorrected))


def test_the_packaged_files_are_small():
    sizes = [(packaged.WEIGHTS / f"classifier_{name}.npz").stat().st_size for name in PACKAGED]
    assert sum(sizes) < 2_000_000

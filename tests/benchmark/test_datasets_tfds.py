"""TFDS: splits, crops and labels of the datasets that it knows.

The real ones cannot be fetched here: small ones of the same names, features and sizes stand in.
"""

import itertools

import numpy as np
import pytest

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.datasets.tfds import load_tfds
from benchmark.errors import UserError

FLOWER_SPLITS = {"train": 10, "validation": 10, "test": 60}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Stores examples as a dataset of TFDS and returns its folder of datasets."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def store(name, features, splits, version="1.0.0"):
        folder = tmp_path_factory.mktemp("tfds")
        features = tfds.features.FeaturesDict(features)
        signature = tf.nest.map_structure(
            lambda info: tf.TensorSpec(info.shape, info.dtype), features.get_tensor_info()
        )
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version=version,
            features=features,
            split_datasets={
                split: tf.data.Dataset.from_generator(
                    lambda examples=examples: iter(examples), output_signature=signature
                )
                for split, examples in splits.items()
            },
            data_dir=folder,
            disable_shuffling=True,
        )
        return folder

    return store


def known_version(name):
    """The version under which the installed TFDS looks for a dataset of its own."""
    import tensorflow_datasets as tfds

    return str(tfds.builder(name, data_dir="/nonexistent").version)


def flat_examples(count, height, width, num_channels=3, start=0):
    """Examples whose images are of one value, their number."""
    return [
        {
            "image": np.full((height, width, num_channels), start + index, np.uint8),
            "label": index % 2,
        }
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def colours(store):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(10, 10, 3)),
        "label": tfds.features.ClassLabel(names=["dark", "bright"]),
    }
    splits = {"train": flat_examples(40, 10, 10, start=10), "test": flat_examples(20, 10, 10)}
    return store("colours", features, splits)


@pytest.fixture(scope="module")
def plain(store):
    """Grey images under another name, without labels and without test images."""
    import tensorflow_datasets as tfds

    features = {"picture": tfds.features.Image(shape=(8, 8, 1))}
    examples = [{"picture": example["image"]} for example in flat_examples(43, 8, 8, 1)]
    return store("plain", features, {"train": examples})


@pytest.fixture(scope="module")
def cifar10(store):
    import tensorflow_datasets as tfds

    generator = np.random.default_rng(0)
    features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(names=[f"kind {index}" for index in range(10)]),
    }
    splits = {
        split: [
            {
                "id": f"{split}_{index}",
                "image": generator.integers(0, 256, (32, 32, 3), np.uint8),
                "label": index % 10,
            }
            for index in range(count)
        ]
        for split, count in {"train": 50, "test": 20}.items()
    }
    return store("cifar10", features, splits, known_version("cifar10")), splits


def flower(number):
    """A picture of its own size: its number in the central square, white beside it."""
    side, long = 40 + number % 7, 50 + number % 11
    shape = (side, long, 3) if number % 2 else (long, side, 3)
    image = np.full(shape, 255, np.uint8)
    start = (long - side) // 2
    centre = image[:, start : start + side] if number % 2 else image[start : start + side]
    centre[:] = number
    return {"file_name": f"image_{number:05d}.jpg", "image": image, "label": number % 102}


@pytest.fixture(scope="module")
def oxford_flowers102(store):
    import tensorflow_datasets as tfds

    features = {
        "file_name": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(num_classes=102),
    }
    numbers = itertools.count()
    splits = {
        split: [flower(next(numbers)) for _ in range(count)]
        for split, count in FLOWER_SPLITS.items()
    }
    return store("oxford_flowers102", features, splits, known_version("oxford_flowers102"))


@pytest.fixture(scope="module")
def celeb_a(store):
    """Faces as ramps from left to right, inside a white frame around the central 140 pixels."""
    import tensorflow_datasets as tfds

    image = np.full((218, 178, 3), 255, np.uint8)
    image[39:179, 19:159] = np.arange(19, 159, dtype=np.uint8)[:, None]
    example = {
        "attributes": {"Smiling": True, "Young": False},
        "identity": {"Identity_No": 3},
        "image": image,
        "landmarks": {"nose_x": 89, "nose_y": 121},
    }
    features = {
        "attributes": {"Smiling": np.bool_, "Young": np.bool_},
        "identity": {"Identity_No": np.int64},
        "image": tfds.features.Image(shape=(218, 178, 3)),
        "landmarks": {"nose_x": np.int64, "nose_y": np.int64},
    }
    splits = {"train": [example] * 30, "validation": [example] * 10, "test": [example] * 12}
    return store("celeb_a", features, splits, known_version("celeb_a"))


@pytest.fixture
def load_configured(compose_config):
    """Loads a dataset as `python -m benchmark dataset=...` does."""

    def load(name, *overrides):
        config = compose_config(f"dataset={name}", *overrides)
        return RunBuilder(configuration.validate(config), []).load_dataset()

    return load


class TestConfigured:
    def test_cifar10(self, cifar10, load_configured):
        folder, splits = cifar10
        dataset = load_configured("cifar10", f"dataset.source={folder}")
        assert dataset.name == "cifar10" and dataset.num_classes == 10
        assert dataset.horizontal_flip
        for split, images, labels in (
            ("train", dataset.train_images, dataset.train_labels),
            ("test", dataset.test_images, dataset.test_labels),
        ):
            np.testing.assert_array_equal(images, [each["image"] for each in splits[split]])
            np.testing.assert_array_equal(labels, [each["label"] for each in splits[split]])

    def test_oxford_flowers102(self, oxford_flowers102, load_configured):
        dataset = load_configured("oxford_flowers102", f"dataset.source={oxford_flowers102}")
        assert dataset.image_shape == (64, 64, 3) and dataset.num_classes == 102
        assert not dataset.horizontal_flip
        # Four fifths of each of TFDS's splits, one after another.
        train = [*range(0, 8), *range(10, 18), *range(20, 68)]
        test = [8, 9, 18, 19, *range(68, 80)]
        for images, labels, numbers in (
            (dataset.train_images, dataset.train_labels, train),
            (dataset.test_images, dataset.test_labels, test),
        ):
            assert labels.tolist() == [number % 102 for number in numbers]
            expected = np.broadcast_to(np.reshape(numbers, (-1, 1, 1, 1)), images.shape)
            np.testing.assert_array_equal(images, expected)

    def test_celeb_a(self, celeb_a, load_configured):
        dataset = load_configured("celeb_a", f"dataset.source={celeb_a}")
        assert dataset.train_images.shape == (30, 64, 64, 3)
        assert dataset.test_images.shape == (12, 64, 64, 3)
        assert dataset.num_classes is None and dataset.class_names == ()
        assert not dataset.train_labels.any() and dataset.horizontal_flip
        # The middle of each of 64 pixels in the ramp of 140; the outermost average past its end.
        ramp = 19 + (np.arange(64) + 0.5) * 140 / 64 - 0.5
        image = dataset.train_images[0].astype(float)
        assert np.abs(image[:, 1:-1] - ramp[1:-1, None]).max() <= 0.51
        assert np.abs(image[:, [0, -1]] - ramp[[0, -1], None]).max() <= 1

    def test_celeb_a_in_other_sizes(self, celeb_a, load_configured):
        source = f"dataset.source={celeb_a}"
        small = load_configured("celeb_a", source, "dataset.image_size=32")
        assert small.image_shape == (32, 32, 3)
        assert small.train_images.max() < 160
        whole = load_configured("celeb_a", source, "dataset.crop_size=null")
        assert whole.train_images[0, 0].min() == 255
        as_cropped = load_configured("celeb_a", source, "dataset.image_size=null")
        assert as_cropped.train_images[0, 5, :, 1].tolist() == list(range(19, 159))
        with pytest.raises(UserError, match="crop_size=179 is larger than a picture of 178x218"):
            load_configured("celeb_a", source, "dataset.crop_size=179")

    @pytest.mark.parametrize("layout", ["", "cifar10", "cifar10/{version}"])
    def test_a_source_may_be_any_of_tfds_folders(self, cifar10, load_configured, layout):
        folder = cifar10[0] / layout.format(version=known_version("cifar10"))
        assert len(load_configured("cifar10", f"dataset.source={folder}").train_images) == 50

    def test_a_source_of_another_dataset_is_told(self, cifar10, load_configured):
        folder = cifar10[0] / "cifar10" / known_version("cifar10")
        with pytest.raises(UserError, match="holds the dataset cifar10, not celeb_a"):
            load_configured("celeb_a", f"dataset.source={folder}")


class TestSplits:
    def load(self, folder, cache_dir, name="colours", **options):
        return load_tfds(name=name, source=folder, cache_dir=cache_dir, **options)

    def values(self, images):
        return images[:, 0, 0, 0].tolist()

    def test_reads_train_and_test(self, colours, tmp_path):
        dataset = self.load(colours, tmp_path)
        assert dataset.name == "colours" and dataset.class_names == ("dark", "bright")
        assert self.values(dataset.train_images) == list(range(10, 50))
        assert self.values(dataset.test_images) == list(range(20))
        assert dataset.train_labels.tolist() == [0, 1] * 20
        assert dataset.image_shape == (10, 10, 3)

    def test_holds_out_every_tenth_where_there_is_no_test_split(self, plain, tmp_path):
        dataset = self.load(plain, tmp_path, name="plain")
        assert self.values(dataset.test_images) == [9, 19, 29, 39]
        left = sorted(set(range(43)) - {9, 19, 29, 39})
        assert self.values(dataset.train_images) == left
        assert dataset.num_classes is None and not dataset.train_labels.any()

    def test_holds_out_of_the_training_split(self, plain, tmp_path):
        dataset = self.load(plain, tmp_path, name="plain", train_split="train[20:]")
        assert self.values(dataset.test_images) == [29, 39]
        assert len(dataset.train_images) == 21

    def test_takes_splits_in_tfds_grammar(self, colours, tmp_path):
        dataset = self.load(
            colours, tmp_path, train_split="train[:10%]+test[:2]", test_split="test[75%:]"
        )
        assert self.values(dataset.train_images) == [10, 11, 12, 13, 0, 1]
        assert self.values(dataset.test_images) == list(range(15, 20))

    def test_other_splits_are_another_dataset(self, colours, tmp_path):
        datasets = [
            self.load(colours, tmp_path, **options)
            for options in ({}, {"train_split": "train"}, {"test_split": "train"})
        ]
        assert datasets[0].fingerprint == datasets[1].fingerprint != datasets[2].fingerprint
        assert self.values(datasets[2].test_images) == list(range(10, 50))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"train_split": "valid"}, "dataset.train_split=valid: Unknown split 'valid'. "),
            ({"test_split": "test+nope"}, "dataset.test_split=.*Unknown split 'nope'. "),
            ({"train_split": "train[:80"}, "Unrecognized split format"),
            ({"train_split": "train[:0]"}, "it has no examples"),
            ({"test_split": "test[50:]"}, "incompatible with 20 examples"),
            ({"test_split": 5}, "dataset.test_split=5"),
        ],
    )
    def test_unknown_splits_are_told_with_those_there_are(
        self, colours, tmp_path, options, message
    ):
        with pytest.raises(UserError, match=message) as caught:
            self.load(colours, tmp_path, **options)
        text = str(caught.value)
        assert "colours/1.0.0 has the splits: train (40 examples), test (20 examples)" in text
        assert "\n" not in text

    def test_too_few_to_hold_any_out_are_told(self, plain, tmp_path):
        with pytest.raises(UserError, match="9 examples are too few to hold one out"):
            self.load(plain, tmp_path, name="plain", train_split="train[:9]")


class TestTfds:
    def test_several_sizes_need_an_image_size(self, oxford_flowers102, tmp_path):
        options = {"name": "oxford_flowers102", "source": oxford_flowers102, "cache_dir": tmp_path}
        with pytest.raises(UserError, match="dataset.image_size=<pixels>"):
            load_tfds(**options)
        assert load_tfds(image_size=8, **options).train_images.shape == (10, 8, 8, 3)
        assert load_tfds(crop_size=40, **options).image_shape == (40, 40, 3)
        with pytest.raises(UserError, match="crop_size=41 is larger than a picture of 4.x5"):
            load_tfds(crop_size=41, **options)

    def test_second_load_decodes_nothing(self, colours, tmp_path, monkeypatch):
        first = load_tfds(name="colours", source=colours, cache_dir=tmp_path)
        monkeypatch.setattr("benchmark.datasets.tfds._read", None)
        second = load_tfds(name="colours", source=colours, cache_dir=tmp_path)
        assert second.fingerprint == first.fingerprint
        flipped = load_tfds(
            name="colours", source=colours, cache_dir=tmp_path, horizontal_flip=True
        )
        assert flipped.horizontal_flip and flipped.fingerprint != first.fingerprint

    def test_missing_folder_is_told(self, tmp_path):
        with pytest.raises(UserError, match="no folder"):
            load_tfds(name="cifar10", source=tmp_path / "nowhere", cache_dir=tmp_path)

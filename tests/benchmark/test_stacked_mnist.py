"""Stacked MNIST: images that are made when read are images like others, of the right digits."""

import numpy as np
import pytest

from benchmark.datasets.idx import IDX_FILES
from benchmark.datasets.mnist import load_mnist
from benchmark.datasets.stacked_mnist import StackedImages, load_stacked_mnist
from benchmark.errors import UserError
from benchmark.evaluation import draw
from benchmark.pipeline import build_pipeline

SMALL = {"num_train_images": 500, "num_test_images": 200}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def mnist(cache_dir):
    return load_mnist(cache_dir=cache_dir)


@pytest.fixture
def load(cache_dir):
    return lambda **options: load_stacked_mnist(**{**SMALL, "cache_dir": cache_dir, **options})


@pytest.fixture
def write_idx(tmp_path):
    """Writes a folder of IDX files with three labels."""

    def write(*image_shape):
        for split, count in (("train", 60), ("test", 20)):
            generator = np.random.default_rng(count)
            arrays = {
                "images": generator.integers(0, 256, (count, *image_shape), np.uint8),
                "labels": np.arange(count, dtype=np.uint8) % 3,
            }
            for kind, array in arrays.items():
                header = np.array([0x800 + array.ndim, *array.shape], ">u4").tobytes()
                (tmp_path / IDX_FILES[f"{split}_{kind}"]).write_bytes(header + array.tobytes())
        return tmp_path

    return write


def labels_by_image(images, labels):
    return {image.tobytes(): label for image, label in zip(images[:], labels, strict=True)}


@pytest.mark.parametrize("split", ["train", "test"])
def test_channels_are_digits_of_their_own_split_as_the_label_says(load, mnist, split):
    own = labels_by_image(*(getattr(mnist, f"{split}_{kind}") for kind in ("images", "labels")))
    assert len(own) == {"train": 60_000, "test": 10_000}[split]
    dataset = load()
    images, labels = (getattr(dataset, f"{split}_{kind}") for kind in ("images", "labels"))
    for image, label in zip(images, labels, strict=True):
        first, second, third = (own[image[..., channel].tobytes()] for channel in range(3))
        assert label == 100 * first + 10 * second + third


def test_is_a_dataset_of_a_thousand_classes_with_its_protocol(load, mnist):
    dataset = load(num_train_images=501)
    assert dataset.image_shape == (28, 28, 3)
    assert (len(dataset.train_images), len(dataset.test_images)) == (501, 200)
    assert dataset.num_classes == 1000
    assert dataset.class_names[0] == "000" and dataset.class_names[137] == "137"
    assert dataset.train_labels.dtype == np.int64 and dataset.train_labels.max() > 900
    assert dataset.protocol_samples == 26_000
    assert dataset.channel_dataset.fingerprint == mnist.fingerprint
    assert isinstance(dataset.channel_dataset.train_images, np.memmap)


def test_the_same_seed_gives_the_same_images(load):
    first, again, other = load(), load(), load(stack_seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(first.train_images[:], again.train_images[:])
    np.testing.assert_array_equal(first.test_labels, again.test_labels)
    assert (first.train_labels != other.train_labels).mean() > 0.9
    # Never the same digits for training and test, wherever there are as many of them.
    assert (first.train_images.sources[:200] != first.test_images.sources).mean() > 0.9


def test_seed_0_stays_what_it_is(load):
    # Published numbers rest on them: another generator would be another dataset.
    dataset = load()
    assert dataset.train_labels[:8].tolist() == [250, 674, 249, 872, 572, 218, 620, 284]
    assert dataset.test_labels[:8].tolist() == [697, 548, 648, 23, 686, 23, 161, 161]


def test_fewer_images_are_the_first_ones_of_more(load):
    more, fewer = load(), load(num_train_images=50)
    np.testing.assert_array_equal(fewer.train_images[:], more.train_images[:50])
    np.testing.assert_array_equal(fewer.train_labels, more.train_labels[:50])
    assert fewer.fingerprint != more.fingerprint


def test_channels_are_drawn_independently(load):
    labels = load(num_train_images=20_000).train_labels
    digits = np.stack([labels // 100, labels // 10 % 10, labels % 10])
    correlations = np.corrcoef(digits)
    assert np.abs(correlations - np.eye(3)).max() < 5 / np.sqrt(20_000)


def test_32_pixels_are_28_with_a_black_margin(load):
    small, padded = load(), load(image_size=32)
    assert padded.image_shape == (32, 32, 3)
    images = padded.train_images[:100]
    np.testing.assert_array_equal(images[:, 2:-2, 2:-2], small.train_images[:100])
    assert images.sum() == small.train_images[:100].sum()
    np.testing.assert_array_equal(padded.train_labels, small.train_labels)
    digits = padded.channel_dataset
    assert isinstance(digits.train_images, np.memmap) and digits.image_shape == (32, 32, 1)
    np.testing.assert_array_equal(
        digits.test_images[:50, 2:-2, 2:-2], small.channel_dataset.test_images[:50]
    )
    assert padded.fingerprint != small.fingerprint
    assert digits.fingerprint != small.channel_dataset.fingerprint


@pytest.mark.parametrize("image_size", [27, 64, "28", None])
def test_other_sizes_are_told(load, image_size):
    with pytest.raises(UserError, match=r"28, or 32 .* Received: .*(27|64|28|None)"):
        load(image_size=image_size)


def test_other_digits_need_another_name(load, write_idx):
    folder = write_idx(28, 28)
    with pytest.raises(UserError, match=r"not the mnist file .* dataset\.name=<name>"):
        load(source=folder)
    dataset = load(source=folder, name="shapes")
    assert dataset.num_classes == 27 and dataset.class_names[5] == "012"
    assert set(dataset.train_labels) == set(range(27))


def test_colour_images_cannot_be_stacked(load, write_idx):
    with pytest.raises(UserError, match="only grey images .* Received: images of 3 channels"):
        load(source=write_idx(28, 28, 3), name="shapes")


@pytest.fixture
def stacked():
    """Seven images of three channels, and the same as an ordinary array."""
    generator = np.random.default_rng(0)
    channels = generator.integers(0, 256, (10, 4, 5, 1), np.uint8)
    sources = generator.integers(0, 10, (7, 3))
    array = np.concatenate([channels[sources[:, channel]] for channel in range(3)], axis=-1)
    return StackedImages(channels, sources), array


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(3),
        slice(None),
        slice(2, 5),
        slice(5, 100),
        slice(None, None, -2),
        slice(3, 3),
        [4, 0, 4],
        np.array([6, 1, 1, -2]),
        np.array([[0, 1], [2, 3]]),
        np.arange(7) % 2 == 0,
        np.zeros(0, int),
        ...,
    ],
)
def test_is_indexed_as_an_array_is(stacked, index):
    images, array = stacked
    read = images[index]
    assert type(read) is np.ndarray and read.dtype == np.uint8
    np.testing.assert_array_equal(read, array[index], strict=True)


def test_looks_like_an_array(stacked):
    images, array = stacked
    for name in ("shape", "dtype", "ndim", "nbytes"):
        assert getattr(images, name) == getattr(array, name)
    assert len(images) == len(array)
    assert len(list(images)) == len(array)
    np.testing.assert_array_equal(np.asarray(images), array)
    assert np.asarray(images, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy=False"):
        np.array(images, copy=False)


@pytest.mark.parametrize(("index", "error"), [((0, 1), TypeError), (7, IndexError)])
def test_wrong_indices_are_told(stacked, index, error):
    with pytest.raises(error, match=r"Received: \(0, 1\)|out of bounds"):
        stacked[0][index]


def test_what_is_read_is_a_copy(stacked):
    images, array = stacked
    images[:][:] = 0
    images[0][:] = 0
    np.testing.assert_array_equal(images[:], array)


def test_the_pipeline_yields_the_same_rows_and_makes_no_others(load, monkeypatch):
    dataset, most = load(), []
    original = StackedImages.__getitem__

    def read(images, index):
        rows = original(images, index)
        most.append(rows.size // np.prod(images.shape[1:]))
        return rows

    monkeypatch.setattr(StackedImages, "__getitem__", read)
    positions = np.arange(len(dataset.train_images))
    options = {"batch_size": 64, "seed": 3, "num_steps": 12, "labels": positions}
    batches = list(build_pipeline(dataset.train_images, **options).as_numpy_iterator())
    assert max(most) == 64
    assert sorted(np.concatenate([rows for _, rows in batches])[:500]) == positions.tolist()
    for images, rows in batches:
        assert images.shape == (64, 28, 28, 3)
        np.testing.assert_array_equal(images, original(dataset.train_images, rows))


def test_a_draw_is_that_of_an_ordinary_array(load):
    images = load().train_images
    np.testing.assert_array_equal(draw(images, 100, seed=1), draw(images[:], 100, seed=1))

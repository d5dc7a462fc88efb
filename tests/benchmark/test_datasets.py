"""Datasets: what is read is what was written, and what is wrong is told in one line."""

import dataclasses
import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from benchmark.datasets import ImageDataset, cache, mnist, tfds_builder
from benchmark.datasets.fashion_mnist import load_fashion_mnist
from benchmark.datasets.idx import IDX_FILES, read_idx
from benchmark.datasets.mnist import load_mnist
from benchmark.datasets.resize import resize_images
from benchmark.datasets.tfds import load_tfds
from benchmark.errors import EnvironmentProblem, UserError


def idx_bytes(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def idx_arrays(seed=0, num_train=30, num_test=10, size=12):
    generator = np.random.default_rng(seed)
    return {
        "train_images": generator.integers(0, 256, (num_train, size, size), np.uint8),
        "train_labels": np.arange(num_train, dtype=np.uint8) % 3,
        "test_images": generator.integers(0, 256, (num_test, size, size), np.uint8),
        "test_labels": np.arange(num_test, dtype=np.uint8) % 3,
    }


def write_idx_folder(folder, arrays):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        (folder / IDX_FILES[name]).write_bytes(idx_bytes(array))
    return folder


@pytest.fixture
def digits(tmp_path):
    """A folder of small IDX files."""
    return write_idx_folder(tmp_path / "digits", idx_arrays())


@pytest.fixture
def load_digits(tmp_path, digits):
    def load(**options):
        options = {"name": "digits", "source": digits, "image_size": 12} | options
        return load_mnist(cache_dir=tmp_path / "cache", **options)

    return load


@pytest.fixture(scope="module")
def mnist_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mnist_cache")


def image_dataset(**changes):
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, np.int64)
    values = {
        "name": "zeros",
        "train_images": images,
        "train_labels": labels,
        "test_images": images,
        "test_labels": labels,
        "num_classes": 2,
        "fingerprint": "",
        "class_names": ("a", "b"),
    }
    return ImageDataset(**(values | changes))


class TestImageDataset:
    def test_is_frozen_and_knows_its_image_shape(self):
        dataset = image_dataset()
        assert dataset.image_shape == (8, 8, 1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            dataset.name = "other"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"name": "../up"}, "dataset.name"),
            ({"train_images": np.zeros((4, 8, 8, 1), np.float32)}, "must be uint8"),
            ({"train_images": np.zeros((4, 8, 8), np.uint8)}, "must be uint8 of shape"),
            ({"test_images": np.zeros((4, 8, 8, 2), np.uint8)}, "must be uint8 of shape"),
            ({"test_images": np.zeros((4, 9, 9, 1), np.uint8)}, "one shape"),
            ({"train_labels": np.zeros(4, np.int32)}, "must be int64"),
            ({"train_labels": np.zeros(3, np.int64)}, r"of shape \(4,\)"),
            ({"train_labels": np.array([0, 1, 2, 0])}, r"in 0\.\.1. Received: 0\.\.2"),
            ({"test_labels": np.array([0, 1, -1, 0])}, r"Received: -1\.\.1"),
            ({"class_names": ("a",)}, "expected 2 class names"),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, message):
        with pytest.raises(UserError, match=message):
            image_dataset(**changes)

    def test_refuses_an_empty_split(self):
        empty = {"test_images": np.zeros((0, 8, 8, 1), np.uint8)}
        with pytest.raises(UserError, match="at least one image"):
            image_dataset(**empty, test_labels=np.zeros(0, np.int64))


class TestMnist:
    def test_is_embedded_whole(self, mnist_cache):
        dataset = load_mnist(cache_dir=mnist_cache)
        assert dataset.train_images.shape == (60_000, 28, 28, 1)
        assert dataset.test_images.shape == (10_000, 28, 28, 1)
        assert dataset.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
        assert dataset.train_images.mean() == pytest.approx(33.3184, abs=1e-3)
        assert dataset.num_classes == 10 and dataset.class_names == tuple("0123456789")

    def test_second_load_is_quick_and_memory_mapped(self, mnist_cache, monkeypatch):
        first = load_mnist(cache_dir=mnist_cache)
        monkeypatch.setattr(mnist, "CHECKSUMS", None)  # Decoding again would fail.
        start = time.perf_counter()
        second = load_mnist(cache_dir=mnist_cache)
        assert time.perf_counter() - start < 0.5
        assert isinstance(second.train_images, np.memmap)
        assert not second.train_images.flags.writeable
        assert second.fingerprint == first.fingerprint

    def test_source_with_the_same_files_is_the_same_dataset(self, mnist_cache):
        embedded = load_mnist(cache_dir=mnist_cache)
        elsewhere = load_mnist(cache_dir=mnist_cache, source=mnist.EMBEDDED)
        assert elsewhere.fingerprint == embedded.fingerprint

    def test_other_contents_need_another_name(self, load_digits, digits):
        with pytest.raises(UserError, match=r"not the mnist file .* dataset\.name=<name>"):
            load_digits(name="mnist")
        dataset = load_digits(name="digits")
        assert dataset.name == "digits" and dataset.num_classes == 3

    def test_loading_does_not_import_tensorflow(self, tmp_path):
        code = (
            "import sys; from benchmark.datasets.mnist import load_mnist; "
            f"load_mnist(cache_dir={str(tmp_path)!r}); "
            "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestIdx:
    @pytest.mark.parametrize("compressed", [False, True])
    def test_reads_back_what_was_written(self, tmp_path, compressed):
        array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
        path = tmp_path / ("a.gz" if compressed else "a")
        path.write_bytes(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
        np.testing.assert_array_equal(read_idx(path), array)

    @pytest.mark.parametrize(
        ("contents", "message"),
        [
            (b"", "truncated: expected 4 bytes, received 0"),
            (b"\x00\x01\x08\x01\x00\x00\x00\x00", "magic number"),
            (struct.pack(">HBBI", 0, 0x0D, 1, 0), "magic number"),
            (struct.pack(">HBBI", 0, 8, 9, 0), "9 dimensions"),
            (idx_bytes(np.zeros((3, 4)))[:-1], "expected 12 bytes, received 11"),
            (idx_bytes(np.zeros((3, 4)))[:7], "truncated"),
            (idx_bytes(np.zeros((3, 4))) + b"\0", "more in it than its header tells"),
            (struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), "cannot hold"),
        ],
    )
    @pytest.mark.parametrize("compressed", [False, True])
    def test_damaged_files_are_told(self, tmp_path, contents, message, compressed):
        path = tmp_path / ("a.gz" if compressed else "a")
        path.write_bytes(gzip.compress(contents) if compressed else contents)
        with pytest.raises(UserError, match=message) as caught:
            read_idx(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)

    def test_damaged_gzip_is_told(self, tmp_path):
        whole = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, (50, 50))))
        flipped = whole[:100] + bytes([whole[100] ^ 255]) + whole[101:]
        for contents in (whole[:-20], flipped, b"no gzip at all"):
            path = tmp_path / "a.gz"
            path.write_bytes(contents)
            with pytest.raises(UserError, match="Cannot read"):
                read_idx(path)

    def test_missing_folder_and_file_are_told(self, load_digits, digits, tmp_path):
        with pytest.raises(UserError, match="no folder .*dataset.source="):
            load_digits(source=tmp_path / "nowhere")
        (digits / IDX_FILES["test_labels"]).unlink()
        with pytest.raises(UserError, match=f"no {IDX_FILES['test_labels']}"):
            load_digits()

    def test_images_without_their_labels_are_told(self, load_digits, digits):
        write_idx_folder(digits, {"train_labels": np.zeros(29)})
        with pytest.raises(UserError, match="labels do not match"):
            load_digits()

    def test_finds_compressed_and_dotted_names(self, load_digits, digits):
        expected = load_digits()
        for name in IDX_FILES.values():
            plain = digits / name
            (digits / (name.replace("-idx", ".idx") + ".gz")).write_bytes(
                gzip.compress(plain.read_bytes())
            )
            plain.unlink()
        assert load_digits().fingerprint == expected.fingerprint

    def test_reads_colour(self, load_digits, digits):
        colour = np.zeros((30, 12, 12, 3), np.uint8)
        write_idx_folder(digits, {"train_images": colour, "test_images": colour[:10]})
        assert load_digits().image_shape == (12, 12, 3)


class TestCache:
    def test_keeps_arrays_and_order(self, load_digits):
        arrays = idx_arrays()
        for dataset in (load_digits(), load_digits()):
            np.testing.assert_array_equal(dataset.train_images[..., 0], arrays["train_images"])
            np.testing.assert_array_equal(dataset.test_images[..., 0], arrays["test_images"])
            np.testing.assert_array_equal(dataset.train_labels, arrays["train_labels"])

    def test_changed_source_is_decoded_again(self, load_digits, digits):
        before = load_digits()
        write_idx_folder(digits, idx_arrays(seed=1))
        after = load_digits()
        assert after.fingerprint != before.fingerprint
        assert (after.train_images != before.train_images).any()

    def test_fingerprint_knows_labels_and_size_but_not_name_or_place(self, load_digits, digits):
        before = load_digits()
        assert load_digits(name="other").fingerprint == before.fingerprint
        assert load_digits(image_size=16).fingerprint != before.fingerprint
        write_idx_folder(digits, {"train_labels": np.ones(30)})
        assert load_digits().fingerprint != before.fingerprint

    @pytest.mark.parametrize("damage", ["flip", "truncate", "manifest", "missing"])
    def test_damage_is_noticed_and_mended(self, load_digits, tmp_path, damage, caplog):
        expected = np.array(load_digits().train_images)
        (path,) = (tmp_path / "cache").rglob("train_images.npy")
        contents = bytearray(path.read_bytes())
        contents[-1] ^= 255
        if damage == "flip":
            path.write_bytes(contents)
        elif damage == "truncate":
            path.write_bytes(contents[:-100])
        elif damage == "manifest":
            (path.parent / cache.MANIFEST).write_text('{"arrays": []}')
        else:
            path.unlink()
        np.testing.assert_array_equal(load_digits().train_images, expected)
        assert ("damaged" in caplog.text) == (damage != "missing")

    def test_copied_cache_is_taken_after_one_check(self, load_digits, tmp_path, monkeypatch):
        load_digits()
        (path,) = (tmp_path / "cache").rglob("train_images.npy")
        os.utime(path, (1, 1))
        load_digits()
        monkeypatch.setattr(cache, "_sha256_of_array", None)  # Another check would fail.
        load_digits()

    def test_failed_decoding_leaves_nothing(self, tmp_path):
        def decode(allocate):
            allocate("train_images", (4, 8, 8, 1))
            raise UserError("broken")

        with pytest.raises(UserError, match="broken"):
            cache.load_cached(
                name="a", source=0, preprocessing={}, cache_dir=tmp_path, decode=decode
            )
        assert not [path for path in (tmp_path / "datasets").iterdir() if path.is_dir()]

    def test_fingerprint_is_what_it_says(self, load_digits, tmp_path):
        dataset = load_digits()
        (path,) = (tmp_path / "cache").rglob(cache.MANIFEST)
        manifest = json.loads(path.read_text())
        images = dataset.train_images
        expected = hashlib.sha256(f"|u1 {images.shape}".encode() + images.tobytes()).hexdigest()
        assert manifest["arrays"]["train_images"]["sha256"] == expected
        assert manifest["fingerprint"] == dataset.fingerprint
        assert len(dataset.fingerprint) == 64

    def test_unwritable_folder_is_told(self, load_digits, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(EnvironmentProblem, match="cache_dir=<folder>"):
            load_mnist(name="digits", source=tmp_path / "digits", cache_dir=tmp_path / "file")

    def test_two_at_once_decode_once(self, tmp_path):
        calls = []

        def decode(allocate):
            calls.append(1)
            time.sleep(0.1)
            for split in ("train", "test"):
                allocate(f"{split}_images", (4, 8, 8, 1))[:] = 7
                allocate(f"{split}_labels", (4,))[:] = 0
            return ("seven",)

        def load():
            options = {"name": "a", "source": 0, "preprocessing": {}, "decode": decode}
            loaded.append(cache.load_cached(cache_dir=tmp_path, **options))

        loaded = []
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(loaded) == 4 and len(calls) == 1


class TestResize:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("image_size", [8, 32])
    def test_shape_and_constant_images(self, channels, image_size):
        images = np.full((3, 20, 16, channels), 77, np.uint8)
        resized = resize_images(images, image_size)
        assert resized.shape == (3, image_size, image_size, channels)
        assert resized.dtype == np.uint8 and (resized == 77).all()

    def test_same_size_is_untouched(self):
        images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
        assert resize_images(images, 16) is images
        assert resize_images(images, None) is images

    def test_crops_the_centre(self):
        images = np.zeros((1, 8, 24, 1), np.uint8)
        images[:, :, 8:16] = 255
        assert (resize_images(images, 8) == 255).all()

    def test_shrinking_averages(self):
        images = np.zeros((1, 32, 32, 1), np.uint8)
        images[:, ::2, ::2] = 200  # Without antialiasing this would be all 0 or all 200.
        shrunk = resize_images(images, 8)
        assert abs(int(shrunk[0, 4, 4, 0]) - 50) <= 3

    @pytest.mark.parametrize("image_size", [7, 1025, 28.0, "28", True])
    def test_wrong_size_is_told(self, load_digits, image_size):
        with pytest.raises(UserError, match=r"image_size. must be a whole number .*Received"):
            load_digits(image_size=image_size)


class TestFashionMnist:
    def test_reads_any_idx_folder_under_another_name(self, digits, tmp_path):
        dataset = load_fashion_mnist(
            name="clothes", source=digits, image_size=12, cache_dir=tmp_path
        )
        assert dataset.name == "clothes" and dataset.class_names == ("0", "1", "2")

    def test_checks_the_contents(self, digits, tmp_path):
        with pytest.raises(UserError, match="not the fashion_mnist file"):
            load_fashion_mnist(source=digits, cache_dir=tmp_path)

    def test_without_a_network_names_the_idx_files_too(self, offline, tmp_path):
        with pytest.raises(EnvironmentProblem, match="four IDX files"):
            load_fashion_mnist(cache_dir=tmp_path)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and nothing prepared."""
    # TFDS reads TFDS_DATA_DIR once, when it is imported.
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Stores arrays as a dataset of TFDS and returns its folder of datasets."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def store(name, features, splits):
        folder = tmp_path_factory.mktemp("tfds")
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets={
                split: tf.data.Dataset.from_tensor_slices(arrays)
                for split, arrays in splits.items()
            },
            data_dir=folder,
            disable_shuffling=True,
        )
        return folder

    return store


@pytest.fixture(scope="module")
def colours(store):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(10, 10, 3)),
        "label": tfds.features.ClassLabel(names=["dark", "bright"]),
    }
    splits = {
        split: {
            "image": np.full((count, 10, 10, 3), 10, np.uint8)
            + np.arange(count, dtype=np.uint8)[:, None, None, None],
            "label": np.arange(count) % 2,
        }
        for split, count in {"train": 40, "test": 20}.items()
    }
    return store("colours", features, splits)


class TestTfds:
    def test_reads_both_splits(self, colours, tmp_path):
        dataset = load_tfds(name="colours", source=colours, cache_dir=tmp_path)
        assert dataset.name == "colours" and dataset.class_names == ("dark", "bright")
        assert dataset.train_images[:, 0, 0, 0].tolist() == list(range(10, 50))
        assert dataset.test_images[:, 0, 0, 0].tolist() == list(range(10, 30))
        assert dataset.train_labels.tolist() == [0, 1] * 20
        assert dataset.image_shape == (10, 10, 3)

    def test_takes_the_datasets_own_folder_too(self, colours, tmp_path):
        folder = colours / "colours" / "1.0.0"
        dataset = load_tfds(name="colours", source=folder, image_size=16, cache_dir=tmp_path)
        assert dataset.image_shape == (16, 16, 3)

    def test_holds_out_every_tenth_where_there_is_no_test_split(self, store, tmp_path):
        import tensorflow_datasets as tfds

        features = {"picture": tfds.features.Image(shape=(8, 8, 1))}
        images = (
            np.zeros((43, 8, 8, 1), np.uint8) + np.arange(43, dtype=np.uint8)[:, None, None, None]
        )
        folder = store("plain", features, {"train": {"picture": images}})
        dataset = load_tfds(name="plain", source=folder, cache_dir=tmp_path)
        assert dataset.test_images[:, 0, 0, 0].tolist() == [9, 19, 29, 39]
        held_out = set(dataset.test_images[:, 0, 0, 0].tolist())
        assert set(dataset.train_images[:, 0, 0, 0].tolist()) == set(range(43)) - held_out
        assert dataset.num_classes is None and not dataset.train_labels.any()

    def test_several_sizes_need_an_image_size(self, store, tmp_path):
        import tensorflow as tf
        import tensorflow_datasets as tfds

        folder = tmp_path / "sizes"
        examples = [{"image": np.full((9 + i, 20, 3), i, np.uint8)} for i in range(12)]
        signature = {"image": tf.TensorSpec((None, 20, 3), tf.uint8)}
        tfds.dataset_builders.store_as_tfds_dataset(
            name="sizes",
            version="1.0.0",
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(None, None, 3))}
            ),
            split_datasets={
                "train": tf.data.Dataset.from_generator(
                    lambda: examples, output_signature=signature
                )
            },
            data_dir=folder,
        )
        with pytest.raises(UserError, match="dataset.image_size=<pixels>"):
            load_tfds(name="sizes", source=folder, cache_dir=tmp_path)
        dataset = load_tfds(name="sizes", source=folder, image_size=8, cache_dir=tmp_path)
        assert dataset.train_images.shape == (11, 8, 8, 3)

    def test_second_load_decodes_nothing(self, colours, tmp_path, monkeypatch):
        first = load_tfds(name="colours", source=colours, cache_dir=tmp_path)
        monkeypatch.setattr("benchmark.datasets.tfds._read", None)
        second = load_tfds(name="colours", source=colours, cache_dir=tmp_path)
        assert second.fingerprint == first.fingerprint

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("ciphar10", "no dataset 'ciphar10'. Did you mean cifar10"),
            ("CIFAR-10", "Did you mean cifar10"),
            ("emnist/lettrs", "configurations: .*letters"),
            ("cifar10:9.9.9", "only: 3.0.2"),
            ("zzzzzzzz", "catalog"),
            ("imdb_reviews", "must have an image feature"),
        ],
    )
    def test_wrong_names_are_told_in_one_line(self, offline, tmp_path, name, message):
        with pytest.raises(UserError, match=message) as caught:
            load_tfds(name=name, cache_dir=tmp_path)
        assert "\n" not in str(caught.value)

    def test_missing_folder_is_told(self, tmp_path):
        with pytest.raises(UserError, match="no folder"):
            load_tfds(name="cifar10", source=tmp_path / "nowhere", cache_dir=tmp_path)

    def test_without_a_network_says_what_to_do_within_seconds(self, offline, tmp_path):
        start = time.perf_counter()
        with pytest.raises(EnvironmentProblem) as caught:
            load_tfds(name="cifar10", cache_dir=tmp_path)
        assert time.perf_counter() - start < 10
        for part in (str(tmp_path / "tfds"), "dataset.source=", "cs.toronto.edu"):
            assert part in str(caught.value)

    def test_a_server_that_never_answers_does_not_hang(self, monkeypatch):
        asked, given_up = threading.Event(), threading.Event()

        def never_answer(*_, **__):
            asked.set()
            given_up.wait(60)
            raise OSError

        monkeypatch.setattr(tfds_builder, "NETWORK_TIMEOUT_SECONDS", 0.2)
        monkeypatch.setattr("urllib.request.urlopen", never_answer)
        start = time.perf_counter()
        assert not tfds_builder._is_reachable("https://example.org")
        assert asked.is_set() and time.perf_counter() - start < 2
        given_up.set()

    def test_wrong_originals_are_told(self, offline, digits, tmp_path):
        for name in IDX_FILES.values():
            (digits / f"{name}.gz").write_bytes(b"not the original")
        with pytest.raises(EnvironmentProblem, match="checksum"):
            load_tfds(name="fashion_mnist", source=digits, cache_dir=tmp_path)

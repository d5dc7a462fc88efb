"""Datasets: what is read is what was written, and what is wrong is told in one line."""

import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import ImageDataset, cache, fashion_mnist, mnist
from benchmark.datasets.base import check_flip, flip_in_training
from benchmark.datasets.fashion_mnist import load_fashion_mnist
from benchmark.datasets.idx import IDX_FILES, read_idx
from benchmark.datasets.mnist import load_mnist
from benchmark.datasets.resize import check_crop_size, resize_images
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
            ({"test_images": np.zeros((4, 9, 9, 1), np.uint8)}, "the same shape"),
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

    def test_a_flip_is_another_training_on_the_same_arrays(self):
        dataset = image_dataset(fingerprint="abc")
        flipped = flip_in_training(dataset)
        assert flipped.horizontal_flip and not dataset.horizontal_flip
        assert flipped.fingerprint != dataset.fingerprint
        assert flipped.fingerprint == flip_in_training(dataset).fingerprint
        assert flipped.train_images is dataset.train_images

    @pytest.mark.parametrize("word", ["no", None, 1])
    def test_a_flip_is_true_or_false(self, word):
        with pytest.raises(UserError, match="must be true or false. Received: "):
            check_flip(word)


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
            (idx_bytes(np.zeros((3, 4))) + b"\0", "holds more than its header states"),
            (struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), "too small for"),
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

    def test_what_a_killed_decoding_left_is_swept(self, load_digits, tmp_path):
        load_digits()
        (entry,) = {path.parent for path in (tmp_path / "cache").rglob(cache.MANIFEST)}
        shutil.rmtree(entry)
        left, other = (entry.with_name(f".{name}-1a2b") for name in (entry.name, "other"))
        for folder in (left, other):
            folder.mkdir()
            (folder / "train_images.npy").touch()
        load_digits()
        assert not left.exists() and other.exists()

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

    @pytest.mark.parametrize("image_size", [10, 28, 32, 64])
    def test_every_dataset_can_be_brought_to_any_size(self, load_digits, image_size):
        dataset = load_digits(image_size=image_size)
        assert dataset.image_shape == (image_size, image_size, 1)
        original = Image.fromarray(load_digits().test_images[3, ..., 0])
        expected = original.resize((image_size, image_size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(dataset.test_images[3, ..., 0], expected)

    def test_crops_a_square_of_a_given_side(self):
        images = np.zeros((1, 20, 31, 3), np.uint8)
        images[:, 5:15, 10:20] = 255  # an odd margin has its larger half to the right
        np.testing.assert_array_equal(
            resize_images(images, None, crop_size=10), images[:, 5:15, 10:20]
        )
        assert (resize_images(images, 16, crop_size=10) == 255).all()
        assert resize_images(images, 8, crop_size=12).min() < 255

    @pytest.mark.parametrize("crop_size", [7, 8.0, "8", True])
    def test_wrong_crop_is_told(self, crop_size):
        with pytest.raises(UserError, match=r"crop_size. must be a whole number .*Received"):
            check_crop_size(crop_size)

    def test_a_crop_larger_than_the_picture_is_told(self):
        images = np.zeros((1, 20, 30, 1), np.uint8)
        assert resize_images(images, 8, crop_size=20).shape == (1, 8, 8, 1)
        with pytest.raises(UserError, match="crop_size=21 is larger than a picture of 30x20"):
            resize_images(images, 8, crop_size=21)

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

    def test_finds_the_folder_of_debian_s_package(self, digits, tmp_path, monkeypatch):
        monkeypatch.setattr(fashion_mnist, "DEBIAN", digits)
        with pytest.raises(UserError, match="not the fashion_mnist file"):
            load_fashion_mnist(cache_dir=tmp_path)
        monkeypatch.setattr(fashion_mnist, "CHECKSUMS", None)
        dataset = load_fashion_mnist(image_size=12, cache_dir=tmp_path)
        assert len(dataset.train_images) == 30 and dataset.name == "fashion_mnist"
        assert dataset.class_names[9] == "Ankle boot"

import multiprocessing
import time

import numpy as np
import pytest

from benchmark import console, features
from benchmark.features import reference_features
from benchmark.results import Folder

SOURCE = {"dataset": "f00d", "split": "train", "num_images": 6, "draw": 2020}
IMAGES = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)


class Encoder:
    """Doubles the brightness, slowly, and writes down each call where other processes see it."""

    name, label = "doubling", "doubling 0 @1"

    def __init__(self, log, **recipe):
        self.log = log
        self.recipe = {"encoder": self.name, "weights_hash": "0", **recipe}

    def __call__(self, images, progress=None):
        with open(self.log, "a") as file:
            file.write("x")
        time.sleep(0.3)
        progress(len(images), len(images))
        return 2.0 * images.reshape(len(images), -1).astype(np.float32)

    @property
    def num_calls(self):
        return len(self.log.read_text()) if self.log.exists() else 0


@pytest.fixture
def encoder(tmp_path):
    return Encoder(tmp_path / "calls")


@pytest.fixture
def cache(tmp_path):
    return Folder(tmp_path / "cache")


def test_features_are_encoded_once_and_then_found(encoder, cache):
    made = reference_features(encoder, IMAGES, source=SOURCE, cache=cache)
    found = reference_features(encoder, IMAGES, source=SOURCE, cache=cache)
    np.testing.assert_array_equal(made[:, 0], 2.0 * np.arange(6))
    np.testing.assert_array_equal(found, made)
    assert encoder.num_calls == 1


@pytest.mark.parametrize(
    "change",
    [
        *({name: "other"} for name in SOURCE),
        {"weights_hash": "1"},
        {"image_size": 299},
        {"resize": "cubic"},
        {"code": "edited"},
    ],
    ids=str,
)
def test_any_change_of_what_they_depend_on_encodes_again(encoder, cache, monkeypatch, change):
    reference_features(encoder, IMAGES, source=SOURCE, cache=cache)
    name, value = next(iter(change.items()))
    source = {**SOURCE, **change} if name in SOURCE else SOURCE
    if name == "code":
        monkeypatch.setattr(features, "module_version", lambda name: value)
    elif name not in SOURCE:
        encoder.recipe.update(change)
    reference_features(encoder, IMAGES, source=source, cache=cache)
    assert encoder.num_calls == 2


def damage(path):
    path.write_bytes(path.read_bytes()[:-40])


def swap(path):
    """Puts the features of other images, whole, under this name."""
    other = Encoder(path.parent / "calls", weights_hash="1")
    reference_features(other, IMAGES[:3], source=SOURCE, cache=Folder(path.parents[1]))
    (foreign,) = set(path.parent.glob("*.npz")) - {path}
    foreign.replace(path)


@pytest.mark.parametrize(
    ("spoil", "warning"), [(damage, "is damaged"), (swap, "other than its name says")]
)
def test_a_cut_or_foreign_file_is_made_again_with_a_warning(encoder, cache, spoil, warning):
    made = reference_features(encoder, IMAGES, source=SOURCE, cache=cache)
    (path,) = cache.path.glob("features/*.npz")
    spoil(path)
    with console.console.capture() as captured:
        again = reference_features(encoder, IMAGES, source=SOURCE, cache=cache)
    np.testing.assert_array_equal(again, made)
    assert encoder.num_calls == 2
    assert warning in captured.get()
    reference_features(encoder, IMAGES, source=SOURCE, cache=cache)
    assert encoder.num_calls == 2


def test_two_processes_at_once_encode_once(encoder, cache):
    context = multiprocessing.get_context("fork")
    options = {"source": SOURCE, "cache": cache}
    processes = [
        context.Process(target=reference_features, args=(encoder, IMAGES), kwargs=options)
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert encoder.num_calls == 1

import hashlib
import inspect
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from metrics import encoders
from metrics.encoders import (
    EMBEDDED_PATH,
    EMBEDDED_SHA256,
    IMAGENET_MD5,
    IMAGENET_URL,
    InceptionV3Encoder,
    check_sha256,
    choose_weights,
    is_reachable,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def encoder():
    return InceptionV3Encoder(weights="embedded", image_size=75, batch_size=16)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(encoders, "is_reachable", lambda url, *, seconds: False)
    return tmp_path


def largest_relative_difference(features, expected):
    return np.abs(features - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("image_size", [75, pytest.param(299, marks=pytest.mark.slow)])
def test_agrees_with_another_loader(encoder, mnist_test, inception_features, image_size):
    if image_size != encoder.image_size:
        encoder = InceptionV3Encoder(weights="embedded", image_size=image_size, batch_size=16)
    features = encoder(mnist_test[0][:16])
    assert features.dtype == np.float32
    assert features.shape == (16, 2048)
    assert largest_relative_difference(features, inception_features[image_size]) < 1e-4


def test_last_batch_is_padded_and_traced_once(encoder, mnist_test):
    images = mnist_test[0][:37]
    seen = []
    features = encoder(images, lambda done, total: seen.append((done, total)))
    assert seen == [(16, 37), (32, 37), (37, 37)]
    assert len(features) == 37
    alone = encoder(images[36:])
    assert largest_relative_difference(features[36:], alone) < 1e-5
    traced = getattr(encoder.network.predict_function, "experimental_get_tracing_count", None)
    if traced:
        assert traced() == 1


def test_grey_and_repeated_grey_are_the_same(encoder, mnist_test):
    grey = mnist_test[0][:4]
    colour = np.repeat(grey, 3, axis=-1)
    assert largest_relative_difference(encoder(colour), encoder(grey)) < 1e-5


def test_distinguishes_images(encoder, mnist_test):
    images = mnist_test[0][:64]
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    digits, other_digits, noises = encoder(images[:32]), encoder(images[32:]), encoder(noise)
    near = np.linalg.norm(digits.mean(0) - other_digits.mean(0))
    far = np.linalg.norm(digits.mean(0) - noises.mean(0))
    assert far > 3 * near


def test_label_and_hash_are_known_before_anything_is_built():
    encoder = InceptionV3Encoder(weights="embedded", image_size=299)
    assert encoder.label == f"inception_v3 embedded {EMBEDDED_SHA256[:8]} @299"
    assert hashlib.sha256(EMBEDDED_PATH.read_bytes()).hexdigest() == EMBEDDED_SHA256
    assert "network" not in vars(encoder)


def test_choosing_imports_neither_keras_nor_tensorflow():
    code = (
        "import sys; from metrics.encoders import InceptionV3Encoder as E; "
        "E(weights='embedded').label; "
        "sys.exit(int('keras' in sys.modules or 'tensorflow' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_auto_without_network_is_embedded(no_network):
    encoder = InceptionV3Encoder(weights="auto")
    assert encoder.weights == "embedded"
    assert " embedded " in encoder.label


def test_auto_takes_the_cached_file_without_asking_the_network(no_network, monkeypatch):
    monkeypatch.setattr(encoders, "is_reachable", lambda *_, **__: pytest.fail("network asked"))
    cached = no_network / "models" / IMAGENET_URL.rsplit("/", 1)[1]
    cached.parent.mkdir()
    cached.write_bytes(b"weights")
    monkeypatch.setattr(encoders, "IMAGENET_MD5", hashlib.md5(b"weights").hexdigest())
    assert choose_weights("auto") == "imagenet"


def test_auto_distrusts_a_damaged_cached_file(no_network):
    cached = no_network / "models" / IMAGENET_URL.rsplit("/", 1)[1]
    cached.parent.mkdir()
    cached.write_bytes(b"half of it")
    assert choose_weights("auto") == "embedded"


def test_auto_takes_imagenet_when_reachable(no_network, monkeypatch):
    monkeypatch.setattr(encoders, "is_reachable", lambda url, *, seconds: seconds < 5)
    monkeypatch.setattr(keras.utils, "get_file", lambda **_: no_network / "downloaded.h5")
    encoder = InceptionV3Encoder(weights="auto")
    assert encoder.weights == "imagenet"
    assert encoder.weights_path == no_network / "downloaded.h5"
    assert encoder.label == f"inception_v3 imagenet {IMAGENET_MD5[:8]} @75"


def test_auto_decides_within_ten_seconds_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def hang(*_, **__):
        time.sleep(15)
        raise OSError

    monkeypatch.setattr(encoders.urllib.request, "urlopen", hang)
    start = time.perf_counter()
    assert InceptionV3Encoder(weights="auto").weights == "embedded"
    assert time.perf_counter() - start < 10


def test_reaching_out_keeps_its_time_limit(monkeypatch):
    def hang(*_, **__):
        time.sleep(2)
        raise OSError

    monkeypatch.setattr(encoders.urllib.request, "urlopen", hang)
    start = time.perf_counter()
    assert not is_reachable(IMAGENET_URL, seconds=0.2)
    assert time.perf_counter() - start < 1.0


def test_imagenet_constants_are_those_of_keras():
    source = inspect.getsource(sys.modules[keras.applications.InceptionV3.__module__])
    assert IMAGENET_MD5 in source
    assert IMAGENET_URL.rsplit("/", 1)[1] in source


def test_imagenet_that_cannot_be_had_says_what_to_do(no_network):
    with pytest.raises(ValueError, match="no answer within 4 s") as caught:
        InceptionV3Encoder(weights="imagenet")
    assert "encoder.weights=embedded" in str(caught.value)
    assert str(no_network / "models") in str(caught.value)


def test_a_download_that_fails_and_a_damaged_file_are_named(no_network, monkeypatch):
    def refuse(**_):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(encoders, "is_reachable", lambda url, *, seconds: True)
    monkeypatch.setattr(keras.utils, "get_file", refuse)
    cached = no_network / "models" / IMAGENET_URL.rsplit("/", 1)[1]
    cached.parent.mkdir()
    cached.write_bytes(b"half of it")
    received = hashlib.md5(b"half of it").hexdigest()
    with pytest.raises(ValueError, match=f"expected MD5 {IMAGENET_MD5}. Received: {received}"):
        InceptionV3Encoder(weights="imagenet")


def test_weights_by_path(encoder, mnist_test, tmp_path):
    images = mnist_test[0][:16]
    expected = encoder(images)
    saved = tmp_path / "inception.weights.h5"
    encoder.network.layers[-1].save_weights(saved)
    by_keras = InceptionV3Encoder(weights=str(saved), batch_size=16)
    assert by_keras.weights_hash == hashlib.sha256(saved.read_bytes()).hexdigest()[:8]
    assert by_keras.label == f"inception_v3 inception.weights.h5 {by_keras.weights_hash} @75"
    assert largest_relative_difference(by_keras(images), expected) < 1e-6


def test_a_file_given_by_path_can_be_held_to_its_hash():
    expected = EMBEDDED_SHA256.upper()
    encoder = InceptionV3Encoder(weights=str(EMBEDDED_PATH), sha256=expected)
    assert encoder.weights_hash == EMBEDDED_SHA256[:8]
    with pytest.raises(ValueError, match=f"expected SHA-256 00. Received: {EMBEDDED_SHA256}"):
        InceptionV3Encoder(weights=str(EMBEDDED_PATH), sha256="00")


def test_wrong_weights_files_are_refused(tmp_path, mnist_test):
    for name in ("other.npz", "other.weights.h5"):
        path = tmp_path / name
        with open(path, "wb") as file:
            np.savez(file, something=np.zeros(3))
        with pytest.raises(ValueError, match=name):
            InceptionV3Encoder(weights=str(path))(mnist_test[0][:1])


@pytest.mark.parametrize(("suffix", "kind"), [(".npz", "npz"), (".weights.h5", "HDF5")])
def test_a_cut_weights_file_is_refused_before_any_work(encoder, tmp_path, suffix, kind):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if kind == "npz":
        whole.write_bytes(EMBEDDED_PATH.read_bytes())
    else:
        encoder.network.layers[-1].save_weights(whole)
    path.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=f"expected a whole {kind} file. Received: 100,000 bytes"):
        InceptionV3Encoder(weights=str(path))


def test_a_damaged_embedded_file_is_refused(tmp_path):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"not the weights")
    with pytest.raises(ValueError, match="damaged.*: expected SHA-256 .* Received"):
        check_sha256(damaged, EMBEDDED_SHA256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 74}, "at least 75. Received: image_size=74"),
        ({"weights": "imagnet"}, "'auto', 'imagenet', 'embedded'.*Received: weights='imagnet'"),
        ({"batch_size": 0}, "Received: batch_size=0"),
    ],
)
def test_wrong_options_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        InceptionV3Encoder(**{"weights": "embedded", **options})

"""Image encoders: the feature spaces in which sets of images are compared.

Nothing heavy is imported before the first image is encoded.
"""

import hashlib
import os
import threading
import urllib.error
import urllib.request
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from metrics.base import Progress, encode_in_batches

EMBEDDED_PATH = Path(__file__).parent / "weights" / "inception_v3_int8.npz"
EMBEDDED_SHA256 = "7e83f1ebd1703fd4ffe6fb406da08584bfd2524dd854d4f6e9ab3fd4d12abae9"

# Both are Keras's own: the file that `keras.applications.InceptionV3` downloads and its check sum.
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
IMAGENET_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"

REACH_SECONDS = 4.0
RESIZE = "bilinear without antialiasing"
MINIMUM_IMAGE_SIZE = 75  # below it the last stride leaves nothing to pool


def hash_file(path: str | Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def imagenet_path() -> Path:
    """Where Keras keeps the ImageNet weights, whether they are there or not."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "models" / IMAGENET_URL.rsplit("/", 1)[1]


def is_imagenet_cached() -> bool:
    """Whether the ImageNet weights are in Keras's cache, whole."""
    path = imagenet_path()
    return path.is_file() and hash_file(path, "md5") == IMAGENET_MD5


def is_reachable(url: str, *, seconds: float) -> bool:
    """Whether a server answers for `url` within the time.

    The question is put in a thread, as looking up a host name cannot be given a time limit.
    """
    answers = []

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds) as response:
                answers.append(response.status)
        except (OSError, urllib.error.URLError):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers == [200]


def choose_weights(weights: str) -> str:
    """Settles `"auto"`: ImageNet if cached or reachable within seconds, else embedded.

    Args:
        weights: `"auto"`, `"imagenet"`, `"embedded"` or a path.

    Returns:
        `"imagenet"`, `"embedded"` or the path.

    Raises:
        ValueError: if it is neither one of the words nor an existing file.
    """
    if weights == "auto":
        found = is_imagenet_cached() or is_reachable(IMAGENET_URL, seconds=REACH_SECONDS)
        return "imagenet" if found else "embedded"
    if weights not in ("imagenet", "embedded") and not Path(weights).expanduser().is_file():
        raise ValueError(
            "`weights` must be 'auto', 'imagenet', 'embedded' or the path of an existing "
            f".npz, .h5 or .weights.h5 file. Received: weights={weights!r}"
        )
    return weights


def find_weights(weights: str, sha256: str | None = None) -> Path:
    """The checked file behind `"imagenet"` (downloaded if need be), `"embedded"` or a path.

    Args:
        weights: what `choose_weights` returned.
        sha256: what the file given by path must hash to, hexadecimal; `None` leaves it unchecked.

    Returns:
        The file's path.

    Raises:
        ValueError: if the file is missing, not the expected one, or cannot be downloaded.
    """
    if weights == "imagenet":
        return _download_imagenet()
    path = EMBEDDED_PATH if weights == "embedded" else Path(weights).expanduser()
    expected = EMBEDDED_SHA256 if weights == "embedded" else sha256
    if expected is not None:
        check_sha256(path, expected)
    if weights != "embedded":
        check_whole(path)
    return path


class InceptionV3Encoder:
    """InceptionV3 features after the global average pool (Szegedy et al. 2016), 2,048 numbers.

    Grey images are tiled to three channels; images are resized bilinearly (without antialiasing)
    to `image_size` and scaled to [-1, 1], all on the device. These are Keras's weights and Keras's
    network; the one of the TensorFlow 1 graph, on which published FID values rest, differs.

    Args:
        weights: `"embedded"` (in this package, 8-bit, no network needed), `"imagenet"` (Keras's,
            downloaded once and checked), `"auto"` (ImageNet if cached or reachable within
            seconds, else embedded), or the path of an npz file in the layout of the embedded one
            or of a Keras .h5 or .weights.h5 file of InceptionV3 without its top. The file is
            found or downloaded, and checked, at once: a mistake must not show after training.
        sha256: what a file given by path must hash to, hexadecimal; `None` leaves it unchecked.
        image_size: height and width of the network's input, 75 or more; 299 is the original.
        batch_size: images in a call.

    Attributes:
        weights: which weights were taken; never `"auto"`.
        weights_hash: first eight digits of the file's SHA-256; with `"imagenet"`, of the MD5
            by which Keras checks its download.
        label: name, weights, hash and input size in one line.
    """

    name = "inception_v3"

    requires_classifier = False

    def __init__(
        self,
        *,
        weights: str = "auto",
        sha256: str | None = None,
        image_size: int = 75,
        batch_size: int = 64,
    ):
        if image_size < MINIMUM_IMAGE_SIZE:
            raise ValueError(
                f"InceptionV3 needs `image_size` of at least {MINIMUM_IMAGE_SIZE}. "
                f"Received: image_size={image_size}"
            )
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
        self.image_size = image_size
        self.batch_size = batch_size
        self.weights = choose_weights(str(weights))
        self.weights_path = find_weights(self.weights, sha256)

    @cached_property
    def weights_hash(self) -> str:
        known = {"imagenet": IMAGENET_MD5, "embedded": EMBEDDED_SHA256}
        return (known.get(self.weights) or hash_file(self.weights_path))[:8]

    @property
    def label(self) -> str:
        source = Path(self.weights).name
        return f"{self.name} {source} {self.weights_hash} @{self.image_size}"

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "weights_hash": self.weights_hash,
            "image_size": self.image_size,
            "resize": RESIZE,
        }

    def __call__(self, images: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Encodes images.

        Args:
            images: uint8 `(N, H, W, 1 or 3)`.
            progress: called with (images done, images in all) after every batch.

        Returns:
            float32 `(N, 2048)`.
        """
        return encode_in_batches(
            self.network.predict_on_batch, images, batch_size=self.batch_size, progress=progress
        )

    @cached_property
    def network(self):
        from metrics import inception

        network = inception.build_inception(image_size=self.image_size)
        quantized = self.weights_path.suffix == ".npz"
        load = inception.load_quantized_weights if quantized else inception.load_keras_weights
        load(network, self.weights_path)
        return inception.build_encoder_network(network, image_size=self.image_size)


def check_sha256(path: str | Path, expected: str) -> None:
    """Refuses a file whose bytes are not the expected ones.

    Raises:
        ValueError: if the digest differs or the file is missing.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is missing; it is part of the package, install it again")
    received = hash_file(path)
    if received != expected.lower():
        raise ValueError(
            f"{path} is damaged or another file: expected SHA-256 {expected}. Received: {received}"
        )


def check_whole(path: Path) -> None:
    """Refuses a weights file that was cut short or is of another kind than its name says.

    Raises:
        ValueError: if it cannot be opened as an npz or HDF5 file.
    """
    expected = "npz" if path.suffix == ".npz" else "HDF5"
    try:
        if expected == "npz":
            with zipfile.ZipFile(path):
                return
        import h5py

        with h5py.File(path):
            return
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged or another file: expected a whole {expected} file. "
            f"Received: {path.stat().st_size:,} bytes that are none ({error})"
        ) from error


def _download_imagenet() -> Path:
    """Path of the ImageNet weights; downloads them if the cache does not hold them.

    Raises:
        ValueError: if they cannot be had.
    """
    path = imagenet_path()
    if is_imagenet_cached():
        return path
    reason = f"no answer within {REACH_SECONDS:g} s"
    if is_reachable(IMAGENET_URL, seconds=REACH_SECONDS):
        import keras

        try:
            download = {"cache_subdir": "models", "file_hash": IMAGENET_MD5}
            return Path(keras.utils.get_file(origin=IMAGENET_URL, **download))
        except Exception as error:  # Keras raises bare Exceptions and ValueErrors here
            reason = str(error)
    if path.is_file():
        received = hash_file(path, "md5")
        reason += f"; the file there is damaged: expected MD5 {IMAGENET_MD5}. Received: {received}"
    raise ValueError(
        f"the ImageNet weights of InceptionV3 could not be downloaded from {IMAGENET_URL}; put "
        f"the file into {path.parent} yourself or take encoder.weights=embedded ({reason})"
    )

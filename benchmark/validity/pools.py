"""All images that the damaged sets hold, each encoded once and kept between runs."""

import time
from functools import cached_property

import numpy as np

from benchmark.evaluation import REFERENCE_SEED
from benchmark.features import encode
from benchmark.provenance import code_version
from benchmark.results import Folder, digest, hash_arrays
from benchmark.validity import damages
from benchmark.validity.candidates import Judged
from benchmark.validity.sets import BLUR, HOLES, MEMORISED, NOISE, SUPERPOSED, SWAPPED, TEST, Parts

REFERENCE = "reference"
REFERENCE_SIZE = 10_000
ENCODER_CODE = ("metrics/base.py", "metrics/inception.py")
CLASSIFIER_CODE = ("metrics/base.py", "metrics/classifier.py", "metrics/coverage.py")


class Pools:
    """Images and what the instruments see in them, by name of the pool.

    `REFERENCE` is the large reference, training images; every other pool has as many images as the
    test split, row i being made of test image i, and `memorised` training images outside the
    reference.

    Args:
        dataset: The `ImageDataset`.
        encoder: A `metrics.base.Encoder`.
        classifier: The dataset's `ModeClassifier`, or `None`.
        cache: Folder of all caches.

    Attributes:
        seconds: What making the pools took, whenever that was.
        waiting_seconds: What making or reading them took in this process.
    """

    def __init__(self, dataset, *, encoder, classifier, cache: Folder) -> None:
        self.dataset = dataset
        self.encoder = encoder
        self.classifier = classifier
        self.cache = Folder(cache.path / "validity")
        self.seconds = 0.0
        self.waiting_seconds = 0.0
        self._features: dict[str, np.ndarray] = {}
        self._judged: dict[str, Judged] = {}
        self.encoder_key = digest([encoder.recipe, code_version(ENCODER_CODE)])
        self.classifier_key = digest(
            [classifier.recipe if classifier else None, code_version(CLASSIFIER_CODE)]
        )
        self._hashes: dict[str, str] = {}

    @cached_property
    def test_images(self) -> np.ndarray:
        return np.asarray(self.dataset.test_images)

    @cached_property
    def training_order(self) -> np.ndarray:
        """Rows of the training split: the reference first, as for every run, then the copies."""
        return np.random.default_rng(REFERENCE_SEED).permutation(len(self.dataset.train_images))

    def images(self, name: str) -> np.ndarray:
        """The images of a pool, uint8 `(T, H, W, C)`."""
        if name == REFERENCE:
            return np.asarray(self.dataset.train_images[self.training_order[:REFERENCE_SIZE]])
        if name == MEMORISED.name:
            last = self.training_order[-len(self.test_images) :]
            return np.asarray(self.dataset.train_images[last])
        return make_pool(name, self.test_images, REFERENCE_SEED)

    def hash(self, name: str) -> str:
        """SHA-256 of the images of a pool."""
        if name not in self._hashes:
            self._hashes[name] = hash_arrays({"images": self.images(name)})
        return self._hashes[name]

    def features(self, name: str) -> np.ndarray:
        """A pool as the encoder sees it, float32 `(T, D)`: from memory, from the cache, or made."""
        if name not in self._features:
            self._features[name] = unpack(self._once(name, self.encoder_key, self._encode))
        return self._features[name]

    def judged(self, name: str) -> Judged:
        """A pool as the classifier sees it, likewise."""
        if name not in self._judged:
            self._judged[name] = Judged(**self._once(name, self.classifier_key, self._judge))
        return self._judged[name]

    def _once(self, name: str, key: str, make) -> dict[str, np.ndarray]:
        """What `make` gives of the images of a pool, from the cache where it is there."""
        begin = time.perf_counter()
        file = f"{digest([key, self.hash(name)])}.npz"
        arrays = self.cache.recall_arrays(file)
        if arrays is None:
            start = time.perf_counter()
            arrays = make(self.images(name), name)
            arrays["seconds"] = np.array(time.perf_counter() - start)
            self.cache.write_arrays(file, arrays)
        self.seconds += float(arrays.pop("seconds"))
        self.waiting_seconds += time.perf_counter() - begin
        return arrays

    def _encode(self, images: np.ndarray, name: str) -> dict[str, np.ndarray]:
        return pack(encode(self.encoder, images, f"images, {name}"))

    def _judge(self, images: np.ndarray, name: str) -> dict[str, np.ndarray]:
        from metrics.coverage import predict_modes

        classes, confidences = predict_modes(
            classifier=self.classifier, images=images, num_classes=self.dataset.num_classes
        )
        features = self.classifier(images)
        return {"features": features, "classes": classes, "confidences": confidences}

    def images_of(self, parts: Parts) -> np.ndarray:
        """The images of a set."""
        return np.concatenate([self.images(name)[rows] for name, rows in parts])


def pack(features: np.ndarray) -> dict[str, np.ndarray]:
    """Features without the columns that are zero everywhere, two thirds of InceptionV3's."""
    alive = np.flatnonzero(features.any(axis=0))
    return {"features": features[:, alive], "alive": alive, "width": np.array(features.shape[1])}


def unpack(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The inverse of `pack`."""
    features = np.zeros((len(arrays["features"]), int(arrays["width"])), np.float32)
    features[:, arrays["alive"]] = arrays["features"]
    return features


def make_pool(name: str, test_images: np.ndarray, seed: int) -> np.ndarray:
    """The images of a pool that is made of the test images, uint8 `(T, H, W, C)`.

    Args:
        name: `TEST`, or what `sets.pool_name` returned.
        test_images: All test images.
        seed: Seed of all that is random.
    """
    if name == TEST:
        return test_images
    if name == HOLES.name:
        return damages.cut_holes(test_images, seed)
    if name == SWAPPED.name:
        return damages.swap_halves(test_images, seed)
    if name == SUPERPOSED.name:
        return damages.superpose(test_images, seed)
    kind, _, strength = name.rpartition(" ")
    if kind == NOISE.name:
        return damages.add_noise(test_images, float(strength), seed)
    if kind == BLUR.name:
        return damages.blur(test_images, float(strength))
    raise ValueError(f"there is no pool {name!r}")

"""What several metric tests start from."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"
MNIST = Path(__file__).parents[2] / "benchmark" / "datasets" / "mnist_data"


def read_idx(name, offset):
    with gzip.open(MNIST / name) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=offset)


def read_mnist(split):
    images = read_idx(f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
    return images, read_idx(f"{split}-labels-idx1-ubyte.gz", 8).astype(np.int64)


class FakeClock:
    """Time passes only when someone works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class LazyResult:
    """A result that is computed when NumPy asks for it, as an asynchronous device would do."""

    def __init__(self, clock, seconds):
        self.clock = clock
        self.seconds = seconds
        self.conversions = 0

    def __array__(self, dtype=None, copy=None):
        self.conversions += 1
        self.clock.now += self.seconds
        return np.zeros(1)


@pytest.fixture(scope="session")
def mnist_train():
    return read_mnist("train")


@pytest.fixture(scope="session")
def mnist_test():
    return read_mnist("t10k")


@pytest.fixture(scope="session")
def reference():
    """Numbers of torch-fidelity 0.4.0 and prdc 0.2; see data/README.md."""
    return json.loads((DATA / "reference.json").read_text())


@pytest.fixture(scope="session")
def reference_features():
    with np.load(DATA / "reference_features.npz") as arrays:
        return {name: arrays[name] for name in ("real_features", "generated_features")}


@pytest.fixture(scope="session")
def inception_features():
    with np.load(DATA / "inception_v3_int8_features.npz") as arrays:
        return {75: arrays["features_75"], 299: arrays["features_299"]}


@pytest.fixture(scope="session")
def poor_digits():
    with np.load(DATA / "poor_digits.npz") as arrays:
        return arrays["images"]

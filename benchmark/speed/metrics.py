"""The metrics against the plain way and against other packages."""

import importlib.util
import multiprocessing
import resource
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.config import user_cache_dir
from benchmark.speed.compare import Comparison

KID_IMAGES, KID_PLAN = 10_000, {"num_subsets": 100, "subset_size": 1000}
PRDC_IMAGES, MANY_IMAGES, NEAREST_K = 5_000, 50_000, 5
NUM_FEATURES = 2048
ENCODED_IMAGES = 2_000


def random_features(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of float32 features without a single zero: the hardest case."""
    generator = np.random.default_rng(0)
    shape = (num_images, NUM_FEATURES)
    real = generator.standard_gamma(1.0, shape, dtype=np.float32)
    return real, 1.05 * generator.standard_gamma(1.0, shape, dtype=np.float32)


def digit_features(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """InceptionV3's features of training and of test digits, as `quick` makes them."""
    from benchmark.datasets.mnist import load_mnist
    from benchmark.features import reference_features
    from benchmark.results import Folder
    from metrics.encoders import InceptionV3Encoder

    dataset = load_mnist(cache_dir=user_cache_dir())
    encoder, cache = InceptionV3Encoder(weights="embedded"), Folder(Path(user_cache_dir()))
    source = {"dataset": dataset.fingerprint, "first": num_images}
    train, test = (
        reference_features(encoder, images[:num_images], source={**source, **split}, cache=cache)
        for images, split in (
            (dataset.train_images, {"split": "train"}),
            (dataset.test_images, {"split": "test"}),
        )
    )
    return train, test


FEATURES = {"digits": digit_features, "random": random_features}


def compare_kid() -> Iterator[Comparison]:
    """KID of 100 subsets of 1,000 from 10,000 images a side, 2,048 features.

    Digits: features of the embedded InceptionV3 at 75 pixels. Random: features without a single
    zero. Ours always multiplies in float64.
    """
    from benchmark.speed.plain_metrics import plain_kid, torch_fidelity_kid
    from metrics.kid import kid

    for kind, make in FEATURES.items():
        real, generated = make(KID_IMAGES)
        others = {"plain NumPy": partial(plain_kid, real, generated, **KID_PLAN)}
        if is_installed("torch_fidelity"):
            for dtype in ("float32", "float64"):
                others[f"torch-fidelity, {dtype}"] = partial(
                    torch_fidelity_kid, real.astype(dtype), generated.astype(dtype), **KID_PLAN
                )
        yield Comparison(
            f"KID, {kind}",
            partial(kid, real_features=real, generated_features=generated, **KID_PLAN),
            others,
        )


def compare_prdc() -> Iterator[Comparison]:
    """PRDC of 5,000 images a side, k = 5, of the same features as KID."""
    from benchmark.speed.plain_metrics import authors_prdc, plain_prdc
    from metrics.prdc import prdc

    for kind, make in FEATURES.items():
        real, generated = make(PRDC_IMAGES)
        others = {"plain NumPy": partial(plain_prdc, real, generated, nearest_k=NEAREST_K)}
        if is_installed("prdc"):
            others["prdc"] = partial(authors_prdc, real, generated, nearest_k=NEAREST_K)
        yield Comparison(
            f"PRDC, {kind}",
            partial(prdc, real_features=real, generated_features=generated, nearest_k=NEAREST_K),
            others,
        )


def compare_encoder() -> Iterator[Comparison]:
    """2,000 digits through the embedded InceptionV3, against Keras's `predict` alone."""
    from benchmark.datasets.mnist import load_mnist
    from metrics.encoders import InceptionV3Encoder

    images = np.array(load_mnist(cache_dir=user_cache_dir()).test_images[:ENCODED_IMAGES])
    encoder = InceptionV3Encoder(weights="embedded")

    def predict():
        return encoder.network.predict(images, batch_size=encoder.batch_size, verbose=0)

    encoder(images[:1]), predict()  # traced and compiled
    ours = partial(encoder, images, lambda done, total: None)
    yield Comparison("encoder", ours, {"bare predict": predict})


def peak_memory_of_prdc(num_images: int) -> tuple[float, float]:
    """Seconds of a PRDC, and peak resident memory in GB of a process that does nothing else."""
    from metrics.prdc import prdc

    real, generated = random_features(num_images)
    start = time.perf_counter()
    prdc(real_features=real, generated_features=generated, nearest_k=NEAREST_K)
    taken = time.perf_counter() - start
    return taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure_memory() -> list[list[str]]:
    """Peak memory of PRDC, 50,000 images a side, random features, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken, peak = pool.apply(peak_memory_of_prdc, (MANY_IMAGES,))
    return [[f"PRDC of {MANY_IMAGES:,}, {taken:.0f} s", f"{peak:.2f} GB", "", "", "", ""]]


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None

"""How cost grows: series of doublings, and the peak memory of few and of many samples."""

import multiprocessing
import resource
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.config import user_cache_dir
from benchmark.speed.compare import Comparison
from benchmark.speed.sampling import build_model
from benchmark.speed.training import fit

FACTORS = (2, 4, 8)
NUM_SAMPLES, NUM_PASSES, NUM_STEPS, NUM_ENCODED = 500, 5, 40, 250
BATCH_SIZE = 250


def compare_scale() -> Iterator[Comparison]:
    """Twice, four and eight times as many samples, passes, training steps and encoded images.

    The ratio is how many times as long they take.
    """
    from benchmark.datasets.mnist import load_mnist
    from metrics.encoders import InceptionV3Encoder
    from models.samplers import DDIM

    model = build_model("quick")
    sampler = model.sampler(DDIM(num_steps=NUM_PASSES))
    yield doublings("samples", NUM_SAMPLES, lambda count: partial(generate, sampler, count))

    def walk(num_passes: int):
        sampler = model.sampler(DDIM(num_steps=num_passes))
        return partial(sampler.sample, *sampler.inputs(0, BATCH_SIZE))

    yield doublings(f"passes, batch {BATCH_SIZE}", NUM_PASSES, walk)

    images = load_mnist(cache_dir=user_cache_dir()).train_images
    yield doublings("training steps", NUM_STEPS, lambda count: partial(fit, model, images, count))
    encoder, shown = InceptionV3Encoder(weights="embedded"), np.array(images[: 8 * NUM_ENCODED])
    yield doublings(
        "images encoded",
        NUM_ENCODED,
        lambda count: partial(encoder, shown[:count], lambda done, total: None),
    )


def doublings(what: str, count: int, way) -> Comparison:
    """Compares `way(count)` with ways of 2, 4 and 8 times as many."""
    others = {f"{factor * count:,}": way(factor * count) for factor in FACTORS}
    return Comparison(f"{count:,} {what}", way(count), others)


def generate(sampler, num_samples: int) -> np.ndarray:
    """Samples as a run does, in shards on the disk."""
    from benchmark.results import Folder
    from benchmark.sampling import sample

    with tempfile.TemporaryDirectory() as folder:
        return sample(
            sampler, folder=Folder(Path(folder)), num_samples=num_samples, batch_size=BATCH_SIZE
        )


def measure_sampling_memory() -> list[list[str]]:
    """Peak memory of a process that makes few samples, against one that makes many."""
    few, many = (peak_memory(count) for count in (NUM_SAMPLES, 16 * NUM_SAMPLES))
    ratio = f"{many / few:.2f}"
    against = f"{16 * NUM_SAMPLES:,}"
    return [[f"{NUM_SAMPLES:,} samples", f"{few:.2f} GB", against, f"{many:.2f} GB", ratio, ""]]


def peak_memory(num_samples: int) -> float:
    """Peak resident memory, in GB, of a process that samples and does nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_memory_of_samples, (num_samples,))


def peak_memory_of_samples(num_samples: int) -> float:
    from models.samplers import DDIM

    generate(build_model("quick").sampler(DDIM(num_steps=1)), num_samples)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9

"""Training and its input pipeline."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.config import user_cache_dir
from benchmark.datasets import ImageArray
from benchmark.speed.compare import Comparison
from benchmark.speed.sampling import build_model

TRAINED = ("smoke", "quick")
BATCH_SIZE = 64
NUM_STEPS = 20
PIPELINE_STEPS = 4000
LARGE_SHAPE = (60_000, 64, 64, 3)


def compare_training() -> Iterator[Comparison]:
    """A run's training against tutorials' step, an eager tape with NumPy noise, same network."""
    import keras

    from benchmark.datasets.mnist import load_mnist
    from benchmark.speed.plain_diffusion import plain_ddpm_step

    images = load_mnist(cache_dir=user_cache_dir()).train_images
    for name in TRAINED:
        model = build_model(name)
        generator = np.random.default_rng(0)
        step = partial(
            plain_ddpm_step,
            model.unet,
            keras.optimizers.Adam(1e-4),
            alpha_bars=model.schedule.alpha_bars,
            generator=generator,
        )

        def plain(step=step, generator=generator):
            for _ in range(NUM_STEPS):
                step(images[generator.integers(0, len(images), BATCH_SIZE)])

        amount = NUM_STEPS * BATCH_SIZE
        yield Comparison(
            f"training the {name} U-Net, batch {BATCH_SIZE}",
            partial(fit, model, images),
            {"eager tape": plain},
            amounts={"ours": amount, "eager tape": amount},
            unit="images",
        )


def fit(model, images: ImageArray, num_steps: int = NUM_STEPS) -> None:
    """Trains some steps as a run does."""
    from benchmark.pipeline import build_pipeline

    model.fit(
        build_pipeline(images, batch_size=BATCH_SIZE, seed=0),
        steps_per_epoch=num_steps,
        epochs=1,
        verbose=0,
    )


def compare_pipeline() -> Iterator[Comparison]:
    """The pipeline alone, from memory and from a file larger than what is kept in memory.

    Batches of 64; the ratio says how many times the images that training the quick U-Net takes.
    """
    from benchmark.datasets.mnist import load_mnist

    images = load_mnist(cache_dir=user_cache_dir()).train_images
    model = build_model("quick")
    others = {"training": partial(fit, model, images)}
    amounts = dict.fromkeys(others, NUM_STEPS * BATCH_SIZE)
    yield Comparison(
        "pipeline, 28x28x1",
        partial(drain, images, PIPELINE_STEPS),
        others,
        amounts={"ours": PIPELINE_STEPS * BATCH_SIZE, **amounts},
        unit="images",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, LARGE_SHAPE)[:] = 128
        stored = np.load(path, mmap_mode="r")
        steps = PIPELINE_STEPS // 10
        yield Comparison(
            "pipeline, 64x64x3, memory map",
            partial(drain, stored, steps),
            others,
            amounts={"ours": steps * BATCH_SIZE, **amounts},
            unit="images",
        )


def drain(images: ImageArray, num_steps: int) -> None:
    """Takes batches out of the pipeline, and does nothing with them."""
    from benchmark.pipeline import build_pipeline

    for _ in build_pipeline(images, batch_size=BATCH_SIZE, seed=0, num_steps=num_steps):
        pass

"""Compiler and precision: what `benchmark.acceleration` chooses from."""

from collections.abc import Iterator
from functools import partial

from benchmark.cli import compose
from benchmark.config import user_cache_dir
from benchmark.datasets import ImageArray
from benchmark.speed.compare import Comparison

MODELS = ("vae", "dcgan", "ddpm", "ddgan")
BATCH_SIZES = (1, 16, 64, 250)
NUM_STEPS = 5


def compare_compiler() -> Iterator[Comparison]:
    """Sampling and training with XLA against the same without it."""
    from models.samplers import DDPM

    images = training_images()
    for name in MODELS:
        parts = compose(f"model={name}", "preset=quick")
        models = {jit: parts.build_model(images.shape[1:]) for jit in (True, False)}
        method = DDPM(num_steps=NUM_STEPS) if name == "ddpm" else None
        for batch_size in BATCH_SIZES:
            sample = {
                jit: sampling(model.sampler(method), batch_size, jit)
                for jit, model in models.items()
            }
            task = f"{name}, sampling, batch {batch_size}: XLA"
            yield Comparison(task, sample[True], {"without": sample[False]})
        for jit, model in models.items():
            model.jit_compile = jit
        train = {jit: training(model, images, parts) for jit, model in models.items()}
        yield Comparison(f"{name}, training: XLA", train[True], {"without": train[False]})


def compare_precision() -> Iterator[Comparison]:
    """Training in mixed bfloat16 against float32."""
    from benchmark.acceleration import Acceleration

    images = training_images()
    for name in MODELS:
        parts, train = compose(f"model={name}", "preset=quick"), {}
        for precision in ("mixed_bfloat16", "float32"):
            with Acceleration(False, False, False, precision, 1, "").building():
                model = parts.build_model(images.shape[1:])
            model.jit_compile = False
            train[precision] = training(model, images, parts)
        task = f"{name}, training: bfloat16"
        yield Comparison(task, train["mixed_bfloat16"], {"float32": train["float32"]})


def compare_executions() -> Iterator[Comparison]:
    """Training with the losses read every ten steps against every step."""
    from benchmark.acceleration import STEPS_ON_GPU, choose
    from benchmark.speed.training import fit

    images = training_images()
    for name in MODELS:
        parts, train = compose(f"model={name}", "preset=quick"), {}
        for steps in (STEPS_ON_GPU, 1):
            model = choose(parts.settings).apply(parts.build_model(images.shape[1:]))
            model.steps_per_execution = steps
            train[steps] = partial(fit, model, images)
        task = f"{name}, training: {STEPS_ON_GPU} steps an execution"
        yield Comparison(task, train[STEPS_ON_GPU], {"one": train[1]})


def training_images() -> ImageArray:
    from benchmark.datasets.mnist import load_mnist

    return load_mnist(cache_dir=user_cache_dir()).train_images


def sampling(sampler, batch_size: int, jit: bool):
    sampler.image_jit = sampler.batch_jit = jit
    return partial(sampler.sample, *sampler.inputs(0, batch_size))


def training(model, images: ImageArray, parts):
    batch = images[: parts.settings["training"]["batch_size"]]

    def train():
        for _ in range(NUM_STEPS):
            model.train_on_batch(batch)

    return train

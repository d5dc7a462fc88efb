"""Sampling: the compiled loop against its own passes, the tutorials' loop and the machine."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmark.cli import compose
from benchmark.speed.compare import Comparison

NETWORKS = {
    "smoke": ["preset=smoke"],
    "quick": ["preset=quick"],
    "standard": ["preset=standard"],
    "tutorial": ["experiment=mnist_ddpm_200"],
}
SAMPLED = ("quick", "standard", "tutorial")
BATCH_SIZES = (1, 16, 256)
NUM_STEPS = 20
MATRIX_SIZE = 4096


def build_model(network: str):
    """A diffusion model of `NETWORKS` that predicts noise, with random weights.

    It is compiled as a run would compile it on this machine.
    """
    from benchmark.acceleration import choose

    parts = compose("model=ddpm", *NETWORKS[network], "model.prediction=noise")
    size = parts.settings["dataset"]["image_size"]
    return choose(parts.settings).apply(parts.build_model((size, size, 1)))


def compare_loop() -> Iterator[Comparison]:
    """Sampling end to end, noise and all, against as many single passes, both compiled."""
    from models.samplers import DDIM, DDPM

    model = build_model("quick")
    for method in (DDPM(num_steps=NUM_STEPS), DDIM(num_steps=NUM_STEPS)):
        sampler = model.sampler(method)
        for batch_size in BATCH_SIZES:
            inputs = sampler.inputs(0, batch_size)
            yield Comparison(
                f"{method.name}, batch {batch_size}",
                partial(sampler.sample, *inputs),
                {f"{NUM_STEPS} passes": partial(call_times, sampler, inputs[0])},
            )


def call_times(sampler, latents: np.ndarray) -> None:
    for _ in range(sampler.network_passes):
        sampler.single_pass(latents)


def compare_tutorial_loop() -> Iterator[Comparison]:
    """The compiled loop against one as tutorials write it: network called eagerly, NumPy noise."""
    from benchmark.speed.plain_diffusion import plain_ddpm
    from models.samplers import DDPM
    from models.schedules import LinearSchedule

    for network in SAMPLED:
        model = build_model(network)
        model.schedule = LinearSchedule(
            num_timesteps=NUM_STEPS, beta_end=0.5, reference_timesteps=None
        )
        alpha_bars = model.schedule.alpha_bars
        betas = 1.0 - alpha_bars / np.append(1.0, alpha_bars[:-1])
        sampler = model.sampler(DDPM(num_steps=NUM_STEPS, variance="fixed_large"))
        for batch_size in (1, 64):
            shape = (batch_size, *model.image_shape)
            plain = partial(plain_ddpm, model.unet, betas=betas, shape=shape, seed=0)
            yield Comparison(
                f"{network} U-Net, {NUM_STEPS} steps, batch {batch_size}",
                partial(sampler.sample, *sampler.inputs(0, batch_size)),
                {"eager loop": plain},
            )


def compare_machine() -> Iterator[Comparison]:
    """Floating-point operations a second of a pass, against those of a large matrix product.

    The ratio is the fraction of the machine's rate that the pass reaches.
    """
    from metrics.cost import count_flops
    from models.samplers import DDIM

    product = matrix_product(MATRIX_SIZE)
    for network in SAMPLED:
        sampler = build_model(network).sampler(DDIM(num_steps=1))
        for batch_size in (1, 64):
            latents, _ = sampler.inputs(0, batch_size)
            flops = batch_size * count_flops(sampler.pass_once, latents[:1])
            yield Comparison(
                f"{network} U-Net, a pass of batch {batch_size}",
                partial(sampler.single_pass, latents),
                {"matrix product": product},
                amounts={"ours": flops / 1e9, "matrix product": 2 * MATRIX_SIZE**3 / 1e9},
                unit="GFLOP",
            )


def matrix_product(size: int):
    """A product of two float32 matrices, compiled."""
    import tensorflow as tf

    left, right = tf.random.stateless_normal((2, size, size), seed=(0, 1))

    @tf.function
    def multiply():
        return tf.reduce_sum(tf.matmul(left, right))  # a scalar, so that nothing else is timed

    return lambda: multiply().numpy()

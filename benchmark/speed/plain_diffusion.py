"""Diffusion as tutorials write it, step by step in Python: to be compared with."""

import numpy as np


def plain_ddpm(network, *, betas: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), the network called eagerly at each step.

    Args:
        network: Predicts the noise from `[images, times]`.
        betas: `(T,)`.
        shape: `(batch, height, width, channels)`.
        seed: Seed of NumPy's noise.

    Returns:
        float32 images in [-1, 1].
    """
    generator = np.random.default_rng(seed)
    alphas = 1.0 - betas
    alpha_bars = np.cumprod(alphas)
    images = generator.standard_normal(shape).astype("float32")
    for step in reversed(range(len(betas))):
        times = np.full(len(images), step)
        predicted = np.asarray(network([images, times], training=False))
        noises = generator.standard_normal(shape) if step > 0 else 0.0
        means = images - betas[step] / np.sqrt(1.0 - alpha_bars[step]) * predicted
        images = means / np.sqrt(alphas[step]) + np.sqrt(betas[step]) * noises
        images = images.astype("float32")
    return np.clip(images, -1.0, 1.0)


def plain_ddpm_step(network, optimizer, images: np.ndarray, *, alpha_bars: np.ndarray, generator):
    """A training step (Ho et al. 2020, algorithm 1) under an eager tape, with noise of the host.

    Args:
        network: Predicts the noise from `[images, times]`.
        optimizer: A `keras.optimizers.Optimizer`.
        images: uint8 `(batch, height, width, channels)`.
        alpha_bars: `(T,)`.
        generator: A `numpy.random.Generator`.

    Returns:
        The loss.
    """
    import tensorflow as tf

    images = images.astype("float32") / 127.5 - 1.0
    times = generator.integers(0, len(alpha_bars), len(images))
    noises = generator.standard_normal(images.shape).astype("float32")
    levels = alpha_bars[times][:, None, None, None].astype("float32")
    noisy_images = np.sqrt(levels) * images + np.sqrt(1.0 - levels) * noises
    with tf.GradientTape() as tape:
        predicted = network([noisy_images, times], training=True)
        loss = tf.reduce_mean(tf.square(noises - predicted))
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
    return float(loss)

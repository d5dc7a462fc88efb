"""Noise that each image owns: a counter-based generator written in `keras.ops`.

`keras.random` takes one seed for a whole batch, so an image's noise would change with the batch
it is in. Here the noise is a function of (seed, image, step, pixel) alone, with the same bits on
every backend: Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy
as 1, 2, 3"), turned into normal numbers by Box and Muller's transform.
"""

import math

from keras import ops

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry(key, counter):
    """The Threefry-2x32 block function with 20 rounds.

    Args:
        key: Pair of uint32 tensors that broadcast against `counter`.
        counter: Pair of uint32 tensors.

    Returns:
        Pair of uint32 tensors of uniformly distributed bits.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ _uint32(PARITY))
    left, right = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            left = left + right
            right = left ^ _rotate_left(right, rotation)
        left = left + keys[(group + 1) % 3]
        right = right + keys[(group + 2) % 3] + _uint32(group + 1)
    return left, right


def step_noise(seeds, step, image_shape):
    """Standard normal noise of one reverse step, a separate stream for each image.

    Args:
        seeds: uint32 `(batch, 2)`: the run's seed and the image's index.
        step: Scalar integer, the number of the step.
        image_shape: `(height, width, channels)`.

    Returns:
        float32 `(batch, *image_shape)`.
    """
    size = math.prod(image_shape)
    half = (size + 1) // 2
    pixels = ops.cast(ops.arange(half), "uint32")[None, :]
    steps = ops.zeros_like(pixels) + ops.cast(step, "uint32")
    left, right = threefry((seeds[:, :1], seeds[:, 1:]), (pixels, steps))
    radius = ops.sqrt(-2.0 * ops.log(1.0 - _uniform(left)))
    angle = 2.0 * math.pi * _uniform(right)
    normal = ops.concatenate([radius * ops.cos(angle), radius * ops.sin(angle)], axis=1)
    return ops.reshape(normal[:, :size], (-1, *image_shape))


def _uniform(bits):
    """Maps uint32 bits to float32 in [0, 1) with 24 bits of precision."""
    return ops.cast(ops.right_shift(bits, _uint32(8)), "float32") * 2.0**-24


def _rotate_left(bits, count):
    return ops.left_shift(bits, _uint32(count)) | ops.right_shift(bits, _uint32(32 - count))


def _uint32(value):
    return ops.convert_to_tensor(value, dtype="uint32")

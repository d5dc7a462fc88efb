"""Training on several devices at once: the only file that uses `tf.distribute`."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from benchmark.errors import UserError


def build_on_devices(strategy: str, build: Callable[[], keras.Model]) -> keras.Model:
    """Builds a model that trains on the devices of a strategy under plain `fit`.

    `mirrored` keeps a copy of the weights on each device that TensorFlow sees, GPUs or else CPUs,
    gives each an equal part of every batch and adds up their gradients
    (`tf.distribute.MirroredStrategy`). Batch norm sees only its device's part of the batch; its
    moving averages are those of the first device.

    Args:
        strategy: `"none"` or `"mirrored"`.
        build: Returns a compiled `models.base.GenerativeModel` with its weights built.

    Returns:
        What `build` returns.

    Raises:
        UserError: If the backend has no such strategy.
    """
    if strategy == "none":
        return build()
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"training.strategy={strategy} needs the backend tensorflow. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    with mirrored_strategy().scope():
        model = build()
        model.optimizer.build(model.trainable_variables)
    compute_loss = model.compute_loss
    # Gradients are summed over the devices, and Keras does not scale a custom `compute_loss`.
    count = num_devices(model)
    model.compute_loss = lambda *args, **kwargs: compute_loss(*args, **kwargs) / count
    return model


@functools.cache
def mirrored_strategy() -> Any:
    """The strategy over all devices, created once per process.

    A second one would number its gradient exchanges like the first, and confuse old ones with its
    own.
    """
    import tensorflow as tf  # Keras has no counterpart under this backend

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def num_devices(model: keras.Model) -> int:
    """The number of devices that a model trains on."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return model.distribute_strategy.num_replicas_in_sync


def give_each_device_its_own_noise(model: keras.Model) -> None:
    """Makes each device draw different noise: as built or restored, all would draw the same.

    Each device has a copy of a seed generator's state, `(seed, draws so far)`, whose count only
    increases. The first device keeps its seed, which checkpoints store; the seeds of the others are
    derived from it.
    """
    if num_devices(model) == 1:
        return
    for variable in model.variables:
        if variable.name == "seed_generator_state":
            first, *others = model.distribute_strategy.experimental_local_results(variable.value)
            seed, count = first.numpy()
            for index, copy in enumerate(others, start=1):
                hashed = np.random.SeedSequence([seed, index]).generate_state(1)[0]
                copy.assign([hashed // 2, count])  # 31 bits, as TensorFlow's seeds are signed

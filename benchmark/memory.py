"""Whether a training step fits into this machine's memory.

On a CPU without enough memory, TensorFlow ends the program with a segmentation fault.
"""

import math
from typing import Any

import keras

from benchmark.acceleration import has_gpu
from benchmark.errors import UserError
from metrics.host import physical_bytes


def check_batch_fits(model: keras.Model, batch_size: int) -> None:
    """Rejects a training batch whose activations alone exceed the machine's memory.

    On a CPU, TensorFlow's peak memory was measured at 0.8 to 1.5 times the activations, so a batch
    that passes may still be too large. Nothing is checked on a GPU: Keras does not report its
    memory, and TensorFlow raises an error when it runs out.

    Raises:
        UserError: If the batch is too large.
    """
    available = physical_bytes()
    if has_gpu() or available is None:
        return
    needed = batch_size * activation_bytes(model)
    if needed > available:
        raise UserError(
            "`training.batch_size` is too large for this machine's memory of "
            f"{gibibytes(available)}: the activations of model={model.name} take "
            f"about {gibibytes(needed)}. Received: training.batch_size={batch_size}"
        )


def gibibytes(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"


def activation_bytes(model: keras.Model) -> int:
    """The size of all layer outputs of a model's networks for one image, in bytes; at least 1.

    Training keeps most of them for the gradients. A layer's values before its own activation
    function are included.
    """
    networks = [layer for layer in model.layers if hasattr(layer, "operations")]
    operations = [operation for network in networks for operation in network.operations]
    return max(1, sum(map(operation_bytes, operations)))


def operation_bytes(operation: Any) -> int:
    """The size of what a layer or operation of a Keras graph computes for one image, in bytes."""
    size = sum(
        math.prod(length or 1 for length in tensor.shape[1:]) * itemsize(tensor.dtype)
        for tensor in keras.tree.flatten(operation.output)
    )
    function = getattr(operation, "activation", None)
    has_two = hasattr(operation, "kernel") and function not in (None, keras.activations.linear)
    return 2 * size if has_two else size


def itemsize(dtype: str) -> int:
    """Bytes per number of a Keras dtype: 4 for `float32`, 2 for `bfloat16`."""
    digits = "".join(filter(str.isdigit, dtype))
    return int(digits or 8) // 8

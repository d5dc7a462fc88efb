"""Whether a training step fits into this machine's memory.

TensorFlow ends the program by a segmentation fault where a processor's memory does not suffice.
"""

import math
from typing import Any

import keras

from benchmark.acceleration import has_gpu
from benchmark.errors import UserError
from metrics.host import physical_bytes


def check_batch_fits(model: keras.Model, batch_size: int) -> None:
    """Refuses a training batch whose activations alone are larger than a processor's memory.

    On a processor, TensorFlow was seen to have 0.8 to 1.5 times as much in use at the most, so a
    batch that is not refused may still be too large. Nothing is refused on a GPU: Keras does not
    tell its memory, and TensorFlow tells when it is used up.

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
    """What the layers of a model's networks compute of one image, in bytes; at least 1.

    Training keeps most of it for the gradients. That includes what a layer computes before its own
    activation function.
    """
    networks = [layer for layer in model.layers if hasattr(layer, "operations")]
    operations = [operation for network in networks for operation in network.operations]
    return max(1, sum(map(operation_bytes, operations)))


def operation_bytes(operation: Any) -> int:
    """What a layer or an operation of a Keras graph computes of one image, in bytes."""
    size = sum(
        math.prod(length or 1 for length in tensor.shape[1:]) * itemsize(tensor.dtype)
        for tensor in keras.tree.flatten(operation.output)
    )
    function = getattr(operation, "activation", None)
    has_two = hasattr(operation, "kernel") and function not in (None, keras.activations.linear)
    return 2 * size if has_two else size


def itemsize(dtype: str) -> int:
    """Bytes of one number of a dtype of Keras: 4 of `float32`, 2 of `bfloat16`."""
    digits = "".join(filter(str.isdigit, dtype))
    return int(digits or 8) // 8

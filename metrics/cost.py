"""What a sampler costs besides time: floating-point operations and memory."""

import ctypes
import gc
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metrics.base import NotMeasured
from metrics.timing import to_host

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
# Operations that do what is counted here, but in a way that is not known here.
UNKNOWN_WORK = ("Conv", "MatMul", "Einsum", "FFT", "RNN", "Xla")


def count_flops(call: Callable[[Any], Any], inputs: np.ndarray) -> int:
    """Floating-point operations of one call, counted in the graph that it is traced to.

    Counted are convolutions, transposed convolutions, matrix products and einsums (dense layers
    and attention are made of these), a multiplication and its addition as two. As is usual,
    element-wise work, normalisation and pooling are not counted, and the border of a padded
    convolution counts like its middle. No number depends on what a compiler makes of the graph.

    Args:
        call: a function of one array, made of the backend's or Keras's operations.
        inputs: what it is called with.

    Returns:
        The number of operations.

    Raises:
        NotMeasured: where the backend shows no graph, or where the graph holds work of unknown
            size.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow_flops(call, inputs)
    if backend == "jax":
        import jax

        return _jax_flops(jax.make_jaxpr(call)(inputs).jaxpr)
    raise NotMeasured(f"the backend {backend} shows no graph to count operations in")


def _tensorflow_flops(call: Callable[[Any], Any], inputs: np.ndarray) -> int:
    # Keras does not show the operations that a network consists of. TensorFlow's own counter,
    # tf.compat.v1.profiler, knows no einsum, which is how Keras writes attention.
    import tensorflow as tf

    spec = tf.TensorSpec(inputs.shape, inputs.dtype)
    graph = tf.function(call, autograph=False).get_concrete_function(spec).graph
    return graph_flops(graph)


def graph_flops(graph: Any, operations: Iterable[Any] | None = None) -> int:
    """Floating-point operations of a TensorFlow graph, as `count_flops` counts them.

    Those of the functions that it calls are included; gradients count like what they are made of.

    Args:
        graph: a `tf.Graph`.
        operations: those of its operations that are counted; all of them by default.

    Returns:
        The number of operations.

    Raises:
        NotMeasured: where the graph holds work of unknown size, or branches of different sizes.
    """

    def called(operation: Any, attribute: str) -> int:
        return graph_flops(graph._get_function(operation.get_attr(attribute).name).graph)

    flops = 0
    for operation in graph.get_operations() if operations is None else operations:
        if operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
            flops += called(operation, "f")
        elif operation.type in ("If", "StatelessIf"):
            branches = {called(operation, name) for name in ("then_branch", "else_branch")}
            if len(branches) > 1:
                raise NotMeasured(f"it is not known how often {operation.name} takes which branch")
            flops += branches.pop()
        else:
            flops += _operation_flops(operation)
    return flops


def _operation_flops(operation: Any) -> int:
    """FLOPs of an operation in a TensorFlow graph."""
    kind = operation.type
    if kind in ("Conv2D", "Conv3D"):  # filters (..., in, out)
        return 2 * _size(operation.outputs[0]) * math.prod(_shape(operation.inputs[1])[:-1])
    if kind == "DepthwiseConv2dNative":  # filters (height, width, in, multiplier)
        return 2 * _size(operation.outputs[0]) * math.prod(_shape(operation.inputs[1])[:2])
    if kind in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):  # a transposed convolution
        return 2 * _size(operation.inputs[2]) * math.prod(_shape(operation.inputs[1])[:-1])
    if kind in ("Conv2DBackpropFilter", "Conv3DBackpropFilterV2"):  # inputs, sizes, gradients
        return 2 * _size(operation.inputs[2]) * math.prod(_shape(operation.outputs[0])[:-1])
    if kind in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        rows = _shape(operation.outputs[0])[-2]  # left, or its transpose, is (..., rows, terms)
        terms = math.prod(_shape(operation.inputs[0])[-2:]) // rows
        return 2 * _size(operation.outputs[0]) * terms
    if kind == "Einsum" and len(operation.inputs) == 2:
        equation = operation.get_attr("equation").decode()
        shapes = [_shape(tensor) for tensor in operation.inputs]
        return 2 * _size(operation.outputs[0]) * summed_terms(equation, shapes)
    calls_function = any(attr.HasField("func") for attr in operation.node_def.attr.values())
    if calls_function or any(word in kind for word in UNKNOWN_WORK):
        raise NotMeasured(f"it is not known how many operations {kind} takes")
    return 0


def _shape(tensor: Any) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise NotMeasured(f"the shape of {tensor.name} is not known before it is computed")
    return tensor.shape.as_list()


def _size(tensor: Any) -> int:
    return math.prod(_shape(tensor))


def summed_terms(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Number of products that an einsum adds up for each entry of its result.

    Args:
        equation: such as `"btnh,bsnh->bnts"`; may have an ellipsis.
        shapes: shapes of the operands.
    """
    operands, result = equation.replace(" ", "").split("->")
    sizes: dict[str, int] = {}
    for labels, shape in zip(operands.split(","), shapes, strict=True):
        left, _, right = labels.partition("...")
        sizes.update(zip(left, shape, strict=False))
        sizes.update(zip(reversed(right), reversed(shape), strict=False))
    return math.prod(size for label, size in sizes.items() if label not in result)


def _jax_flops(jaxpr: Any) -> int:
    """FLOPs of a JAX program, those of the programs within it included."""
    flops = 0
    for equation in jaxpr.eqns:
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        inner = [value for value in inner if hasattr(value, "eqns")]
        repeats = equation.params.get("length", 1)  # of a scan
        flops += _equation_flops(equation) + repeats * sum(map(_jax_flops, inner))
    return flops


def _equation_flops(equation: Any) -> int:
    """FLOPs of an equation in a JAX program."""
    name, params = equation.primitive.name, equation.params
    if name in ("while", "cond", "fft"):
        raise NotMeasured(f"it is not known how many operations {name} takes")
    if name not in ("dot_general", "conv_general_dilated"):
        return 0
    left, right = (variable.aval.shape for variable in equation.invars)
    result = math.prod(equation.outvars[0].aval.shape)
    if name == "dot_general":
        return 2 * result * math.prod(left[axis] for axis in params["dimension_numbers"][0][0])
    features, channels, *_ = params["dimension_numbers"].rhs_spec  # axes of the filters
    if math.prod(params["lhs_dilation"]) == 1:
        return 2 * result * math.prod(right) // right[features]
    # A transposed convolution, written with zeros between its inputs: those are no work.
    groups = params["feature_group_count"]
    return 2 * math.prod(left) * math.prod(right) // (right[channels] * groups)


@dataclass(frozen=True)
class PeakMemory:
    """The most memory in use during a call, in bytes.

    Args:
        peak_bytes: the most that was in use, whatever it was used for.
        before_bytes: what was in use before the call.
        of: whose memory it is: `"process"` or the name of a device.
        held_bytes: what was in use before the call on the call's account, such as weights.
    """

    peak_bytes: int
    before_bytes: int
    of: str
    held_bytes: int = 0

    @property
    def increase_bytes(self) -> int:
        """What the call takes that a process without it does not."""
        return self.held_bytes + max(0, self.peak_bytes - self.before_bytes)

    def describe(self) -> dict[str, Any]:
        """In megabytes of 10^6 bytes, ready for JSON."""
        return {
            "of": self.of,
            "peak_mb": self.peak_bytes / 1e6,
            "before_mb": self.before_bytes / 1e6,
            "held_mb": self.held_bytes / 1e6,
            "increase_mb": self.increase_bytes / 1e6,
        }


def peak_memory(call: Callable[[], object], *, held_bytes: int = 0) -> PeakMemory:
    """Calls and finds how much memory that takes beyond an idle process.

    The increase is the largest one during the call, and `held_bytes` more: weights lie in memory
    before any call. So it does not depend on what the process has done before: the interpreter,
    the framework, the data and what training left behind are no part of it, in a process that has
    just trained as in a fresh one. Programs that were compiled are no part of it either.

    With TensorFlow it is what its tensors take, on a GPU or on a processor, as its allocator counts
    them (in chunks, which may be larger than what was asked for). That allocator keeps freed memory
    for the next call, so the process would not be seen to grow. Where TensorFlow does not count on
    a processor (without oneDNN), and with another backend, it is the growth of the process's
    resident memory. Before the call, garbage is then collected and the C library returns what it
    keeps of freed memory (glibc's `malloc_trim`): the call would reuse it unseen.

    Args:
        call: what is called, once or twice, and returns arrays; it should have been called before,
            so that nothing is compiled now.
        held_bytes: what is in memory already on the call's account.

    Returns:
        The `PeakMemory`.

    Raises:
        NotMeasured: where the peak cannot be distinguished from that of earlier calls.
    """
    import keras

    gc.collect()
    backend = keras.backend.backend()
    accelerators = [name for name in keras.distribution.list_devices() if "cpu" not in name.lower()]
    if backend != "tensorflow" and accelerators:
        raise NotMeasured(f"with {backend} the peak of an accelerator cannot be reset")
    if backend == "tensorflow":
        device = accelerators[0] if accelerators else "cpu:0"
        try:
            peak = _tensorflow_peak(call, device.upper(), held_bytes)  # it writes "GPU:0"
            if peak.peak_bytes > peak.before_bytes or accelerators:
                return peak
        except ValueError:  # the memory of a processor is not counted
            if accelerators:
                raise
    return _process_peak(call, held_bytes)


def _tensorflow_peak(call: Callable[[], object], device: str, held_bytes: int) -> PeakMemory:
    import tensorflow as tf  # Keras does not report the memory in use

    tf.config.experimental.reset_memory_stats(device)
    before = tf.config.experimental.get_memory_info(device)["current"]
    to_host(call())
    peak = tf.config.experimental.get_memory_info(device)["peak"]
    return PeakMemory(peak, before, device, held_bytes)


def _process_peak(call: Callable[[], object], held_bytes: int) -> PeakMemory:
    return_freed_memory()
    try:
        CLEAR_REFS.write_text("5")  # Linux: resets VmHWM to what is resident now
        before = resident_bytes(STATUS.read_text(), "VmRSS")
    except OSError as error:
        raise NotMeasured(f"the peak of the process's memory cannot be reset: {error}") from error
    to_host(call())
    peak = resident_bytes(STATUS.read_text(), "VmHWM")
    return PeakMemory(peak, before, "process", held_bytes)


def return_freed_memory() -> None:
    """Has the allocator return what it keeps of freed memory; without glibc it does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def resident_bytes(status: str, name: str) -> int:
    """An entry of `/proc/self/status`: `VmRSS` is resident now, `VmHWM` at its peak."""
    match = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    if match is None:
        raise NotMeasured(f"the system does not report {name}")
    return 1024 * int(match[1])

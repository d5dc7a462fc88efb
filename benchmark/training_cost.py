"""What training costs: a step's floating-point operations, counted while Keras traces it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from benchmark.stored_results import StoredRun
from metrics.base import NotMeasured
from metrics.cost import graph_flops

# Earlier trainings that a run builds on, by their names in its run.json.
EARLIER = {"teacher": "its teacher", "started_from": "the run that it continues"}


@dataclass
class StepCost:
    """The cost of a model's training step.

    Attributes:
        flops: Floating-point operations of a step: forward, backward, and the optimizer's. `None`
            until it is traced, and if they cannot be counted.
    """

    flops: int | None = None


@contextlib.contextmanager
def counted_step(model: keras.Model) -> Iterator[StepCost]:
    """Counts the operations of the training step that is traced within the block.

    This needs no additional tracing or computation. The count is that of
    `metrics.cost.count_flops`. There is none with a backend other than TensorFlow, on several
    devices, or for a step with branches, such as alternating updates of two networks: the graph
    does not say how often each branch is taken.

    Args:
        model: A compiled `keras.Model`, before the `fit` that traces its step.
    """
    cost = StepCost()
    if (
        keras.backend.backend() != "tensorflow"
        or model.distribute_strategy.num_replicas_in_sync > 1
    ):
        yield cost
        return
    train_step = model.train_step

    def counted(data: Any) -> Any:
        outputs = train_step(data)
        cost.flops = current_flops()
        return outputs

    model.train_step = counted
    try:
        yield cost
    finally:
        del model.train_step


def current_flops() -> int | None:
    """The operations of the graph that TensorFlow is tracing, if they can be counted."""
    import tensorflow as tf  # Keras does not show the graph

    if tf.executing_eagerly():
        return None
    graph = tf.compat.v1.get_default_graph()
    try:
        return graph_flops(graph, needed_operations(graph))
    except NotMeasured:
        return None


def needed_operations(graph: Any) -> list[Any]:
    """The operations that update variables, and all that they depend on; the rest never runs.

    An example of the rest: gradients of the images, which TensorFlow adds for a convolution.
    """
    waiting = [operation for operation in graph.get_operations() if operation.op_def.is_stateful]
    needed = {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in needed:
            needed[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += operation.control_inputs
    return list(needed.values())


def train_cost(state: dict[str, Any]) -> dict[str, Any]:
    """The cost of a training, as far as its run.json says: time, images, operations.

    This includes the training of its teacher, and of the run whose weights it started from.
    """
    flops, images_seen = state.get("train_flops_per_image"), state.get("images_seen")
    pflops = None
    if flops is not None and images_seen is not None:
        pflops = flops * images_seen / 1e15
    cost = {
        "train_seconds": state.get("train_seconds"),
        "images_seen": images_seen,
        "train_pflops": pflops,
    }
    for name in EARLIER:
        if earlier := state.get(name):
            both = {key: (own, earlier[key]) for key, own in cost.items()}
            cost = {key: None if None in parts else sum(parts) for key, parts in both.items()}
    return cost


def cost_of(run: StoredRun) -> dict[str, Any]:
    """The training cost of a stored run, with its key, for the run.json of another run."""
    return {"run": run.key, **train_cost(run.state)}


def cost_notes(state: dict[str, Any]) -> list[str]:
    """Notes on the numbers of `train_cost`."""
    own = state.get("train_seconds", 0.0)
    return [
        f"trained {own:.0f} s besides the {state[name]['train_seconds']:.0f} s of {what}, "
        f"run {state[name]['run'][:8]}"
        for name, what in EARLIER.items()
        if name in state
    ]

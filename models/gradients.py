"""Derivatives with respect to inputs, which Keras has no operation for."""

import keras
from keras import ops


def with_input_gradients(function, inputs):
    """Evaluates a function and the gradient of its summed outputs with respect to its inputs.

    The gradient can be differentiated again, as gradient penalties need it.

    Args:
        function: From a tensor to a tensor. Where each output depends on one row of the inputs,
            each row of the gradient belongs to one output.
        inputs: Float tensor.

    Returns:
        `(outputs, gradients)`; the gradients have the shape of `inputs`.

    Raises:
        NotImplementedError: Under a backend other than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(inputs)
        return outputs, tape.gradient(outputs, inputs)
    if backend == "jax":
        import jax

        def total(values):
            outputs = function(values)
            return ops.sum(outputs), outputs

        gradients, outputs = jax.grad(total, has_aux=True)(inputs)
        return outputs, gradients
    raise unknown_backend()


def with_directional_derivative(function, inputs, tangents):
    """Evaluates a function and its derivative along a direction, by forward differentiation.

    That is the product of its Jacobian with the vector `tangents`, at the cost of about one more
    evaluation or two, whatever the number of inputs and outputs.

    Args:
        function: From tensors to a tensor.
        inputs: List of float tensors.
        tangents: The direction, a list of tensors of the same shapes.

    Returns:
        `(outputs, derivatives)` of the same shape.

    Raises:
        NotImplementedError: Under a backend other than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.autodiff.ForwardAccumulator(inputs, tangents) as accumulator:
            outputs = function(*inputs)
        return outputs, accumulator.jvp(outputs, tf.UnconnectedGradients.ZERO)
    if backend == "jax":
        import jax

        return jax.jvp(function, tuple(inputs), tuple(tangents))
    raise unknown_backend()


def unknown_backend():
    """The error for backends that have no such derivatives here."""
    return NotImplementedError(
        "derivatives with respect to inputs are written for the backends tensorflow and jax. "
        f"Received: KERAS_BACKEND={keras.backend.backend()}"
    )

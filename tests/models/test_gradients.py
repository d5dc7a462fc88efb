import numpy as np
import pytest
from keras import ops

from models import gradients
from models.gradients import with_directional_derivative, with_input_gradients


def test_the_gradient_of_a_cubic_by_hand():
    inputs = ops.convert_to_tensor(np.array([[1.0, 2.0], [3.0, -1.0]], "float32"))
    outputs, received = with_input_gradients(
        lambda values: ops.sum(values**3, axis=1, keepdims=True), inputs
    )
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), [[9.0], [26.0]])
    np.testing.assert_allclose(ops.convert_to_numpy(received), [[3.0, 12.0], [27.0, 3.0]])


def test_the_gradient_can_be_differentiated_again():
    """d/dw of |d/dx sum(w x^2)|^2 = |2 w x|^2 is 8 w x^2, summed over x."""
    import tensorflow as tf

    weight = tf.Variable(0.5)
    inputs = tf.constant([1.0, 3.0])
    with tf.GradientTape() as tape:
        _, received = with_input_gradients(lambda values: weight * values**2, inputs)
        penalty = tf.reduce_sum(received**2)
    assert float(tape.gradient(penalty, weight)) == pytest.approx(8 * 0.5 * (1.0 + 9.0))


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(gradients.keras.backend, "backend", lambda: "torch")
    with pytest.raises(NotImplementedError, match="KERAS_BACKEND=torch"):
        with_input_gradients(lambda values: values, np.ones(1))
    with pytest.raises(NotImplementedError, match="KERAS_BACKEND=torch"):
        with_directional_derivative(lambda values: values, [np.ones(1)], [np.ones(1)])


def test_the_derivative_along_a_direction_by_hand():
    """x y^2 along (3, 1) has the derivative 3 y^2 + 2 x y."""
    x, y = (
        ops.convert_to_tensor(np.array(values, "float32")) for values in ([1.0, 2.0], [4.0, -1.0])
    )
    outputs, derivatives = with_directional_derivative(
        lambda x, y: x * y**2, [x, y], [ops.full_like(x, 3.0), ops.ones_like(y)]
    )
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), [16.0, 2.0])
    np.testing.assert_allclose(ops.convert_to_numpy(derivatives), [48.0 + 8.0, 3.0 - 4.0])


def test_an_input_that_the_outputs_do_not_depend_on_has_no_share_in_the_derivative():
    ones, others = ops.ones((2,)), ops.ones((2,))
    _, derivatives = with_directional_derivative(
        lambda x, y: x + 1.0, [ones, others], [ones, others]
    )
    np.testing.assert_allclose(ops.convert_to_numpy(derivatives), 1.0)
    _, derivatives = with_directional_derivative(lambda x: 5.0 * ops.ones((2,)), [ones], [ones])
    np.testing.assert_allclose(ops.convert_to_numpy(derivatives), 0.0)

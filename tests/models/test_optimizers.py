import keras
import numpy as np

from models.optimizers import AveragedAdam


def test_the_average_warms_up_and_is_put_into_the_weights():
    """By hand: momentum min(m, (1 + n) / (10 + n)) with n the number of steps before."""
    variable = keras.Variable(np.array([1.0, -2.0], "float32"))
    optimizer = AveragedAdam(0.1, ema_momentum=0.5)
    optimizer.build([variable])
    average = None
    for step in range(20):
        optimizer.apply([np.array([1.0, 0.5], "float32")], [variable])
        momentum = min(0.5, (1 + step + 1) / (10 + step + 1))
        value = variable.numpy()
        previous = np.array([1.0, -2.0]) if average is None else average
        average = momentum * previous + (1 - momentum) * value
    optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(variable.numpy(), average, rtol=1e-4)

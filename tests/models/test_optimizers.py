import keras
import numpy as np
import pytest

from models.optimizers import AveragedAdam


def test_without_averages_it_is_adam():
    ours, adam = keras.Variable(np.ones(3, "float32")), keras.Variable(np.ones(3, "float32"))
    optimizers = (AveragedAdam(0.1, ema_momentum=None), keras.optimizers.Adam(0.1))
    for optimizer, variable in zip(optimizers, (ours, adam), strict=True):
        optimizer.build([variable])
        for step in range(3):
            optimizer.apply([np.full(3, step + 1.0, "float32")], [variable])
        optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(ours.numpy(), adam.numpy())


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_in_turns_it_does_what_adam_does_in_as_many_steps(turn):
    """Other steps, whatever their gradients, leave weights, moments and averages alone."""
    plain, waiting = keras.Variable(np.ones(3, "float32")), keras.Variable(np.ones(3, "float32"))
    optimizer, in_turns = AveragedAdam(0.1), AveragedAdam(0.1)
    in_turns.take_turns(period=3, turn=turn)
    optimizer.build([plain])
    in_turns.build([waiting])
    for step in range(12):
        gradient = np.array([1.0, -2.0, 0.5 * step], "float32")
        if step % 3 == turn:
            optimizer.apply([gradient], [plain])
            in_turns.apply([gradient], [waiting])
        else:
            in_turns.apply([100.0 * gradient], [waiting])
    np.testing.assert_allclose(waiting.numpy(), plain.numpy(), rtol=1e-6)
    for each, variable in ((optimizer, plain), (in_turns, waiting)):
        each.finalize_variable_values([variable])
    np.testing.assert_allclose(waiting.numpy(), plain.numpy(), rtol=1e-6)


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

import keras
import numpy as np
import pytest

from models.optimizers import AveragedAdam, AveragedMuon

OPTIMIZERS = (AveragedAdam, AveragedMuon)


def kernel(values):
    return keras.Variable(np.asarray(values, "float32"), name="kernel")


def apply_to(optimizer, variable, *gradients):
    """The variable after as many steps."""
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([np.asarray(gradient, "float32")], [variable])
    return keras.ops.convert_to_numpy(variable)


def test_without_averages_it_is_adam():
    ours, adam = keras.Variable(np.ones(3, "float32")), keras.Variable(np.ones(3, "float32"))
    optimizers = (AveragedAdam(0.1, ema_momentum=None), keras.optimizers.Adam(0.1))
    for optimizer, variable in zip(optimizers, (ours, adam), strict=True):
        apply_to(optimizer, variable, *([step + 1.0] * 3 for step in range(3)))
        optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(ours.numpy(), adam.numpy())


def test_without_averages_it_is_muon():
    """Of a dense layer's kernel, with Keras's decay."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(3, 4, 3))
    decays = {"weight_decay": 0.004, "adam_weight_decay": 0.004}
    ours = apply_to(AveragedMuon(0.1, ema_momentum=None, **decays), kernel(start), *gradients)
    np.testing.assert_array_equal(
        ours, apply_to(keras.optimizers.Muon(0.1), kernel(start), *gradients)
    )


def test_muon_takes_a_convolution_for_the_matrix_of_its_outputs_by_its_inputs():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 3, 2, 8)), rng.normal(size=(3, 3, 3, 2, 8))
    convolution = apply_to(AveragedMuon(0.1), kernel(start), *gradients)
    dense = apply_to(AveragedMuon(0.1), kernel(start.reshape(18, 8)), *gradients.reshape(3, 18, 8))
    np.testing.assert_array_equal(convolution.reshape(18, 8), dense)


def test_an_update_of_muon_is_orthogonal():
    """Its singular values are nearly all alike: 0.2 sqrt(18) (Liu et al. 2025)."""
    gradient = np.random.default_rng(0).normal(size=(3, 3, 2, 8))
    update = -apply_to(AveragedMuon(1.0), kernel(np.zeros_like(gradient)), gradient)
    values = np.linalg.svd(update.reshape(18, 8), compute_uv=False)
    # Jordan et al. 2024: the iteration ends between 0.7 and 1.2.
    assert 0.65 < (values / (0.2 * np.sqrt(18))).min()
    assert (values / (0.2 * np.sqrt(18))).max() < 1.25


@pytest.mark.parametrize(
    ("shape", "name", "options"),
    [
        ((1, 3), "bias", {}),
        ((3,), "gamma", {}),
        ((4, 3), "embeddings", {}),
        ((4, 3), "kernel", {"exclude_layers": ["kern"]}),
    ],
)
def test_muon_leaves_all_but_kernels_to_adam(shape, name, options):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=shape).astype("float32"), rng.normal(size=(3, *shape))
    muon = AveragedMuon(0.1, **options)
    ours = apply_to(muon, keras.Variable(start, name=name), *gradients)
    adam = apply_to(AveragedAdam(0.1), keras.Variable(start, name=name), *gradients)
    np.testing.assert_allclose(ours, adam, rtol=1e-5)


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_in_turns_it_does_the_same_in_as_many_steps(name, optimizer_class, turn):
    """Other steps, whatever their gradients, leave weights, moments and averages alone."""
    plain, waiting = (
        keras.Variable(np.arange(6.0, dtype="float32").reshape(2, 3), name=name) for _ in range(2)
    )
    optimizer, in_turns = optimizer_class(0.1), optimizer_class(0.1)
    in_turns.take_turns(period=3, turn=turn)
    optimizer.build([plain])
    in_turns.build([waiting])
    for step in range(12):
        gradient = np.array([[1.0, -2.0, 0.5 * step], [-1.0, 3.0, 2.0]], "float32")
        if step % 3 == turn:
            optimizer.apply([gradient], [plain])
            in_turns.apply([gradient], [waiting])
        else:
            in_turns.apply([100.0 * gradient], [waiting])
    np.testing.assert_allclose(waiting.numpy(), plain.numpy(), rtol=1e-6)
    for each, variable in ((optimizer, plain), (in_turns, waiting)):
        each.finalize_variable_values([variable])
    np.testing.assert_allclose(waiting.numpy(), plain.numpy(), rtol=1e-6)


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_the_average_warms_up_and_is_put_into_the_weights(optimizer_class):
    """By hand: momentum min(m, (1 + n) / (10 + n)) with n the number of steps before."""
    variable = keras.Variable(np.array([1.0, -2.0], "float32"))
    optimizer = optimizer_class(0.1, ema_momentum=0.5)
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

"""The operations of a training step, counted by hand, and that counting changes nothing."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from benchmark.training_cost import counted_step, train_cost

BATCH = 4
# Forward, and the gradients of the kernels; of the inputs, for all layers but the first.
DENSE = BATCH * (2 * 2 * 5 * 3 + 3 * 2 * 2 * 5)


def dense_model(**options):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(5), layers.Dense(2)])
    model.compile(optimizer="adam", loss="mse", **options)
    return model


def conv_model():
    convolutions = [layers.Conv2D(4, 3), layers.Conv2D(5, 3, strides=2, padding="same")]
    model = keras.Sequential([keras.Input((8, 8, 2)), *convolutions])
    model.compile(optimizer="sgd", loss="mse")
    return model


# The results of the layers are 6 x 6 x 4 and 3 x 3 x 5. TensorFlow adds the gradient of the images
# to the graph, but it is not computed.
CONV = BATCH * (2 * 2 * (6 * 6 * 4) * 18 + 3 * 2 * (3 * 3 * 5) * 36)


class Branching(keras.Model):
    """A model one layer of which is used at some of the steps only."""

    def __init__(self):
        super().__init__()
        self.layer = layers.Dense(2)
        self.is_due = self.add_weight(shape=(), initializer="ones", trainable=False, name="is_due")
        self.compile(optimizer="sgd", loss="mse")

    def call(self, inputs):
        outputs = self.layer(inputs)
        return ops.cond(
            self.is_due > 0, lambda: outputs @ ops.transpose(outputs) @ outputs, lambda: outputs
        )


def fitted(model, shape, targets):
    with counted_step(model) as cost:
        model.fit(np.ones((8, *shape)), np.ones((8, *targets)), batch_size=BATCH, verbose=0)
    return cost


@pytest.mark.parametrize(
    ("build", "shape", "targets", "expected"),
    [(dense_model, (3,), (2,), DENSE), (conv_model, (8, 8, 2), (3, 3, 5), CONV)],
)
def test_a_step_is_counted_by_hand(build, shape, targets, expected):
    model = build()
    assert fitted(model, shape, targets).flops == expected
    assert model.train_step.__self__ is model  # its own again


def test_several_steps_at_once_and_compiled_ones_are_counted_alike():
    for options in ({"steps_per_execution": 2}, {"jit_compile": True}):
        assert fitted(dense_model(**options), (3,), (2,)).flops == DENSE


def test_a_learning_rate_that_branches_is_no_work():
    model = dense_model()
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 9, warmup_target=1.0, warmup_steps=3)
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss="mse")
    assert fitted(model, (3,), (2,)).flops == DENSE


def test_a_step_that_branches_is_not_counted():
    assert fitted(Branching(), (3,), (2,)).flops is None


def test_what_runs_eagerly_is_not_counted():
    assert fitted(dense_model(run_eagerly=True), (3,), (2,)).flops is None


def test_counting_changes_no_weight():
    weights = []
    for count in (True, False):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model = dense_model()
        data = np.random.default_rng(0).normal(size=(8, 3)), np.ones((8, 2))
        if count:
            with counted_step(model):
                model.fit(*data, verbose=0)
        else:
            model.fit(*data, verbose=0)
        weights.append(model.get_weights())
    for counted, plain in zip(*weights, strict=True):
        np.testing.assert_array_equal(counted, plain)


def test_what_a_training_took_is_told_as_far_as_it_is_known():
    state = {"train_seconds": 9.5, "images_seen": 2_000_000, "train_flops_per_image": 5e8}
    assert train_cost(state) == {
        "train_seconds": 9.5,
        "images_seen": 2_000_000,
        "train_pflops": pytest.approx(1.0),
    }
    older = {"train_seconds": 9.5}
    assert train_cost(older) == {"train_seconds": 9.5, "images_seen": None, "train_pflops": None}

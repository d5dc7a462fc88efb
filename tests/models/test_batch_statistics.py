import keras
import numpy as np
from keras import layers, ops

from models.batch_statistics import renew_batch_statistics


def test_statistics_are_those_of_all_batches():
    """By hand for the first layer; the second is normalised by batches before it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2), name="images")
    features = layers.Conv2D(3, 1)(layers.BatchNormalization(name="first")(inputs))
    network = keras.Model([inputs], layers.BatchNormalization(name="second")(features))
    batches = np.random.default_rng(0).normal(2.0, 3.0, (5, 16, 4, 4, 2)).astype("float32")
    batches += np.arange(5)[:, None, None, None, None]
    renew_batch_statistics(network, [[batch] for batch in batches])

    first, second = network.get_layer("first"), network.get_layer("second")
    pooled = batches.reshape(-1, 2)
    np.testing.assert_allclose(first.moving_mean.numpy(), pooled.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(first.moving_variance.numpy(), pooled.var(axis=0), rtol=1e-4)

    probe = keras.Model(inputs, second.input)
    passed = np.concatenate([ops.convert_to_numpy(probe(b, training=True)) for b in batches])
    np.testing.assert_allclose(second.moving_mean.numpy(), passed.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(second.moving_variance.numpy(), passed.var((0, 1, 2)), rtol=1e-4)


def test_a_network_without_batch_norm_stays_as_it_is():
    inputs = keras.Input((2,))
    network = keras.Model(inputs, layers.Dense(1)(inputs))
    before = network.get_weights()
    renew_batch_statistics(network, [np.ones((3, 2))])
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_single_batch_norm_is_renewed():
    inputs = keras.Input((3,), name="vectors")
    norm = layers.BatchNormalization()
    network = keras.Model([inputs], norm(inputs))
    batch = np.arange(12, dtype="float32").reshape(4, 3)
    renew_batch_statistics(network, [[batch]])
    np.testing.assert_allclose(norm.moving_mean.numpy(), batch.mean(axis=0), rtol=1e-5)

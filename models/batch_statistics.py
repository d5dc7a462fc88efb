"""Batch statistics that fit weights which no training step has seen, such as averages."""

import keras
from keras import layers, ops


def renew_batch_statistics(network, batches):
    """Replaces the moving statistics of each batch norm by those over some batches.

    As Izmailov et al. (2018, section 3.2) do for averaged weights: passes in training mode, each
    normalised by its own batch, whose means and variances are then pooled.

    Args:
        network: A functional `keras.Model`.
        batches: Iterable of its inputs, at least one, of equal sizes.
    """
    norms = {
        layer.name: layer
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization)
    }
    if not norms:
        return
    probe = keras.Model(network.inputs, {name: layer.input for name, layer in norms.items()})
    moments = {name: [] for name in norms}
    for batch in batches:
        for name, features in probe(batch, training=True).items():
            features = ops.cast(features, "float32")
            moments[name].append(ops.moments(features, axes=tuple(range(features.ndim - 1))))
    for name, layer in norms.items():
        means, variances = map(ops.stack, zip(*moments[name], strict=True))
        mean = ops.mean(means, axis=0)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(ops.mean(variances + ops.square(means - mean), axis=0))

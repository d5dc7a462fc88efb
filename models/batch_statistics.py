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
    norms = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    if not norms:
        return
    probe = keras.Model(network.inputs, [layer.input for layer in norms])
    moments = []
    for batch in batches:
        features = [ops.cast(values, "float32") for values in probe(batch, training=True)]
        axes = [tuple(range(values.ndim - 1)) for values in features]
        moments.append([ops.moments(*pair) for pair in zip(features, axes, strict=True)])
    for layer, of_layer in zip(norms, zip(*moments, strict=True), strict=True):
        means, variances = map(ops.stack, zip(*of_layer, strict=True))
        mean = ops.mean(means, axis=0)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(ops.mean(variances + ops.square(means - mean), axis=0))

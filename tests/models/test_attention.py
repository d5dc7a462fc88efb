import keras
import numpy as np
import pytest
from keras import ops

from models.attention import (
    efficient_attention,
    full_attention,
    heads_of,
    linear_attention,
    single_head_attention,
)


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


def test_linear_attention_agrees_with_the_equation_written_out():
    """Shen et al. (2021), section 3.2, one head at a time."""
    shape = batch, positions, heads, channels = 2, 5, 3, 4
    queries, keys, values = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    expected = np.zeros(shape)
    for image in range(batch):
        for head in range(heads):
            context = np.zeros((channels, channels))
            for channel in range(channels):
                fractions = softmax(keys[image, :, head, channel])  # of the positions
                context[channel] = sum(
                    fractions[n] * values[image, n, head] for n in range(positions)
                )
            for position in range(positions):
                expected[image, position, head] = softmax(queries[image, position, head]) @ context
    attended = efficient_attention(queries=queries, keys=keys, values=values)
    np.testing.assert_allclose(ops.convert_to_numpy(attended), expected, atol=1e-6)


@pytest.mark.parametrize("attention", [full_attention, linear_attention])
def test_attention_mixes_distant_pixels(attention):
    tokens = keras.Input((16, 8))
    model = keras.Model(tokens, attention(tokens))
    first = np.random.default_rng(0).normal(size=(1, 16, 8)).astype("float32")
    second = first.copy()
    second[0, 0] += 3.0  # one corner of the image
    difference = ops.convert_to_numpy(model(first) - model(second))
    assert difference.shape == first.shape
    assert np.abs(difference[0, -1]).max() > 1e-3  # the opposite one


def test_attention_with_one_head_agrees_with_the_equation_written_out():
    """Vaswani et al. (2017), eq. 1; the output is 0 at first."""
    tokens = keras.Input((5, 4))
    model = keras.Model(tokens, single_head_attention(tokens))
    values = np.random.default_rng(0).normal(size=(1, 5, 4)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(model(values)), np.zeros((1, 5, 4)))
    kernels = np.random.default_rng(1).normal(size=(4, 4, 4))
    model.set_weights([part for kernel in kernels for part in (kernel, np.zeros(4))])
    query, key, value = (values[0] @ kernel for kernel in kernels[:3])
    attended = np.stack([softmax(key @ query[n] / 2.0) @ value for n in range(5)])
    outputs = ops.convert_to_numpy(model(values))
    np.testing.assert_allclose(outputs[0], attended @ kernels[3], atol=1e-4)


def test_heads_take_64_channels_each():
    assert [heads_of(channels) for channels in (16, 64, 96, 256)] == [
        (1, 16),
        (1, 64),
        (1, 96),
        (4, 64),
    ]


def test_the_weights_of_linear_attention_do_not_grow_with_the_positions():
    def num_parameters(positions):
        tokens = keras.Input((positions, 8))
        return keras.Model(tokens, linear_attention(tokens)).count_params()

    assert num_parameters(4) == num_parameters(64) == 4 * 8 * 8 + 8

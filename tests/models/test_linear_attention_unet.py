import keras
import numpy as np
import pytest
from keras import ops

from models.attention import efficient_attention
from models.linear_attention_unet import (
    HEAD_DIM,
    build_linear_attention_unet,
    convolution_block,
    linear_attention,
)
from tests.models.test_unet import count_attention, differ, outputs_of, random_images

SMALL = {"image_shape": (8, 8, 1), "base_width": 8, "multipliers": [1, 2]}


def test_the_network_of_the_tutorial_on_mnist():
    """32x32, widths 64 to 512: the number of parameters that its summary prints."""
    unet = build_linear_attention_unet(
        image_shape=(32, 32, 1), base_width=64, multipliers=[1, 2, 4, 8]
    )
    assert unet.count_params() == 32_294_837


def test_the_first_convolution_is_two_thirds_as_wide():
    unet = build_linear_attention_unet(**{**SMALL, "base_width": 64})
    (first,) = [layer for layer in unet.layers if getattr(layer, "kernel_size", None) == (7, 7)]
    assert first.output.shape == (None, 8, 8, 42)


def test_linear_attention_on_all_levels_and_full_attention_in_the_middle():
    """Two levels down, one up; linear attention has two einsums, and one splits into three."""
    unet = build_linear_attention_unet(**SMALL)
    assert count_attention(unet) == (0, 3)
    operations = [type(operation).__name__ for operation in unet.operations]
    assert operations.count("DotProductAttention") == 1


def test_linear_attention_scales_the_queries():
    tokens = keras.Input((6, 8))
    model = keras.Model(tokens, linear_attention(tokens))
    values = np.random.default_rng(0).normal(size=(1, 6, 8)).astype("float32")
    kernel, projection, bias, *_ = model.get_weights()
    heads = (values @ kernel).reshape(1, 6, 3, 4, HEAD_DIM).transpose(2, 0, 1, 3, 4)
    attended = efficient_attention(queries=heads[0], keys=heads[1], values=heads[2])
    attended = ops.convert_to_numpy(attended).reshape(1, 6, -1) / np.sqrt(HEAD_DIM)
    attended = attended @ projection + bias
    centred = attended - attended.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt(attended.var(axis=-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(ops.convert_to_numpy(model(values)), expected, atol=1e-4)


def test_a_block_scales_and_shifts_what_it_has_normalised():
    features, told = keras.Input((4, 4, 8)), keras.Input((16,))
    model = keras.Model([features, told], convolution_block(features, 8, told))
    scale_shift = np.concatenate([np.full((1, 8), -1.0), np.full((1, 8), 2.0)], axis=1)
    outputs = model([random_images(1, (4, 4, 8)), scale_shift.astype("float32")])
    silu = 2.0 / (1.0 + np.exp(-2.0))  # scaled by 0 and shifted by 2
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), silu, atol=1e-5)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_the_output_has_the_shape_of_the_images(shape):
    unet = build_linear_attention_unet(**{**SMALL, "image_shape": shape})
    assert outputs_of(unet, random_images(2, shape), np.zeros(2)).shape == (2, *shape)


def test_times_and_labels_reach_the_output():
    unet, images = build_linear_attention_unet(**SMALL, num_classes=3), random_images(1)
    outputs = outputs_of(unet, images, [1.0], [0])
    assert differ(outputs, outputs_of(unet, images, [90.0], [0]))
    assert differ(outputs, outputs_of(unet, images, [1.0], [3]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_width": 2}, "`base_width` must be an integer of at least 4"),
        ({"image_shape": (7, 7, 1)}, "8 x 8 is the next size"),
        ({"time_embedding": "fourier"}, r"'discrete', 'continuous'.*'fourier'"),
        ({"num_classes": 0}, "num_classes=0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_linear_attention_unet(**{**SMALL, **options})

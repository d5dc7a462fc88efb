import numpy as np
import pytest
from keras import ops

from models.plain_unet import build_plain_unet
from tests.models.test_unet import conv, differ, outputs_of, random_images

SMALL = {"image_shape": (8, 8, 1), "base_width": 8, "multipliers": [1, 2]}


def test_the_network_of_ronneberger_et_al():
    """Widths 64 to 1,024, for colours in and out."""
    unet = build_plain_unet(
        image_shape=(64, 64, 3), base_width=64, multipliers=[1, 2, 4, 8, 16], dropout=0.1
    )
    assert unet.count_params() == 31_031_875


@pytest.mark.parametrize(("time_conditioning", "channels"), [("none", 1), ("input", 1 + 8)])
def test_the_parameters_are_those_counted_by_hand(time_conditioning, channels):
    down = conv(3, channels, 8) + conv(3, 8, 8) + conv(3, 8, 16) + conv(3, 16, 16)
    up = conv(2, 16, 8) + conv(3, 16, 8) + conv(3, 8, 8) + conv(1, 8, 1)
    unet = build_plain_unet(**SMALL, time_conditioning=time_conditioning)
    assert unet.count_params() == down + up


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_the_output_has_the_shape_of_the_images(shape):
    unet = build_plain_unet(**{**SMALL, "image_shape": shape})
    assert outputs_of(unet, random_images(2, shape), np.zeros(2)).shape == (2, *shape)


@pytest.mark.parametrize(("time_conditioning", "told"), [("none", False), ("input", True)])
def test_the_time_is_told_if_asked_for(time_conditioning, told):
    unet, images = build_plain_unet(**SMALL, time_conditioning=time_conditioning), random_images(1)
    outputs = outputs_of(unet, images, [1.0])
    assert differ(outputs, outputs_of(unet, images, [90.0])) == told
    assert differ(outputs, outputs_of(unet, -images, [1.0]))


def test_labels_reach_the_output():
    unet = build_plain_unet(**SMALL, time_conditioning="input", num_classes=3)
    images = random_images(1)
    assert differ(outputs_of(unet, images, [1.0], [0]), outputs_of(unet, images, [1.0], [3]))


def test_dropout_acts_in_training_alone():
    unet, inputs = build_plain_unet(**SMALL, dropout=0.5), [random_images(1), np.zeros(1)]
    np.testing.assert_array_equal(outputs_of(unet, *inputs), outputs_of(unet, *inputs))
    first, second = (ops.convert_to_numpy(unet(inputs, training=True)) for _ in range(2))
    assert differ(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
        ({"image_shape": (7, 7, 1)}, "8 x 8 is the next size"),
        ({"time_conditioning": "add"}, r"'none', 'input'.*'add'"),
        ({"time_embedding": "fourier"}, r"'discrete', 'continuous'.*'fourier'"),
        ({"num_classes": 3}, "time_conditioning='none', num_classes=3"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_plain_unet(**{**SMALL, **options})

import numpy as np
import pytest
from keras import layers, ops

from models.implicit_unet import build_implicit_unet
from tests.models.test_unet import conv, differ, outputs_of, random_images

SMALL = {"image_shape": (8, 8, 1), "base_width": 8, "multipliers": [1, 2], "num_blocks": 1}


def weights_everywhere(unet):
    """The last convolution starts at zero; here it does not."""
    random = np.random.default_rng(0)
    for variable in unet.trainable_variables:
        variable.assign_add(random.normal(0, 0.1, variable.shape))
    return unet


def test_the_network_of_keras_s_example_of_ddim():
    """Counted from its code (A. Beres 2022): 64x64, widths 32 to 128, two blocks."""
    unet = build_implicit_unet(
        image_shape=(64, 64, 3), base_width=32, multipliers=[1, 2, 3, 4], num_blocks=2
    )
    assert unet.count_params() == 1_953_507


def test_the_parameters_are_those_counted_by_hand():
    def block(channels, width):  # means and variances alone
        shortcut = conv(1, channels, width) if channels != width else 0
        return 2 * channels + conv(3, channels, width) + conv(3, width, width) + shortcut

    levels = block(8 + 8, 8) + block(8, 16) + block(16 + 8, 8)
    unet = build_implicit_unet(**SMALL)
    assert unet.count_params() == conv(1, 1, 8) + levels + conv(1, 8, 1)
    norms = [layer for layer in unet.layers if isinstance(layer, layers.BatchNormalization)]
    assert len(norms) == 3 and not any(norm.trainable_variables for norm in norms)


def test_untrained_it_predicts_nothing():
    unet = build_implicit_unet(**SMALL)
    np.testing.assert_array_equal(outputs_of(unet, random_images(2), np.zeros(2)), 0.0)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_the_output_has_the_shape_of_the_images(shape):
    unet = build_implicit_unet(**{**SMALL, "image_shape": shape})
    assert outputs_of(unet, random_images(2, shape), np.zeros(2)).shape == (2, *shape)


def test_times_and_labels_reach_the_output():
    unet = weights_everywhere(build_implicit_unet(**SMALL, num_classes=3))
    images = random_images(1)
    outputs = outputs_of(unet, images, [0.2], [0])
    assert differ(outputs, outputs_of(unet, images, [0.7], [0]))
    assert differ(outputs, outputs_of(unet, images, [0.2], [3]))


def test_batch_statistics_are_those_of_training_alone():
    unet, images = weights_everywhere(build_implicit_unet(**SMALL)), random_images(4)
    alone = outputs_of(unet, images[:1], np.zeros(1))
    np.testing.assert_allclose(outputs_of(unet, images, np.zeros(4))[:1], alone, atol=1e-5)
    together = ops.convert_to_numpy(unet([images, np.zeros(4, "float32")], training=True))
    assert differ(together[:1], alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_blocks": 0}, "num_blocks=0"),
        ({"image_shape": (7, 7, 1)}, "8 x 8 is the next size"),
        ({"time_embedding": "fourier"}, r"'discrete', 'continuous'.*'fourier'"),
        ({"num_classes": 0}, "num_classes=0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_implicit_unet(**{**SMALL, **options})

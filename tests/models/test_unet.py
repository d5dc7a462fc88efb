import keras
import numpy as np
import pytest
from keras import ops

from models.unet import TimeEmbedding, build_unet, unpatch


@pytest.mark.parametrize(
    ("shape", "patch_size", "widths"),
    [((28, 28, 1), 1, [8, 16, 16]), ((28, 28, 1), 2, [8, 16]), ((32, 32, 3), 4, [12])],
)
def test_the_output_has_the_shape_of_the_images(shape, patch_size, widths):
    unet = build_unet(
        image_shape=shape,
        widths=widths,
        num_blocks=1,
        patch_size=patch_size,
        attention_resolutions=[7, 8],
    )
    outputs = unet([np.zeros((2, *shape), "float32"), np.zeros(2)])
    assert tuple(outputs.shape) == (2, *shape)


def test_sizes_that_the_levels_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        build_unet(image_shape=(28, 28, 1), widths=[8, 8, 8], num_blocks=1, patch_size=2)


def test_unpatch_puts_depth_into_space():
    features = keras.Input((2, 2, 4))
    model = keras.Model(features, unpatch(features, 2))
    image = np.arange(16).reshape(4, 4)
    patches = image.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(1, 2, 2, 4)
    outputs = ops.convert_to_numpy(model(patches.astype("float32")))
    np.testing.assert_array_equal(outputs[0, :, :, 0], image)


def test_the_time_embedding_tells_steps_apart():
    """Sines and cosines of geometrically falling frequencies (Vaswani et al. 2017)."""
    embedded = ops.convert_to_numpy(TimeEmbedding(8)(np.array([0.0, 1.0, 7.0])))
    np.testing.assert_allclose(embedded[0], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-6)
    frequencies = 10_000.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(embedded[2, :4], np.sin(7.0 * frequencies), atol=1e-5)


def test_the_time_reaches_the_output():
    unet = build_unet(image_shape=(8, 8, 1), widths=[8], num_blocks=1)
    random = np.random.default_rng(0)
    unet.set_weights([random.normal(0, 0.1, v.shape) for v in unet.weights])
    images = random.normal(size=(1, 8, 8, 1)).astype("float32")
    first, second = (unet([images, np.array([step])]) for step in (1.0, 90.0))
    assert np.abs(ops.convert_to_numpy(first - second)).max() > 1e-3

import numpy as np
import pytest
from keras import ops

from models import standardization
from models.base import to_float
from models.standardization import Standardization, channel_statistics

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype="uint8")
IMAGES[..., 1] //= 4  # a dark channel, of little contrast


class OnlySlices:
    """Images of which no more than `most` can be read at once."""

    def __init__(self, images, most):
        self.images, self.most, self.shape = images, most, images.shape

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        assert isinstance(index, slice) and len(self.images[index]) <= self.most
        return self.images[index]


def test_statistics_by_hand():
    """0 and 255 are -1 and 1; 51 is -0.6."""
    images = np.array([[[[0, 51]], [[255, 51]]]], "uint8")
    means, stds = channel_statistics(images)
    np.testing.assert_allclose(means, [0.0, -0.6], atol=1e-12)
    np.testing.assert_allclose(stds, [1.0, 0.0], atol=1e-12)


def test_many_images_are_read_a_slice_at_a_time(monkeypatch):
    monkeypatch.setattr(standardization, "IMAGES_AT_ONCE", 7)
    means, stds = channel_statistics(OnlySlices(IMAGES, most=7))
    floats = IMAGES / 127.5 - 1.0
    np.testing.assert_allclose(means, floats.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(stds, floats.std(axis=(0, 1, 2)), rtol=1e-12)


def test_standardised_images_have_mean_0_and_variance_1():
    layer = Standardization(3)
    np.testing.assert_array_equal(layer(to_float(IMAGES)), to_float(IMAGES))
    layer.adapt(IMAGES)
    images = ops.convert_to_numpy(layer(to_float(IMAGES)))
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(images.std(axis=(0, 1, 2)), np.ones(3), atol=1e-5)
    np.testing.assert_allclose(layer.invert(images), to_float(IMAGES), atol=1e-6)


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_channel_that_is_the_same_everywhere_stays_finite(level):
    layer, images = Standardization(1), np.full((4, 3, 3, 1), level, "uint8")
    layer.adapt(images)
    standardised = ops.convert_to_numpy(layer(to_float(images)))
    assert np.abs(standardised).max() < 1.0
    np.testing.assert_allclose(layer.invert(standardised), to_float(images), atol=1e-6)


def test_the_statistics_are_weights_that_no_step_changes():
    layer = Standardization(3)
    assert [weight.name for weight in layer.weights] == ["means", "stds"]
    assert layer.trainable_weights == []
    other = Standardization(3)
    layer.adapt(IMAGES)
    other.set_weights(layer.get_weights())
    np.testing.assert_array_equal(other(to_float(IMAGES)), layer(to_float(IMAGES)))

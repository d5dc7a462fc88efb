import numpy as np
import pytest
from keras import ops

from models.discriminator import append_minibatch_std, build_discriminator


def test_minibatch_std_is_the_standard_deviation_within_groups():
    """A group of four alike has none; the other's two channels deviate by 1 and by 3."""
    signs = np.array([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    varied = signs * np.array([1.0, 3.0]) + np.zeros((4, 2, 3, 2))
    features = np.concatenate([np.full((4, 2, 3, 2), 5.0), varied]).astype("float32")
    appended = ops.convert_to_numpy(append_minibatch_std(ops.convert_to_tensor(features)))
    np.testing.assert_array_equal(appended[..., :2], features)
    np.testing.assert_allclose(appended[:4, ..., 2], 0.0, atol=1e-3)
    np.testing.assert_allclose(appended[4:, ..., 2], 2.0, atol=1e-3)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (30, 26, 1)])
def test_every_input_reaches_the_logits(shape):
    network = build_discriminator(image_shape=shape, widths=[4, 8, 8], num_classes=3)
    random = np.random.default_rng(0)
    states, noisier_states = random.normal(size=(2, 4, *shape)).astype("float32")

    def logits(*inputs):
        return ops.convert_to_numpy(network([np.asarray(values) for values in inputs]))

    times, labels = np.zeros(4), np.zeros(4, "int32")
    plain = logits(states, noisier_states, times, labels)
    assert plain.shape == (4, 1)
    for changed in (
        logits(-states, noisier_states, times, labels),
        logits(states, -noisier_states, times, labels),
        logits(states, noisier_states, times + 3.0, labels),
        logits(states, noisier_states, times, labels + 1),
    ):
        assert np.abs(changed - plain).max() > 1e-4

import keras
import numpy as np
from keras import ops

from models.embedding import TimeEmbedding, append_to_pixels, map_latents


def embed(times, dim, kind):
    return ops.convert_to_numpy(TimeEmbedding(dim, kind)(np.array(times)))


def test_the_time_embedding_tells_steps_apart():
    """Sines and cosines of geometrically falling frequencies (Vaswani et al. 2017)."""
    embedded = embed([0.0, 1.0, 7.0], 8, "discrete")
    np.testing.assert_allclose(embedded[0], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-6)
    frequencies = 10_000.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(embedded[2, :4], np.sin(7.0 * frequencies), atol=1e-5)


def test_the_slowest_frequency_of_ho_et_al_is_the_last_one():
    embedded = ops.convert_to_numpy(TimeEmbedding(8, "discrete", inclusive=True)(np.array([7.0])))
    frequencies = 10_000.0 ** (-np.arange(4) / 3)
    np.testing.assert_allclose(embedded[0, :4], np.sin(7.0 * frequencies), atol=1e-5)


def test_continuous_times_turn_1_to_1000_times():
    embedded = embed([0.0, 0.1234, 0.1239], 8, "continuous")
    np.testing.assert_allclose(embedded[0], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-6)
    angles = 2.0 * np.pi * 0.1234 * np.array([1.0, 10.0, 100.0, 1000.0])
    np.testing.assert_allclose(embedded[1], [*np.sin(angles), *np.cos(angles)], atol=1e-3)
    assert np.abs(embedded[1] - embedded[2]).max() > 1.0


def test_the_smallest_continuous_embedding_turns_once():
    np.testing.assert_allclose(embed([0.25], 2, "continuous"), [[1.0, 0.0]], atol=1e-6)


def test_the_length_of_latents_does_not_matter():
    latents = keras.Input((3,))
    model = keras.Model(latents, map_latents(latents, 8))
    values = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    mapped = ops.convert_to_numpy(model(values))
    assert mapped.shape == (2, 8)
    np.testing.assert_allclose(ops.convert_to_numpy(model(5.0 * values)), mapped, atol=1e-6)
    assert np.abs(ops.convert_to_numpy(model(-values)) - mapped).max() > 1e-3


def test_every_pixel_gets_the_embeddings():
    features, embeddings = keras.Input((2, 3, 1)), [keras.Input((2,)), keras.Input((1,))]
    model = keras.Model([features, *embeddings], append_to_pixels(features, embeddings))
    values = [np.zeros((2, 2, 3, 1)), np.array([[1, 2], [3, 4]]), np.array([[5], [6]])]
    appended = ops.convert_to_numpy(model([value.astype("float32") for value in values]))
    np.testing.assert_array_equal(appended[0], np.tile([0.0, 1.0, 2.0, 5.0], (2, 3, 1)))
    np.testing.assert_array_equal(appended[1], np.tile([0.0, 3.0, 4.0, 6.0], (2, 3, 1)))

import keras
import numpy as np
import pytest
from keras import ops

from models.discriminator import build_discriminator
from models.embedding import (
    TimeEmbedding,
    append_to_pixels,
    embed_conditions,
    map_latents,
    withhold_labels,
)
from models.unet import build_unet


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


@pytest.fixture
def in_bfloat16():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(policy)


def build_network_with_times(name, kind):
    shape = (4, 4, 1)
    if name == "discriminator":
        return build_discriminator(image_shape=shape, widths=[4])
    return build_unet(
        image_shape=shape,
        base_width=8,
        multipliers=[1],
        num_blocks=1,
        middle_attention=False,
        time_embedding=kind,
        time_conditioning=name,
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("add", "discrete"),
        ("add", "continuous"),
        ("input", "continuous"),
        ("discriminator", "discrete"),
    ],
)
def test_networks_in_bfloat16_embed_times_in_float32(in_bfloat16, name, kind):
    network = build_network_with_times(name, kind)
    (layer,) = (layer for layer in network.layers if isinstance(layer, TimeEmbedding))
    embedding = keras.Model(network.inputs, layer.output)
    times = np.arange(1000) if kind == "discrete" else np.linspace(0.0, 0.9996, 1000)
    inputs = [np.zeros((1000, *tensor.shape[1:])) for tensor in network.inputs]
    inputs[[tensor.name for tensor in network.inputs].index("times")] = times
    embedded = ops.convert_to_numpy(embedding([ops.convert_to_tensor(values) for values in inputs]))
    assert embedded.dtype == np.float32
    assert len(np.unique(embedded, axis=0)) == 1000
    keras.config.set_dtype_policy("float32")
    expected = embed(times.astype("float32"), embedded.shape[1], kind)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


def test_the_dense_layers_after_the_time_compute_in_the_networks_precision(in_bfloat16):
    network = build_network_with_times("add", "discrete")
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert dense and all(layer.compute_dtype == "bfloat16" for layer in dense)


def test_the_length_of_latents_does_not_matter():
    latents = keras.Input((3,))
    model = keras.Model(latents, map_latents(latents, 8))
    values = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    mapped = ops.convert_to_numpy(model(values))
    assert mapped.shape == (2, 8)
    np.testing.assert_allclose(ops.convert_to_numpy(model(5.0 * values)), mapped, atol=1e-6)
    assert np.abs(ops.convert_to_numpy(model(-values)) - mapped).max() > 1e-3


def embed_by_hand(weights, times, labels=None):
    """SiLU of what the second dense layer and the labels make."""
    hidden = silu(embed(times, 8, "discrete") @ weights["dense/kernel"] + weights["dense/bias"])
    sums = hidden @ weights["dense_1/kernel"] + weights["dense_1/bias"]
    return silu(sums if labels is None else sums + weights["embedding/embeddings"][labels])


def silu(values):
    return values / (1.0 + np.exp(-values))


def conditions_and_weights(num_classes=None, dense_time=True):
    keras.utils.clear_session(free_memory=False)
    inputs, embeddings = embed_conditions(
        base_width=8,
        dense_time=dense_time,
        time_embedding="discrete",
        num_classes=num_classes,
    )
    model = keras.Model(inputs, embeddings)
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    return model, {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}


TIMES, LABELS = np.array([0.0, 3.0, 40.0], "float32"), np.array([2, 0, 3], "int32")


def test_without_classes_the_time_passes_two_dense_layers_with_silu():
    model, weights = conditions_and_weights()
    embedded = model([TIMES])
    np.testing.assert_allclose(embedded, embed_by_hand(weights, TIMES), rtol=1e-4, atol=1e-5)


def test_labels_join_the_time_before_its_last_nonlinearity():
    model, weights = conditions_and_weights(num_classes=3)
    embedded = model([TIMES, LABELS])
    expected = embed_by_hand(weights, TIMES, LABELS)
    np.testing.assert_allclose(embedded, expected, rtol=1e-4, atol=1e-5)


def test_without_dense_layers_each_condition_is_embedded_by_itself():
    model, weights = conditions_and_weights(num_classes=3, dense_time=False)
    time, label = model([TIMES, LABELS])
    np.testing.assert_allclose(time, embed(TIMES, 8, "discrete"), atol=1e-5)
    np.testing.assert_allclose(label, weights["embedding/embeddings"][LABELS])


def test_every_pixel_gets_the_embeddings():
    features, embeddings = keras.Input((2, 3, 1)), [keras.Input((2,)), keras.Input((1,))]
    model = keras.Model([features, *embeddings], append_to_pixels(features, embeddings))
    values = [np.zeros((2, 2, 3, 1)), np.array([[1, 2], [3, 4]]), np.array([[5], [6]])]
    appended = ops.convert_to_numpy(model([value.astype("float32") for value in values]))
    np.testing.assert_array_equal(appended[0], np.tile([0.0, 1.0, 2.0, 5.0], (2, 3, 1)))
    np.testing.assert_array_equal(appended[1], np.tile([0.0, 3.0, 4.0, 6.0], (2, 3, 1)))


def test_labels_are_withheld_for_guidance():
    generator = keras.random.SeedGenerator(0)
    labels = ops.convert_to_numpy(withhold_labels(np.full(4000, 3), 0.25, 10, generator))
    assert set(labels) == {3, 10}
    assert np.mean(labels == 10) == pytest.approx(0.25, abs=0.03)

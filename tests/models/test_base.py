import keras
import numpy as np
import pytest

from models.base import Program, Sampler, slerp


class Doubling(Sampler):
    def call(self, inputs):
        return 2.0 * self.network(inputs[0])


class Unfinished:
    """A result on a device: it is computed when it is copied to the host."""

    def __init__(self):
        self.is_computed = False

    def __array__(self, dtype=None, copy=None):
        self.is_computed = True
        return np.zeros(1)


@pytest.fixture
def sampler():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    return Doubling(network=network, network_passes=1, latent_shape=(3,), seed=0)


def test_results_are_arrays_of_the_host(sampler):
    latents, seeds = sampler.inputs(0, 2)
    for result, factor in ((sampler.sample(latents, seeds), 2), (sampler.single_pass(latents), 1)):
        assert type(result) is np.ndarray
        np.testing.assert_allclose(result, factor * latents)


def test_both_calls_return_when_the_result_is_computed(sampler, monkeypatch):
    latents, seeds = sampler.inputs(0, 2)
    for call in (
        lambda: sampler.sample(latents, seeds),
        lambda: sampler.single_pass(latents),
    ):
        result = Unfinished()
        monkeypatch.setattr(Program, "predict_on_batch", lambda *_, result=result: result)
        call()
        assert result.is_computed


def test_single_images_and_batches_are_compiled_apart(sampler, monkeypatch):
    made = []

    class Recorded(Program):
        def __init__(self, *arguments, jit_compile, **options):
            made.append(jit_compile)
            super().__init__(*arguments, jit_compile=jit_compile, **options)

    monkeypatch.setattr("models.base.Program", Recorded)
    sampler.image_jit, sampler.batch_jit = True, False
    for count in (1, 2, 5, 1):
        latents, seeds = sampler.inputs(0, count)
        np.testing.assert_allclose(sampler.sample(latents, seeds), 2 * latents)
    assert made == [True, False]


def test_slerp_goes_from_end_to_end_along_the_sphere():
    """By hand: half-way between two unit vectors at a right angle is at 45 degrees."""
    path = slerp(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(path, [[1, 0], [2**-0.5, 2**-0.5], [0, 1]], atol=1e-6)
    start, end = np.random.default_rng(0).standard_normal((2, 28, 28, 1))
    lengths = np.linalg.norm(slerp(start, end, np.linspace(0, 1, 5)).reshape(5, -1), axis=1)
    assert lengths.min() > 0.95 * min(np.linalg.norm(start), np.linalg.norm(end))


def test_equal_latents_have_nothing_between_them():
    latents = np.full((2, 3), 0.5)
    path = slerp(latents, latents, np.array([0.0, 0.3, 1.0]))
    np.testing.assert_allclose(path, np.broadcast_to(latents, (3, 2, 3)), rtol=1e-3)


def test_the_interpolation_begins_and_ends_with_samples(sampler):
    sampler.latent_shape = (4, 4, 1)
    sampler.network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Identity()])
    picture = sampler.illustrate()["interpolation"]
    latents, _ = sampler.inputs(0, 10)
    expected = np.clip(np.rint((2.0 * latents + 1.0) * 127.5), 0, 255)
    assert picture.images.shape == (5, 11, 4, 4, 1)
    np.testing.assert_allclose(picture.images[:, 0], expected[::2], atol=1)
    np.testing.assert_allclose(picture.images[:, -1], expected[1::2], atol=1)
    sampler.deterministic = False
    assert sampler.illustrate() == {}

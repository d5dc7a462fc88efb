import keras
import numpy as np
import pytest

from models.base import Sampler


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
    for owner, call in (
        (sampler, lambda: sampler.sample(latents, seeds)),
        (sampler._single_pass, lambda: sampler.single_pass(latents)),
    ):
        result = Unfinished()
        monkeypatch.setattr(owner, "predict_on_batch", lambda inputs, result=result: result)
        call()
        assert result.is_computed

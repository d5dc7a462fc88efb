import numpy as np
import pytest

from models.latent_plane import illustrate_plane, latent_plane, two_directions


class Recorder:
    """A sampler that shows nothing, and remembers the latents that it is given."""

    seed = 3

    def __init__(self, latent_dim):
        self.latent_shape = (latent_dim,)

    def inputs(self, start, count):
        latents = np.random.default_rng(0).normal(size=(count, *self.latent_shape))
        return latents.astype("float32"), np.zeros((count, 2), "uint32")

    def sample(self, latents, seeds):
        assert len(seeds) == len(latents)
        self.latents = latents
        return np.zeros((len(latents), 2, 2, 1))


def test_the_plane_grows_to_the_right_and_upwards():
    sampler = Recorder(2)
    picture = latent_plane(sampler, (1, 0))
    latents = sampler.latents.reshape(20, 20, 2)
    assert (np.diff(latents[:, :, 1], axis=1) > 0).all()  # latent 2 grows to the right
    assert (np.diff(latents[:, :, 0], axis=0) < 0).all()  # latent 1 grows upwards
    assert picture.images.shape == (20, 20, 2, 2, 1)
    assert picture.row_labels[0] == picture.column_labels[-1] == "0.98"
    assert (picture.x_label, picture.y_label) == ("quantile of latent 2", "quantile of latent 1")


def test_latents_beyond_the_plane_are_zero():
    sampler = Recorder(5)
    latent_plane(sampler, (1, 3))
    assert not sampler.latents[:, [0, 2, 4]].any()


def test_the_directions_lead_to_two_other_samples():
    sampler = Recorder(50)
    picture = two_directions(sampler)
    latents = sampler.latents.reshape(11, 11, 50)
    first, second, third = sampler.inputs(0, 3)[0]
    for corner, sample in (
        (latents[-1, 0], first),
        (latents[-1, -1], second),
        (latents[0, 0], third),
    ):
        np.testing.assert_allclose(corner / sample, corner[0] / sample[0], rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(latents, axis=-1), np.sqrt(50), rtol=1e-5)
    assert picture.column_labels[0] == picture.row_labels[-1] == "0.0"


@pytest.mark.parametrize(
    ("latent_dim", "names"), [(1, set()), (2, {"manifold"}), (3, {"directions"})]
)
def test_what_is_shown_depends_on_the_latents(latent_dim, names):
    assert set(illustrate_plane(Recorder(latent_dim))) == names

"""Pictures of a plane through the latent space of a model that makes images in one pass."""

import numpy as np
from scipy.stats import norm

from models.base import Illustration, to_uint8

QUANTILES = np.linspace(0.02, 0.98, 20)
NUM_ALONG = 11
REACH = 2.0  # standard deviations to each side


def illustrate_plane(sampler, axes=(0, 1)):
    """The latent plane where there are two latents, else two directions through the first latent.

    Args:
        sampler: A `models.base.Sampler` of vectors of latents.
        axes: The latent dimensions that span the plane.

    Returns:
        `dict[str, Illustration]`, empty if there is but one latent.
    """
    (latent_dim,) = sampler.latent_shape
    if latent_dim < 2:
        return {}
    if latent_dim == 2:
        return {"manifold": latent_plane(sampler, axes)}
    return {"directions": two_directions(sampler)}


def latent_plane(sampler, axes):
    """Images on a plane of the prior, evenly spaced in its quantiles.

    As Kingma and Welling (2014, figure 4) show it.

    Args:
        sampler: A `models.base.Sampler` of vectors of latents.
        axes: The two latent dimensions that span it; the others are 0.
    """
    across, down = axes
    values, count = norm.ppf(QUANTILES), len(QUANTILES)
    latents = np.zeros((count, count, *sampler.latent_shape), "float32")
    latents[:, :, across] = values[None, :]
    latents[:, :, down] = values[::-1, None]  # upwards, as in a picture of the latents
    labels = tuple(f"{quantile:.2f}" for quantile in QUANTILES)
    return Illustration(
        _images(sampler, latents),
        row_labels=labels[::-1],
        column_labels=labels,
        x_label=f"quantile of latent {across + 1}",
        y_label=f"quantile of latent {down + 1}",
    )


def two_directions(sampler):
    """What two random directions change in the first sample, up to two standard deviations.

    The directions are orthogonal and of length 1, drawn from the sampler's seed.
    """
    (latent_dim,) = sampler.latent_shape
    generator = np.random.default_rng(sampler.seed)
    directions, _ = np.linalg.qr(generator.standard_normal((latent_dim, 2)))
    steps = np.linspace(-REACH, REACH, NUM_ALONG)
    origin = sampler.inputs(0, 1)[0][0]
    latents = (
        origin
        + steps[None, :, None] * directions[:, 0]
        + steps[::-1, None, None] * directions[:, 1]
    )
    labels = tuple(f"{step:.1f}" for step in steps)
    return Illustration(
        _images(sampler, latents.astype("float32")),
        row_labels=labels[::-1],
        column_labels=labels,
        x_label="standard deviations along one random direction",
        y_label="along another",
    )


def _images(sampler, latents):
    """uint8 images of `(rows, columns, latent_dim)` latents; of the first class, if of any."""
    rows, columns, latent_dim = latents.shape
    _, seeds = sampler.inputs(0, 1)
    seeds = np.repeat(seeds, rows * columns, axis=0)
    images = to_uint8(sampler.sample(latents.reshape(-1, latent_dim), seeds))
    return images.reshape(rows, columns, *images.shape[1:])

"""Pictures of a plane through the latent space of a model that makes images in one pass."""

import numpy as np
from scipy.stats import norm

from models.base import Illustration, to_uint8

QUANTILES = np.linspace(0.02, 0.98, 20)
NUM_ALONG = 11


def illustrate_plane(sampler, axes=(0, 1)):
    """The latent plane where there are two latents, else two directions from the first sample.

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
    """Images on the way from the first sample in two directions, towards two other samples.

    All latents are brought to the length that Gaussian latents have, the square root of their
    number.
    """
    (latent_dim,) = sampler.latent_shape
    origin, right, up = sampler.inputs(0, 3)[0]
    fractions = np.linspace(0.0, 1.0, NUM_ALONG)
    latents = (
        origin
        + fractions[None, :, None] * (right - origin)
        + fractions[::-1, None, None] * (up - origin)
    )
    latents *= np.sqrt(latent_dim) / np.linalg.norm(latents, axis=-1, keepdims=True)
    labels = tuple(f"{fraction:.1f}" for fraction in fractions)
    return Illustration(
        _images(sampler, latents.astype("float32")),
        row_labels=labels[::-1],
        column_labels=labels,
        x_label="fraction of the way to a second latent",
        y_label="to a third",
    )


def _images(sampler, latents):
    """uint8 images of `(rows, columns, latent_dim)` latents; of the first class, if of any."""
    rows, columns, latent_dim = latents.shape
    _, seeds = sampler.inputs(0, 1)
    seeds = np.repeat(seeds, rows * columns, axis=0)
    images = to_uint8(sampler.sample(latents.reshape(-1, latent_dim), seeds))
    return images.reshape(rows, columns, *images.shape[1:])

import keras
import numpy as np
import pytest
from keras import ops

from models.vae import VAE


def build_vae(**options):
    options = {"latent_dim": 2, "widths": [8, 16], **options}
    return VAE(image_shape=(28, 28, 1), seed=0, optimizer=keras.optimizers.Adam(), **options)


def loss_of(model, pixels, logits, means, log_variances):
    shape = (len(means), 28, 28, 1)
    images = np.full(shape, pixels, dtype="uint8")
    outputs = (
        ops.full(shape, logits),
        ops.array(means, "float32"),
        ops.array(log_variances, "float32"),
    )
    return float(model.compute_loss(images, y_pred=outputs))


def test_the_loss_is_summed_over_pixels_and_latents():
    """By hand: white pixels at probability 1/2 cost log 2 each; KL(N(1, 1) || N(0, 1)) is 1/2."""
    model = build_vae()
    means, log_variances = np.array([[1.0, 1.0]]), np.zeros((1, 2))
    expected = 28 * 28 * np.log(2.0) + 2 * 0.5
    assert loss_of(model, 255, 0.0, means, log_variances) == pytest.approx(expected, rel=1e-5)


def test_the_divergence_of_a_narrow_posterior():
    """KL(N(0, s^2) || N(0, 1)) = (s^2 - 1 - log s^2) / 2."""
    model = build_vae(beta=3.0)
    variance = 0.25
    kl = 2 * 0.5 * (variance - 1.0 - np.log(variance))
    reconstruction = 28 * 28 * np.log(2.0)
    loss = loss_of(model, 0, 0.0, np.zeros((1, 2)), np.full((1, 2), np.log(variance)))
    assert loss == pytest.approx(reconstruction + 3.0 * kl, rel=1e-5)


def test_the_gaussian_likelihood_measures_squared_error():
    model = build_vae(likelihood="gaussian", pixel_std=0.5)
    loss = loss_of(model, 255, 0.0, np.zeros((1, 2)), np.zeros((1, 2)))
    assert loss == pytest.approx(28 * 28 * 0.5 * (0.5 / 0.5) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    "options", [{"latent_dim": 0}, {"beta": -1.0}, {"likelihood": "poisson"}, {"pixel_std": 0.0}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        build_vae(**options)


def test_sizes_that_the_levels_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        build_vae(widths=[8, 8, 8])


@pytest.mark.parametrize("latent_dim", [2, 16])
def test_the_manifold_is_a_plane_of_the_latent_space(latent_dim):
    model = build_vae(latent_dim=latent_dim)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), dtype="uint8")
    labels = np.zeros(20, "int64")
    manifold = model.illustrate(images, labels)["manifold"].images
    assert manifold.shape == (20, 20, 28, 28, 1)
    assert "manifold" not in build_vae(latent_dim=1).illustrate(images, labels)

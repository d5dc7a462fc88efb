import keras
import numpy as np
import pytest
from keras import ops

from models.vae import VAE, mean_divergences, num_collapsed


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


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), dtype="uint8")
LABELS = np.arange(20) % 10


def with_posteriors(means, log_variances):
    """A VAE whose encoder says the same of any images."""
    model = build_vae(latent_dim=np.shape(means)[1])
    model.encode = lambda images: (np.float32(means), np.float32(log_variances))
    return model


@pytest.mark.parametrize("latent_dim", [2, 16])
def test_the_manifold_is_a_plane_of_the_latent_space(latent_dim):
    model = build_vae(latent_dim=latent_dim)
    pictures = model.illustrate(IMAGES, LABELS)
    assert pictures["manifold"].images.shape == (20, 20, 28, 28, 1)
    assert pictures["latents"].points.shape == (20, 2)


def test_a_line_of_latents_has_no_plane():
    pictures = build_vae(latent_dim=1).illustrate(IMAGES, LABELS)
    assert not {"manifold", "latents"} & set(pictures)


def test_the_manifold_and_the_latents_show_the_same_plane_the_same_way_up():
    model = with_posteriors(np.zeros((20, 2)), np.zeros((20, 2)))
    seen = []
    model.decode = lambda latents: seen.append(latents) or np.zeros((400, 28, 28, 1), "uint8")
    manifold = model.manifold((1, 0))
    latents = seen[0].reshape(20, 20, 2)
    assert (np.diff(latents[:, :, 1], axis=1) > 0).all()  # latent 2 grows to the right
    assert (np.diff(latents[:, :, 0], axis=0) < 0).all()  # latent 1 grows upwards
    assert manifold.row_labels[0] == manifold.column_labels[-1] == "0.98"
    assert (manifold.x_label, manifold.y_label) == ("quantile of latent 2", "quantile of latent 1")


def test_the_latents_are_those_that_vary_most():
    spread = np.array([0.1, 3.0, 1.0, 2.0])
    means = np.random.default_rng(0).normal(size=(20, 4)) * spread
    picture = with_posteriors(means, np.zeros((20, 4))).illustrate(IMAGES, LABELS)["latents"]
    np.testing.assert_allclose(picture.points, means[:, [1, 3]], rtol=1e-6)
    np.testing.assert_array_equal(picture.classes, LABELS)
    assert picture.x_label == "mean of latent 2 (of 4; the most varying)"
    assert picture.y_label == "mean of latent 4 (of 4; the second most varying)"


def test_collapsed_latents_are_those_of_hardly_any_divergence():
    """By hand: KL(N(m, 1) || N(0, 1)) is m^2 / 2, so 0.01 nats are at m = 0.1414."""
    means = np.tile([0.142, 0.0, 2.0, 0.141], (20, 1))
    model = with_posteriors(means, np.zeros((20, 4)))
    bars = model.illustrate(IMAGES, LABELS)["divergences"]
    np.testing.assert_allclose(bars.values, np.array([2.0, 0.142, 0.141, 0.0]) ** 2 / 2, rtol=1e-5)
    assert bars.names == ("3", "1", "4", "2")
    assert bars.title == "2 of 4 latent dimensions collapsed"
    assert model.facts(IMAGES) == {"collapsed_latents": 2}


def test_the_divergence_of_a_dimension_is_its_mean_over_images():
    """One image that is told apart is enough: (0.5^2 / 2) / 4 nats."""
    divergences = mean_divergences(np.array([[0.5], [0.0], [0.0], [0.0]]), np.zeros((4, 1)))
    np.testing.assert_allclose(divergences, [0.03125])
    assert num_collapsed(divergences) == 0

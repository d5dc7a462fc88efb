import keras
import numpy as np
import pytest
from keras import ops

from models.samplers import Decoder
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
    constant = np.log(0.5) + 0.5 * np.log(2.0 * np.pi)
    assert loss == pytest.approx(28 * 28 * (0.5 * (0.5 / 0.5) ** 2 + constant), rel=1e-5)


def test_free_bits_cost_nothing():
    """By hand: KL(N(1, 1) || N(0, 1)) is 1/2; 0.6 nats of each dimension are free."""
    reconstruction, zeros = 28 * 28 * np.log(2.0), np.zeros((1, 2))
    model = build_vae(free_bits=0.6)
    assert loss_of(model, 255, 0.0, np.array([[1.0, 1.0]]), zeros) == pytest.approx(
        reconstruction + 2 * 0.6, rel=1e-5
    )
    assert loss_of(model, 255, 0.0, np.array([[2.0, 1.0]]), zeros) == pytest.approx(
        reconstruction + 2.0 + 0.6, rel=1e-5
    )
    assert float(model.kl_loss.result()) == pytest.approx((1.0 + 2.5) / 2)  # as it is, mean


def test_beta_warms_up():
    model, zeros = build_vae(beta=2.0, beta_warmup_steps=4), np.zeros((1, 2))
    reconstruction, kl = 28 * 28 * np.log(2.0), 4.0
    for weight in (0.5, 1.0, 1.5, 2.0, 2.0):
        loss = loss_of(model, 255, 0.0, np.array([[2.0, 2.0]]), zeros)
        assert loss == pytest.approx(reconstruction + weight * kl, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "latent_dim", "likelihood"),
    [((28, 28, 1), 16, "Bernoulli"), ((32, 32, 3), 128, "DiscretizedLogistic")],
)
def test_latents_and_likelihood_follow_from_the_images(shape, latent_dim, likelihood):
    model = VAE(image_shape=shape, seed=0, base_width=4)
    assert model.latent_dim == latent_dim
    assert type(model.likelihood).__name__ == likelihood
    assert model.decoder.output_shape == (None, *shape)


def test_the_mean_and_a_sample_are_told_apart():
    model = build_vae(latent_dim=4)
    inputs = model.sampler().inputs(0, 3)
    mean, sample = (model.sampler(Decoder(output=output)) for output in ("mean", "sample"))
    assert (mean.name, sample.name) == ("decoder_mean", "decoder_sample")
    assert mean.deterministic and not sample.deterministic
    means, samples = mean.sample(*inputs), sample.sample(*inputs)
    assert set(np.unique(samples)) == {-1.0, 1.0}  # a Bernoulli's
    assert np.unique(means).size > 2
    np.testing.assert_array_equal(samples[1:2], sample.sample(inputs[0][1:2], inputs[1][1:2]))


def test_classes_reach_both_networks():
    model = build_vae(num_classes=3)
    labels = np.arange(20) % 3
    before, _ = model.encode(IMAGES, labels)
    after, _ = model.encode(IMAGES, (labels + 1) % 3)
    assert np.abs(before - after).max() > 1e-4
    latents, seeds = model.sampler().inputs(0, 3)
    same = np.repeat(latents[:1], 3, axis=0)
    images = model.sampler().sample(same, seeds)
    assert np.abs(images[0] - images[1]).max() > 1e-5
    assert "reconstructions" in model.illustrate(IMAGES, labels)


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
    model.encode = lambda images, labels: (np.float32(means), np.float32(log_variances))
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
    assert model.facts(IMAGES, LABELS) == {"collapsed_latents": 2}


def test_the_divergence_of_a_dimension_is_its_mean_over_images():
    """One image that is told apart is enough: (0.5^2 / 2) / 4 nats."""
    divergences = mean_divergences(np.array([[0.5], [0.0], [0.0], [0.0]]), np.zeros((4, 1)))
    np.testing.assert_allclose(divergences, [0.03125])
    assert num_collapsed(divergences) == 0

import keras
import numpy as np
import pytest
from keras import ops

from benchmark.training import restore, state
from models.dcgan import DCGAN
from tests.conftest import ready_to_train

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), dtype="uint8")


def build_dcgan(optimizer=None, **options):
    return DCGAN(
        image_shape=(28, 28, 1),
        seed=0,
        latent_dim=4,
        widths=[8, 16],
        optimizer=optimizer or keras.optimizers.SGD(1.0),
        **options,
    )


def gradients_of(model, loss):
    """Changes by one step of plain gradient descent with rate 1, negated."""
    networks = (model.generator, model.discriminator)
    before = [[v.numpy() for v in network.trainable_variables] for network in networks]
    model.compute_loss = loss
    model.train_on_batch(IMAGES)
    after = [[v.numpy() for v in network.trainable_variables] for network in networks]
    return [
        max(np.abs(b - a).max() for b, a in zip(*pair, strict=True))
        for pair in zip(before, after, strict=True)
    ]


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_each_loss_reaches_its_own_network_only(spectral_norm):
    def generator_loss(x, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.softplus(-model._judge(y_pred, training)))

    model = build_dcgan(spectral_norm=spectral_norm)
    generator, discriminator = gradients_of(model, generator_loss)
    assert generator > 0.0
    assert discriminator == 0.0

    def discriminator_loss(x, y=None, y_pred=None, sample_weight=None, training=True):
        logits = other.discriminator(ops.stop_gradient(y_pred), training=training)
        return ops.mean(ops.softplus(logits))

    other = build_dcgan(spectral_norm=spectral_norm)
    generator, discriminator = gradients_of(other, discriminator_loss)
    assert generator == 0.0
    assert discriminator > 0.0


def test_the_loss_has_the_gradients_of_textbook_code():
    """One backward pass gives what two tapes with their own losses give."""
    import tensorflow as tf

    model = build_dcgan()
    generator = model.generator.trainable_variables
    discriminator = model.discriminator.trainable_variables
    real = tf.cast(IMAGES, tf.float32) / 127.5 - 1.0
    latents = tf.random.stateless_normal((8, 4), seed=(0, 1))
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    with tf.GradientTape(persistent=True) as tape:
        generated = model.generator(latents, training=True)
        loss = model.compute_loss(IMAGES, y_pred=generated)
        real_logits = model.discriminator(real, training=True)
        generated_logits = model.discriminator(generated, training=True)
        discriminator_loss = entropy(tf.ones_like(real_logits), real_logits) + entropy(
            tf.zeros_like(generated_logits), generated_logits
        )
        generator_loss = entropy(tf.ones_like(generated_logits), generated_logits)
    for variables, textbook_loss in (
        (generator, generator_loss),
        (discriminator, discriminator_loss),
    ):
        values = [variable.value for variable in variables]
        expected, received = tape.gradient(textbook_loss, values), tape.gradient(loss, values)
        for theirs, ours in zip(expected, received, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)


def test_both_losses_are_logged():
    logs = build_dcgan().train_on_batch(IMAGES, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["generator_loss"] + logs["discriminator_loss"])


def with_constant_logits(logit, **options):
    """A DCGAN whose discriminator says `logit` of every image."""
    model = build_dcgan(**options)
    kernel, bias = model.discriminator.layers[-1].weights
    kernel.assign(ops.zeros_like(kernel))
    bias.assign([logit])
    return model


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.3])
def test_label_smoothing_is_one_sided(label_smoothing):
    """By hand: real images have the target 1 - s, generated ones 0, the generator's are 1."""
    probability = 0.8
    model = with_constant_logits(np.log(probability / (1 - probability)), label_smoothing=0.0)
    model.label_smoothing = label_smoothing
    model.compute_loss(IMAGES, y_pred=ops.zeros((8, 28, 28, 1)))
    target = 1.0 - label_smoothing
    real = -target * np.log(probability) - (1.0 - target) * np.log(1.0 - probability)
    generated = -np.log(1.0 - probability)
    assert float(model.discriminator_loss.result()) == pytest.approx(real + generated, rel=1e-5)
    assert float(model.generator_loss.result()) == pytest.approx(-np.log(probability), rel=1e-5)


def test_label_smoothing_moves_the_best_logit_of_real_images():
    """The cross entropy with the target 0.9 is least where the probability is 0.9."""

    def loss_at(probability):
        model = with_constant_logits(np.log(probability / (1 - probability)), label_smoothing=0.1)
        model.compute_loss(IMAGES, y_pred=ops.zeros((8, 28, 28, 1)))
        return float(model.discriminator_loss.result()) + np.log(1.0 - probability)

    assert loss_at(0.9) < min(loss_at(0.85), loss_at(0.95))


def test_instance_noise_falls_linearly_to_nothing():
    model = build_dcgan(instance_noise=0.8, instance_noise_steps=4)
    for expected in (0.8, 0.6, 0.4, 0.2, 0.0, 0.0):
        real, generated = map(
            ops.convert_to_numpy, model._with_noise(ops.zeros(IMAGES.shape), ops.ones(IMAGES.shape))
        )
        assert np.std(real) == pytest.approx(expected, rel=0.05, abs=1e-6)
        assert np.mean(generated - real) == pytest.approx(1.0, abs=0.05)
        assert (expected == 0.0) == np.allclose(real, generated - 1.0)


def test_the_discriminator_sees_all_images_through_noise():
    seen = []

    class Discriminator(keras.Model):
        def call(self, images, training=False):
            seen.append(ops.convert_to_numpy(images))
            return images[:, 0, 0]

    model = build_dcgan(instance_noise=0.5, instance_noise_steps=10)
    model.discriminator = Discriminator()
    black = np.zeros_like(IMAGES)
    model.compute_loss(black, y_pred=ops.full(IMAGES.shape, -1.0))
    assert len(seen) == 3
    assert all(np.std(images) == pytest.approx(0.5, rel=0.05) for images in seen)
    np.testing.assert_array_equal(seen[1], seen[2])
    assert not np.array_equal(seen[0], seen[1])


def test_spectral_norm_makes_the_largest_singular_value_one():
    model = ready_to_train(build_dcgan(keras.optimizers.Adam(2e-4), spectral_norm=True))
    kinds = {type(layer).__name__ for layer in model.discriminator.layers}
    assert "SpectralNormalization" in kinds
    assert not kinds & {"BatchNormalization", "Conv2D", "Dense"}
    for _ in range(30):
        model.train_on_batch(IMAGES)
    model.discriminator(IMAGES / 127.5 - 1.0, training=True)
    kernels = [v.numpy() for v in model.discriminator.trainable_variables if "kernel" in v.path]
    assert len(kernels) == 3
    for kernel in kernels:
        singular_values = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
        assert singular_values[0] == pytest.approx(1.0, rel=0.02)


def test_judging_for_the_generator_changes_no_variable_of_the_discriminator():
    model = build_dcgan(spectral_norm=True)
    before = [variable.numpy() for variable in model.discriminator.variables]
    model._judge(IMAGES / 127.5 - 1.0, training=True)
    for old, variable in zip(before, model.discriminator.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    model.discriminator(IMAGES / 127.5 - 1.0, training=True)
    after = [variable.numpy() for variable in model.discriminator.variables]
    assert any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_training_with_all_options_goes_on_from_its_state():
    def build():
        keras.utils.clear_session(free_memory=False)
        options = {"label_smoothing": 0.1, "instance_noise": 0.3, "instance_noise_steps": 5}
        optimizer = keras.optimizers.Adam(2e-4)
        return ready_to_train(build_dcgan(optimizer, spectral_norm=True, **options))

    whole, resumed = build(), build()
    for _ in range(3):
        whole.train_on_batch(IMAGES)
    restore(resumed, state(whole, [], None))
    for model in (whole, resumed):
        model.train_on_batch(IMAGES)
    assert float(resumed.steps_done) == 4
    for expected, received in zip(whole.variables, resumed.variables, strict=True):
        if "loss" not in expected.path:
            np.testing.assert_array_equal(expected.numpy(), received.numpy())


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"instance_noise": -1.0}, "instance_noise=-1.0"),
        ({"instance_noise": 0.1}, "instance_noise_steps=None"),
    ],
)
def test_wrong_options_are_refused(options, received):
    with pytest.raises(ValueError, match=received):
        build_dcgan(**options)


def test_no_latents_are_refused():
    with pytest.raises(ValueError, match="latent_dim=0"):
        DCGAN(image_shape=(28, 28, 1), seed=0, latent_dim=0, widths=[8])

import keras
import numpy as np
import pytest
from keras import ops

from models.dcgan import DCGAN

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), dtype="uint8")


def build_dcgan(optimizer=None):
    optimizer = optimizer or keras.optimizers.SGD(1.0)
    return DCGAN(image_shape=(28, 28, 1), seed=0, latent_dim=4, widths=[8, 16], optimizer=optimizer)


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


def test_each_loss_reaches_its_own_network_only():
    def generator_loss(x, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.softplus(-model._judge(y_pred, training)))

    model = build_dcgan()
    generator, discriminator = gradients_of(model, generator_loss)
    assert generator > 0.0
    assert discriminator == 0.0

    def discriminator_loss(x, y=None, y_pred=None, sample_weight=None, training=True):
        logits = other.discriminator(ops.stop_gradient(y_pred), training=training)
        return ops.mean(ops.softplus(logits))

    other = build_dcgan()
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


def test_no_latents_are_refused():
    with pytest.raises(ValueError, match="latent_dim=0"):
        DCGAN(image_shape=(28, 28, 1), seed=0, latent_dim=0, widths=[8])

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from benchmark.checkpoints import Progress, restore, state
from models.adversarial import frozen_logits
from models.dcgan import ACTIVATIONS, DCGAN
from models.optimizers import AveragedAdam
from tests.conftest import ready_to_train

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), dtype="uint8")


def build_dcgan(optimizer=None, **options):
    build = optimizer or (lambda: keras.optimizers.SGD(1.0))
    return DCGAN(
        image_shape=(28, 28, 1),
        seed=0,
        latent_dim=4,
        widths=[8, 16],
        generator_optimizer=build(),
        discriminator_optimizer=build(),
        **options,
    )


def adam():
    return AveragedAdam(2e-4)


@pytest.mark.parametrize("turns", [None, "discriminator", "generator"])
def test_the_loss_has_the_gradients_of_textbook_code(turns):
    """One backward pass gives what two tapes with their own losses give; in turns, one of them."""
    import tensorflow as tf

    model = build_dcgan(adam, alternating=turns is not None)
    model.steps_done.assign(int(turns == "generator"))
    generator = model.generator.trainable_variables
    discriminator = model.discriminator.trainable_variables
    real = tf.cast(IMAGES, tf.float32) / 127.5 - 1.0
    latents = tf.random.stateless_normal((8, 4), seed=(0, 1))
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    with tf.GradientTape(persistent=True) as tape:
        generated = model.generator(latents, training=True)
        loss = model.compute_loss(IMAGES, y_pred=latents)
        real_logits = model.discriminator(real, training=True)
        generated_logits = model.discriminator(generated, training=True)
        discriminator_loss = entropy(tf.ones_like(real_logits), real_logits) + entropy(
            tf.zeros_like(generated_logits), generated_logits
        )
        generator_loss = entropy(tf.ones_like(generated_logits), generated_logits)
    for name, variables, textbook_loss in (
        ("generator", generator, generator_loss),
        ("discriminator", discriminator, discriminator_loss),
    ):
        values = [variable.value for variable in variables]
        expected = tape.gradient(textbook_loss, values)
        received = tape.gradient(loss, values, unconnected_gradients="zero")
        for theirs, ours in zip(expected, received, strict=True):
            theirs = theirs if turns in (None, name) else 0.0 * theirs
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)


def test_losses_and_accuracies_are_logged():
    logs = build_dcgan().train_on_batch(IMAGES, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["generator_loss"] + logs["discriminator_loss"])
    assert 0.0 <= logs["real_accuracy"] <= 1.0 and 0.0 <= logs["generated_accuracy"] <= 1.0


def test_accuracies_are_fractions_of_real_and_of_generated_images():
    """A discriminator that takes all images for real is right of all real ones, and of no other."""
    logs = with_constant_logits(2.0).train_on_batch(IMAGES, return_dict=True)
    assert (logs["real_accuracy"], logs["generated_accuracy"]) == (1.0, 0.0)


def test_networks_are_updated_in_turns():
    """Weights, moments and averages of the network that waits stay as they are."""
    model = ready_to_train(build_dcgan(adam, alternating=True))
    generator, discriminator = (
        [*network.trainable_variables, *optimizer.variables[2:]]
        for network, optimizer in zip(
            (model.generator, model.discriminator), model.optimizer.optimizers, strict=True
        )
    )
    for _ in range(2):  # the averages start at the weights
        model.train_on_batch(IMAGES)
    for step in range(4):
        before = [[v.numpy() for v in variables] for variables in (generator, discriminator)]
        model.train_on_batch(IMAGES)
        changed = [
            [not np.array_equal(old, v.numpy()) for old, v in zip(*pair, strict=True)]
            for pair in zip(before, (generator, discriminator), strict=True)
        ]
        waiting, active = changed if step % 2 == 0 else reversed(changed)
        assert not any(waiting) and all(active)
    assert int(model.steps_done) == 6


def test_each_network_has_an_optimizer_of_its_own():
    model = ready_to_train(
        DCGAN(
            image_shape=(28, 28, 1), seed=0, latent_dim=4, widths=[8],
            generator_optimizer=keras.optimizers.SGD(0.0),
            discriminator_optimizer=keras.optimizers.SGD(1.0),
        )
    )  # fmt: skip
    before = {v.path: v.numpy() for v in model.trainable_variables}
    model.train_on_batch(IMAGES)
    changed = {v.path for v in model.trainable_variables if (before[v.path] != v.numpy()).any()}
    assert changed == {v.path for v in model.discriminator.trainable_variables}


def test_classes_reach_both_networks():
    model = ready_to_train(build_dcgan(adam, num_classes=3))
    labels = np.arange(8) % 3
    for _ in range(3):  # else the projections are as small as their initial values
        model.train_on_batch((IMAGES, labels))
    latents = np.ones((8, 4), "float32")
    first, second = (
        ops.convert_to_numpy(model.generator([latents, np.full(8, label)])) for label in (0, 1)
    )
    assert np.abs(first - second).max() > 1e-3
    first, second = (
        ops.convert_to_numpy(model.discriminator([IMAGES / 127.5 - 1.0, np.full(8, label)]))
        for label in (0, 1)
    )
    assert np.abs(first - second).max() > 1e-3
    sampler = model.sampler()
    np.testing.assert_array_equal(sampler.labels(2, 4), [2, 0, 1, 2])
    inputs = sampler.inputs(0, 3)
    expected = model.generator([inputs[0], np.arange(3)])
    np.testing.assert_allclose(sampler.sample(*inputs), expected, atol=1e-5)


def test_levels_follow_from_the_size_of_the_images():
    """Radford et al. 2016, figure 1: four levels for 64 x 64, 1,024 channels at 4 x 4."""
    options = {"seed": 0, "latent_dim": 100, "base_width": 128}
    model = DCGAN(image_shape=(64, 64, 3), **options)
    (reshaped,) = [x for x in model.generator.layers if isinstance(x, keras.layers.Reshape)]
    assert reshaped.output.shape[1:] == (4, 4, 1024)
    convolutions = [x for x in model.discriminator.layers if isinstance(x, keras.layers.Conv2D)]
    assert [x.filters for x in convolutions] == [128, 256, 512, 1024]
    small = DCGAN(image_shape=(28, 28, 1), **options)
    assert small.generator.layers[2].output.shape[1:] == (7, 7, 256)


def test_averages_have_batch_statistics_of_their_own():
    """After it, what is sampled has the brightness that training sees, whatever the statistics."""
    model = build_dcgan(adam)
    norms = [x for x in model.generator.layers if isinstance(x, keras.layers.BatchNormalization)]
    sampler = model.sampler()
    latents = sampler.inputs(0, 512)[0]
    expected = ops.convert_to_numpy(model.generator([latents], training=True))
    for norm in norms:
        norm.moving_mean.assign(ops.full(norm.moving_mean.shape, 3.0))
        norm.moving_variance.assign(ops.full(norm.moving_variance.shape, 9.0))
    spoilt = ops.convert_to_numpy(model.generator([latents]))
    model.update_statistics()
    settled = ops.convert_to_numpy(model.generator([latents]))
    assert np.abs(spoilt - expected).mean() > 5 * np.abs(settled - expected).mean()


def test_pictures_show_a_plane_of_latents():
    pictures = build_dcgan().illustrate(IMAGES, np.zeros(8))
    assert pictures["directions"].images.shape == (11, 11, 28, 28, 1)


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
    model.compute_loss(IMAGES, y_pred=ops.zeros((8, 4)))
    target = 1.0 - label_smoothing
    real = -target * np.log(probability) - (1.0 - target) * np.log(1.0 - probability)
    generated = -np.log(1.0 - probability)
    results = {key: float(mean.result()) for key, mean in model.means.items()}
    assert results["discriminator_loss"] == pytest.approx(real + generated, rel=1e-5)
    assert results["generator_loss"] == pytest.approx(-np.log(probability), rel=1e-5)


def test_label_smoothing_moves_the_best_logit_of_real_images():
    """The cross entropy with the target 0.9 is least where the probability is 0.9."""

    def loss_at(probability):
        model = with_constant_logits(np.log(probability / (1 - probability)), label_smoothing=0.1)
        model.compute_loss(IMAGES, y_pred=ops.zeros((8, 4)))
        return float(model.means["discriminator_loss"].result()) + np.log(1.0 - probability)

    assert loss_at(0.9) < min(loss_at(0.85), loss_at(0.95))


def test_instance_noise_falls_linearly_to_nothing():
    model = build_dcgan(instance_noise=0.8, instance_noise_steps=4)
    for step, expected in enumerate((0.8, 0.6, 0.4, 0.2, 0.0, 0.0)):
        model.steps_done.assign(step)
        real, generated = map(ops.convert_to_numpy, model._instance_noises(ops.zeros(IMAGES.shape)))
        assert np.std(real) == pytest.approx(expected, rel=0.05, abs=1e-6)
        assert (expected == 0.0) == np.allclose(real, generated)


def test_the_discriminator_sees_all_images_through_noise():
    seen = []

    class Discriminator(keras.Model):
        def call(self, inputs, training=False):
            (images,) = inputs
            seen.append(ops.convert_to_numpy(images))
            return images[:, 0, 0]

    class Black(keras.Model):
        def call(self, inputs, training=False):
            return ops.full(IMAGES.shape, -1.0)

    model = build_dcgan(instance_noise=0.5, instance_noise_steps=10)
    model.generator, model.discriminator = Black(), Discriminator()
    model.discriminator.built = True
    model.compute_loss(np.zeros_like(IMAGES), y_pred=ops.zeros((8, 4)))
    assert len(seen) == 3
    assert all(np.std(images) == pytest.approx(0.5, rel=0.05) for images in seen)
    equal = [np.array_equal(*pair) for pair in itertools.combinations(seen, 2)]
    assert equal.count(True) == 1  # both networks' losses see the same generated images


def test_spectral_norm_makes_the_largest_singular_value_one():
    model = ready_to_train(build_dcgan(adam, spectral_norm=True))
    kinds = {type(layer).__name__ for layer in model.discriminator.layers}
    assert "SpectralNormalization" in kinds
    assert not kinds & {"BatchNormalization", "Conv2D", "Dense"}
    for _ in range(30):
        model.train_on_batch(IMAGES)
    model.discriminator([IMAGES / 127.5 - 1.0], training=True)
    kernels = [v.numpy() for v in model.discriminator.trainable_variables if "kernel" in v.path]
    assert len(kernels) == 3
    for kernel in kernels:
        singular_values = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
        assert singular_values[0] == pytest.approx(1.0, rel=0.02)


def test_judging_for_the_generator_changes_no_variable_of_the_discriminator():
    model = build_dcgan(spectral_norm=True)
    before = [variable.numpy() for variable in model.discriminator.variables]
    frozen_logits(model.discriminator, [IMAGES / 127.5 - 1.0], training=True)
    for old, variable in zip(before, model.discriminator.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    model.discriminator([IMAGES / 127.5 - 1.0], training=True)
    after = [variable.numpy() for variable in model.discriminator.variables]
    assert any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_training_with_all_options_goes_on_from_its_state():
    def build():
        keras.utils.clear_session(free_memory=False)
        options = {"label_smoothing": 0.1, "instance_noise": 0.3, "instance_noise_steps": 5}
        return ready_to_train(build_dcgan(adam, spectral_norm=True, **options))

    whole, resumed = build(), build()
    for _ in range(3):
        whole.train_on_batch(IMAGES)
    restore(resumed, state(whole, Progress()))
    for model in (whole, resumed):
        model.train_on_batch(IMAGES)
    assert int(resumed.steps_done) == 4
    for expected, received in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(expected.numpy(), received.numpy())


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"activation": "relu"}, "'leaky_relu', 'relu_capped'.*activation='relu'"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"instance_noise": -1.0}, "instance_noise=-1.0"),
        ({"instance_noise": 0.1}, "instance_noise_steps=None"),
    ],
)
def test_wrong_options_are_refused(options, received):
    with pytest.raises(ValueError, match=received):
        build_dcgan(**options)


def test_turns_need_an_optimizer_that_takes_them():
    with pytest.raises(ValueError, match="models.optimizers.*Received: SGD"):
        build_dcgan(alternating=True)


def test_one_optimizer_alone_is_refused():
    with pytest.raises(ValueError, match="must be given together"):
        DCGAN(image_shape=(28, 28, 1), seed=0, latent_dim=4, generator_optimizer=adam())


def test_no_latents_are_refused():
    with pytest.raises(ValueError, match="latent_dim=0"):
        DCGAN(image_shape=(28, 28, 1), seed=0, latent_dim=0, widths=[8])


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("leaky_relu", [-0.2, 0.1, 3.0]), ("relu_capped", [0.0, 0.1, 0.2])],
)
def test_the_activations_of_the_discriminator_by_hand(activation, expected):
    received = ACTIVATIONS[activation]()(np.array([-1.0, 0.1, 3.0], "float32"))
    np.testing.assert_allclose(received, expected, atol=1e-7)
    kind = type(ACTIVATIONS[activation]())
    layers = build_dcgan(activation=activation).discriminator.layers
    assert sum(isinstance(layer, kind) for layer in layers) == 2  # one for each level


def test_the_discriminator_has_the_activation_of_the_paper_by_default():
    layers = build_dcgan().discriminator.layers
    slopes = [layer.negative_slope for layer in layers if hasattr(layer, "negative_slope")]
    assert slopes == pytest.approx([0.2, 0.2])

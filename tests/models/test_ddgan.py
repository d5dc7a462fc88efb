import keras
import numpy as np
import pytest
from keras import layers, ops

from models.ddgan import DenoisingDiffusionGAN
from models.noise import step_noise
from models.optimizers import AveragedAdam
from tests.conftest import ready_to_train

SHAPE = (8, 8, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), dtype="uint8")


def build_ddgan(**options):
    return DenoisingDiffusionGAN(
        image_shape=SHAPE,
        seed=0,
        **{
            "num_steps": 4,
            "latent_dim": 4,
            "r1_gamma": 0.1,
            "discriminator_widths": [8, 8],
            "base_width": 8,
            "multipliers": [1],
            "num_blocks": 1,
            **options,
        },
    )


def randomize(model):
    """Gives random values to all weights, those included that start at zero."""
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        fan_in = np.prod(variable.shape[:-1])
        variable.assign(random.normal(0.0, fan_in**-0.5, variable.shape))
    return model


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def alpha_bars_by_time(model):
    """alpha_bar at t = 0..T."""
    return np.append(model.alpha_bars, 1.0)[::-1]


class PerfectGenerator(keras.Model):
    """Knows the image, whatever it is asked."""

    inputs = [keras.KerasTensor((None, *SHAPE))]

    def __init__(self, image):
        super().__init__()
        self.image = image

    def call(self, inputs):
        return ops.zeros_like(inputs[0]) + self.image


def test_the_forward_process_by_hand(monkeypatch):
    """x_{t-1} given x_0, then x_t given x_{t-1}, with the noises 1 and -2."""
    model, images = build_ddgan(), normal(4, *SHAPE)
    noises = iter([1.0, -2.0])
    monkeypatch.setattr(model, "_noises", lambda images: next(noises))
    states, noisier_states = map(ops.convert_to_numpy, model.diffuse(images, np.arange(4)))
    levels = alpha_bars_by_time(model)
    for row, time in enumerate([4, 3, 2, 1]):
        state = np.sqrt(levels[time - 1]) * images[row] + np.sqrt(1.0 - levels[time - 1])
        alpha = levels[time] / levels[time - 1]
        np.testing.assert_allclose(states[row], state, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            noisier_states[row],
            np.sqrt(alpha) * state - 2.0 * np.sqrt(1.0 - alpha),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize(("noise", "deviations"), [(0.0, 0.0), (1.0, 1.0)])
def test_a_step_back_is_the_posterior(noise, deviations):
    """Bayes' rule: the precisions of q(x_{t-1} | x_0) and of q(x_t | x_{t-1}) add up."""
    model, images, noisier_states = build_ddgan(), normal(3, *SHAPE), normal(3, *SHAPE, seed=2)
    states = ops.convert_to_numpy(model.denoise(images, noisier_states, np.arange(3), noise))
    levels = alpha_bars_by_time(model)
    for row, time in enumerate([4, 3, 2]):
        alpha, level = levels[time] / levels[time - 1], levels[time - 1]
        precision = 1.0 / (1.0 - level) + alpha / (1.0 - alpha)
        mean = (
            np.sqrt(level) / (1.0 - level) * images[row]
            + np.sqrt(alpha) / (1.0 - alpha) * noisier_states[row]
        ) / precision
        expected = mean + deviations / np.sqrt(precision)
        np.testing.assert_allclose(states[row], expected, rtol=1e-4, atol=1e-5)


def test_the_last_step_returns_the_prediction():
    model, images, noisier_states = build_ddgan(), normal(2, *SHAPE), normal(2, *SHAPE, seed=2)
    last = np.full(2, model.num_steps - 1)
    states = ops.convert_to_numpy(model.denoise(images, noisier_states, last, normal(2, *SHAPE)))
    np.testing.assert_allclose(states, images, atol=1e-6)
    real_states, _ = model.diffuse(images, last)
    np.testing.assert_allclose(ops.convert_to_numpy(real_states), images, atol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_with_a_perfect_generator_the_sampler_returns_its_image(num_steps):
    """On the way, the states are distributed as q(x_{t-1} | x_0)."""
    model, image = build_ddgan(num_steps=num_steps), np.clip(0.5 * normal(*SHAPE), -1, 1)
    model.generator = PerfectGenerator(image)
    sampler = model.sampler()
    assert sampler.network_passes == num_steps
    assert not sampler.deterministic
    latents, seeds = sampler.inputs(0, 500)
    np.testing.assert_allclose(sampler.sample(latents, seeds) - image, 0.0, atol=1e-5)
    states = ops.convert_to_tensor(latents)
    for index, level in enumerate(alpha_bars_by_time(model)[-2::-1]):
        states, _ = sampler.reverse_step(index, states, states, ops.convert_to_tensor(seeds))
        noises = ops.convert_to_numpy(states) - np.sqrt(level) * image
        assert noises.std() == pytest.approx(np.sqrt(1.0 - level), abs=0.01)
        assert np.abs(noises.mean(axis=0)).max() < 0.25


def test_training_and_sampling_take_the_same_step():
    model = build_ddgan()
    sampler = model.sampler()
    states, seeds = map(ops.convert_to_tensor, sampler.inputs(0, 3))
    for index in range(model.num_steps):
        noises = step_noise(seeds, index, SHAPE)
        expected, predicted = sampler.reverse_step(index, states, states, seeds)
        received = model.denoise(predicted, states, np.full(3, index), noises)
        np.testing.assert_allclose(received, expected, atol=1e-5)
        states = expected


def test_each_step_of_each_image_has_latents_of_its_own():
    sampler = build_ddgan(latent_dim=64).sampler()
    _, seeds = map(ops.convert_to_tensor, sampler.inputs(0, 3))
    latents = np.stack([sampler.network_latents(index, seeds)[0] for index in range(4)])
    noises = np.stack([np.reshape(step_noise(seeds, index, SHAPE), (3, -1)) for index in range(4)])
    rows = np.concatenate([latents, noises]).reshape(24, -1)
    assert np.abs(np.corrcoef(rows) - np.eye(24)).max() < 0.6
    assert latents.std() == pytest.approx(1.0, abs=0.1)


def test_the_latents_reach_the_image():
    model = randomize(build_ddgan())
    states, times = normal(1, *SHAPE), np.zeros(1)
    first, second = (model.generator([states, times, normal(1, 4, seed=n)]) for n in (3, 4))
    assert np.abs(ops.convert_to_numpy(first - second)).max() > 1e-3
    assert np.abs(ops.convert_to_numpy(first)).max() <= 1.0


@pytest.mark.parametrize("turn", ["discriminator", "generator"])
def test_the_loss_has_the_gradients_of_textbook_code(monkeypatch, turn):
    """Of the network whose turn it is; the other has none."""
    import tensorflow as tf

    model = randomize(build_ddgan())
    model.steps_done.assign(int(turn == "generator"))
    noises, latents = normal(8, *SHAPE, seed=5), tf.constant(normal(8, 4, seed=6))
    generator = model.generator.trainable_variables
    discriminator = model.discriminator.trainable_variables
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    indices, real_states, noisier_states = model(IMAGES, training=True)
    times = ops.take(model.steps.times, indices)
    monkeypatch.setattr(model, "_noises", lambda images: noises)
    monkeypatch.setattr(model, "_latents", lambda count: latents)
    with tf.GradientTape(persistent=True) as tape:
        loss = model.compute_loss(IMAGES, y_pred=(indices, real_states, noisier_states))
        with tf.GradientTape() as inner:
            inner.watch(real_states)
            real_logits = model.discriminator([real_states, noisier_states, times])
        gradients = inner.gradient(real_logits, real_states)
        penalty = tf.reduce_mean(tf.norm(tf.reshape(gradients, (8, -1)), axis=1) ** 2)
        predicted_images = model.generator([noisier_states, times, latents])
        states = model.denoise(predicted_images, noisier_states, indices, noises)
        generated_logits = model.discriminator([states, noisier_states, times])
        textbook = {
            "discriminator": entropy(tf.ones_like(real_logits), real_logits)
            + entropy(tf.zeros_like(generated_logits), generated_logits)
            + 0.1 / 2 * penalty,
            "generator": entropy(tf.ones_like(generated_logits), generated_logits),
        }
    assert float(loss) == pytest.approx(float(textbook[turn]), rel=1e-5)
    for name, variables in (("generator", generator), ("discriminator", discriminator)):
        values = [variable.value for variable in variables]
        received = tape.gradient(loss, values, unconnected_gradients="zero")
        expected = tape.gradient(textbook[name], values)
        assert max(np.abs(gradient).max() for gradient in expected) > 1e-3
        for theirs, ours in zip(expected, received, strict=True):
            theirs = theirs if name == turn else 0.0 * theirs
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def linear_discriminator(weights):
    states, noisier_states, times = (keras.Input(shape) for shape in (SHAPE, SHAPE, ()))
    logits = layers.Dense(1)(layers.Flatten()(states))
    discriminator = keras.Model([states, noisier_states, times], logits)
    discriminator.set_weights([weights, np.zeros(1)])
    return discriminator


def test_the_penalty_of_a_linear_discriminator_by_hand():
    """Its gradient is its weight vector, at every image: gamma / 2 |w|^2."""
    model, weights = build_ddgan(r1_gamma=3.0), normal(64, 1)
    model.discriminator = linear_discriminator(weights)
    model.compute_loss(IMAGES, y_pred=model(IMAGES))
    expected = 3.0 / 2.0 * np.sum(weights**2)
    assert float(model.means["gradient_penalty"].result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("alternating", "expected"), [(True, (0, 6, 12)), (False, (0, 3, 6, 9, 12))]
)
def test_the_penalty_is_due_at_some_of_the_discriminators_steps(alternating, expected):
    """Which are all steps where both networks are updated at once."""
    model = build_ddgan(r1_interval=3, alternating=alternating)
    model.discriminator = linear_discriminator(normal(64, 1))
    due = []
    for _ in range(14):
        model.means["gradient_penalty"].reset_state()
        model.compute_loss(IMAGES, y_pred=model(IMAGES))
        due.append(float(model.means["gradient_penalty"].result()) > 0.0)
    assert due == [step in expected for step in range(14)]


def test_losses_are_logged_by_turns():
    model = ready_to_train(
        build_ddgan(
            generator_optimizer=AveragedAdam(1e-3), discriminator_optimizer=AveragedAdam(1e-3)
        )
    )
    logs = model.train_on_batch(IMAGES, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["discriminator_loss"] + logs["gradient_penalty"])
    assert 0.0 <= logs["real_accuracy"] <= 1.0 and logs["generator_loss"] == 0.0
    logs = model.train_on_batch(IMAGES, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["generator_loss"])


def test_both_networks_are_updated_at_once_where_they_take_no_turns():
    adam = [AveragedAdam(1e-3) for _ in range(2)]
    model = ready_to_train(
        build_ddgan(alternating=False, generator_optimizer=adam[0], discriminator_optimizer=adam[1])
    )
    networks = (model.generator, model.discriminator)
    before = [network.get_weights() for network in networks]
    logs = model.train_on_batch(IMAGES, return_dict=True)
    parts = ("generator_loss", "discriminator_loss", "gradient_penalty")
    assert logs["loss"] == pytest.approx(sum(logs[name] for name in parts))
    for network, weights in zip(networks, before, strict=True):
        assert any(
            (new != old).any() for new, old in zip(network.get_weights(), weights, strict=True)
        )


def test_predictions_are_shown_beside_the_states_they_are_made_from():
    model = randomize(build_ddgan(num_steps=2))
    picture = model.illustrate(IMAGES, np.zeros(8))["predictions"]
    assert picture.column_labels == ("t = 2", "predicted", "t = 1", "predicted")
    sampler = model.sampler()
    samples = np.rint((sampler.sample(*sampler.inputs(0, 5)) + 1.0) * 127.5)
    np.testing.assert_allclose(picture.images[:, -1].astype(float), samples, atol=1)


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"r1_gamma": -1.0}, {"r1_interval": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="Received: num_steps="):
        build_ddgan(**options)

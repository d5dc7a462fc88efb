import functools

import keras
import numpy as np
import pytest
from keras import ops

from models.diffusion import DiffusionModel
from models.distilled import DistilledModel
from models.samplers import DDIM, Consistency
from models.schedules import CosineSchedule

SMALL = {"base_width": 8, "multipliers": [1], "num_blocks": 1, "middle_attention": False}
SCHEDULE = CosineSchedule(num_timesteps=20)


def teacher(**options):
    return functools.partial(
        DiffusionModel, schedule=SCHEDULE, prediction="velocity", **SMALL | options
    )


def build_model(num_levels=5, optimizer=None, num_classes=None, teacher_steps=1, **options):
    keras.utils.clear_session(free_memory=False)
    return DistilledModel(
        image_shape=(8, 8, 1),
        seed=0,
        teacher=teacher(num_classes=num_classes, **options),
        num_levels=num_levels,
        teacher_steps=teacher_steps,
        num_classes=num_classes,
        optimizer=optimizer,
    )


def perturb(network):
    generator = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign_add(0.1 * generator.standard_normal(variable.shape))


def test_the_teachers_step_is_that_of_its_sampler():
    model = build_model()
    trained = teacher()(image_shape=(8, 8, 1), seed=3)
    perturb(trained.unet)
    model.learn_from(trained.get_weights())
    sampler = trained.sampler(DDIM(num_steps=5))
    latents, seeds = map(ops.convert_to_tensor, sampler.inputs(0, 5))
    images, states = model.teacher_step(latents, ops.arange(5), [])
    for index in range(5):
        expected = sampler.reverse_step(index, latents, latents, seeds)
        np.testing.assert_allclose(states[index], expected[0][index], atol=1e-5)
        np.testing.assert_allclose(images[index], expected[1][index], atol=1e-5)


def test_targets_are_what_the_student_says_of_the_next_state(monkeypatch):
    """At the last level they are the image of the teacher, whose states there are its images."""
    model = build_model(num_levels=4)
    indices = np.array([0, 1, 2, 3])
    monkeypatch.setattr(keras.random, "randint", lambda *args, **kwargs: indices)
    told = {}

    def step(states, indices, labels):
        told["states"] = states
        return ops.full_like(states, 9.0), ops.full_like(states, 5.0)

    def predict(network, states, indices, labels, training=False):
        told[training] = np.array(indices)
        return states + 0.25

    monkeypatch.setattr(model, "teacher_step", step)
    monkeypatch.setattr(model, "predict", predict)
    images = np.full((4, 8, 8, 1), 255, "uint8")
    predicted_images, targets = model(images, training=True)
    np.testing.assert_allclose(targets[:3], 5.25)
    np.testing.assert_allclose(targets[3], 9.0)
    np.testing.assert_allclose(predicted_images, told["states"] + 0.25)
    np.testing.assert_array_equal(told[True], indices)
    np.testing.assert_array_equal(told[False], [1, 2, 3, 3])
    means = ops.convert_to_numpy(ops.mean(told["states"], axis=(1, 2, 3)))
    np.testing.assert_allclose(means, model.steps.signal_rates, atol=0.4)


def test_the_distance_is_quadratic_for_small_errors_and_linear_for_large_ones():
    model = build_model()
    width = 0.00054 * 8.0
    images = np.zeros((1, 8, 8, 1), "float32")

    def distance(error):
        return float(
            model.compute_loss(None, y_pred=(images, ops.convert_to_tensor(images + error)))
        )

    assert distance(1.0) == pytest.approx(8.0 - width, rel=1e-3)
    assert distance(1e-5) == pytest.approx((8e-5) ** 2 / (2.0 * width), rel=0.2)


def test_only_the_student_learns_and_it_starts_from_the_teacher():
    model = build_model(optimizer=keras.optimizers.Adam(1e-3))
    trained = DiffusionModel(image_shape=(8, 8, 1), seed=3, schedule=SCHEDULE, **SMALL)
    perturb(trained.unet)
    model.learn_from(trained.get_weights())
    for ours, theirs in zip(model.student.weights, trained.unet.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype="uint8")
    before = [variable.numpy() for variable in model.teacher.weights]
    model.train_on_batch(images)
    for variable, value in zip(model.teacher.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert {id(variable) for variable in model.trainable_variables} == {
        id(variable) for variable in model.student.trainable_variables
    }
    assert any(
        not np.array_equal(ours, theirs)
        for ours, theirs in zip(model.student.weights, trained.unet.weights, strict=True)
    )


def test_one_step_of_the_student_tells_what_many_of_the_teacher_lead_to():
    """Half of the images are dark, half bright: a single step of the teacher gives grey ones."""
    images = np.where(np.arange(64) % 2, 230, 25).astype("uint8")[:, None, None, None]
    images = np.broadcast_to(images, (64, 8, 8, 1))
    model = build_model(optimizer=keras.optimizers.Adam(5e-3))
    trained = teacher()(image_shape=(8, 8, 1), seed=1, optimizer=keras.optimizers.Adam(1e-2))
    for _ in range(100):
        trained.train_on_batch(images)
    model.learn_from(trained.get_weights())
    sampler, walk = model.sampler(), trained.sampler(DDIM(num_steps=5))
    inputs = sampler.inputs(0, 32)
    assert sampler.network_passes == 1 and walk.network_passes == 5
    led_to = walk.sample(*inputs)

    def distance():
        return np.abs(sampler.sample(*inputs) - led_to).mean()

    before = distance()
    for _ in range(200):
        model.train_on_batch(images)
    assert distance() < 0.85 * before, before


def test_the_teacher_takes_several_steps_from_a_level_to_the_next(monkeypatch):
    model = build_model(num_levels=3, teacher_steps=2)
    np.testing.assert_array_equal(
        model.steps.times[::2], DDIM(num_steps=3).reverse_steps(SCHEDULE).times
    )
    trained = teacher()(image_shape=(8, 8, 1), seed=3)
    perturb(trained.unet)
    model.learn_from(trained.get_weights())
    monkeypatch.setattr(keras.random, "randint", lambda *args, **kwargs: np.array([0, 1, 2]))
    monkeypatch.setattr(keras.random, "normal", lambda *args, **kwargs: noises)
    noises = np.random.default_rng(0).standard_normal((3, 8, 8, 1)).astype("float32")
    _, targets = model(np.full((3, 8, 8, 1), 200, "uint8"))
    sampler = trained.sampler(DDIM(num_steps=6))
    _, seeds = map(ops.convert_to_tensor, sampler.inputs(0, 3))
    for level in range(3):
        index = 2 * level
        states = model.steps.signal_rates[index] * (200 / 127.5 - 1.0)
        states = ops.cast(states + model.steps.noise_rates[index] * noises, "float32")
        for step in (index, index + 1):
            states, images = sampler.reverse_step(step, states, states, seeds)[:2]
        expected = images
        if level < 2:
            next_indices = ops.full((3,), index + 2, "int32")
            expected = model.predict(model.student, states, next_indices, [])
        np.testing.assert_allclose(targets[level], expected[level], atol=1e-4)


def test_more_steps_noise_the_image_anew():
    steps = Consistency(num_steps=3).reverse_steps(SCHEDULE)
    np.testing.assert_allclose(steps.image_weights**2 + steps.stds**2, 1.0)
    assert steps.stds[-1] == 0.0 and (steps.stds[:-1] > 0.0).all()
    np.testing.assert_allclose(steps.stds[:-1], steps.noise_rates[1:])
    assert Consistency(num_steps=2).name == "consistency-2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_levels": 1}, "num_levels.*at least 2.*num_levels=1"),
        ({"num_levels": 21}, "1..20.*num_steps=21"),
        ({"standardize": True}, "without learned_variance and standardize.*standardize=True"),
        ({"learned_variance": True}, "learned_variance=True"),
    ],
)
def test_teachers_that_cannot_teach_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(**options)


def test_other_classes_than_the_teachers_are_refused():
    with pytest.raises(ValueError, match="num_classes=3, of the teacher None"):
        DistilledModel(
            image_shape=(8, 8, 1), seed=0, teacher=teacher(), num_levels=4, num_classes=3
        )

"""What every model of conf/model promises, whatever it is."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.drawing.pictures import write_illustrations
from benchmark.report.columns import COLUMNS, OTHER
from benchmark.results import Folder
from benchmark.training import load_weights, weights
from models.base import Illustration, Sampler, to_float, to_uint8
from tests.conftest import (
    composed,
    first_of_those_that_train_alike,
    options,
    small,
    trainings,
)

GREY, COLOUR = SHAPES = [(28, 28, 1), (32, 32, 3)]
COUNT = 5  # images; of the same number everywhere, as samplers are compiled for each number


GUIDED = [
    (name, sampler)
    for name in trainings()
    for sampler in composed("config", (f"model={name}",)).sampler_choices
    if "guidance_scale" in composed("config", (f"sampler={sampler}",)).sampler
]


def real_images(shape, count=16):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype="uint8")


def train_step(model, batch):
    """Trains a step of each network, not compiled, which takes a tenth of the time.

    Compiled training has tests of its own in tests/benchmark/test_training.py.
    """
    model.run_eagerly = True
    for _ in range(2 if getattr(model, "alternating", False) else 1):  # both networks' turns
        logs = model.train_on_batch(batch, return_dict=True)
    return logs


@dataclass
class Trained:
    """A model after one step, its weights before and after it, and one of its samplers."""

    model: keras.Model
    method: object
    sampler: Sampler
    logs: dict
    before: dict
    after: dict


@pytest.fixture(scope="module")
def build(compose_config):
    def build_parts(name, *overrides):
        keras.utils.clear_session(free_memory=False)
        config = compose_config(f"model={name}", "preset=smoke", *overrides)
        return RunBuilder(configuration.validate(config), [])

    return build_parts


@pytest.fixture(scope="module")
def train(build):
    """Trains a model of conf/model for one step, once for all tests that leave it as it is."""

    @functools.cache
    def train_once(name, shape):
        overrides = small(name) if shape == GREY else []  # one of each as it is configured
        model = build(name, *overrides).build_model(shape)
        before = weights(model)
        logs = train_step(model, real_images(shape))
        return model, logs, before, weights(model)

    @functools.cache
    def sample_by_name(name, shape):
        model, *told = train_once(first_of_those_that_train_alike()[name], shape)
        method = build(name).build_methods()[-1]
        return Trained(model, method, model.sampler(method), *told)

    return lambda name, shape=GREY: sample_by_name(name, shape)


@pytest.fixture(scope="module")
def class_conditional(build):
    """Class-conditional models after one step, each once for all of its samplers."""

    @functools.cache
    def train_once(name):
        model = build(name, "model.num_classes=10", *small(name)).build_model(GREY)
        images = real_images(GREY)
        train_step(model, (images, np.arange(len(images)) % 10))
        return model

    return train_once


@pytest.fixture(params=options("model"))
def name(request):
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_one_step_changes_the_weights_and_samples_are_images(train, name, shape):
    trained = train(name, shape)
    before, after, sampler = trained.before, trained.after, trained.sampler
    assert all(np.isfinite(value) for value in trained.logs.values())
    assert before.keys() == after.keys()
    assert any(not np.array_equal(before[key], after[key]) for key in before)

    images = sampler.sample(*sampler.inputs(0, COUNT))
    assert images.shape == (COUNT, *shape)
    assert images.dtype == np.float32
    assert -1.0 <= images.min() <= images.max() <= 1.0
    assert sampler.network_passes >= 1
    assert sampler.single_pass(sampler.inputs(0, 2)[0]).shape[0] == 2


def test_images_depend_on_seed_and_index_alone(train, name, monkeypatch):
    sampler = train(name).sampler
    together = sampler.sample(*sampler.inputs(0, COUNT))
    alone = sampler.sample(*sampler.inputs(3, 1))
    np.testing.assert_allclose(together[3:4], alone, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-4

    monkeypatch.setattr(sampler, "seed", 1)
    others = sampler.sample(*sampler.inputs(0, COUNT))
    assert np.abs(together - others).max() > 1e-4


@pytest.mark.parametrize("schedule", options("model/schedule"))
def test_every_schedule_trains_and_is_walked(build, schedule):
    steps = ["sampler=ddpm", "sampler.num_steps=6"]
    builder = build("ddpm", f"model/schedule={schedule}", *steps, *small("ddpm"))
    model = builder.build_model(GREY)
    train_step(model, real_images(GREY))
    sampler = model.sampler(*builder.build_methods())
    images = sampler.sample(*sampler.inputs(0, COUNT))
    assert images.shape == (COUNT, *GREY) and sampler.network_passes == 6
    assert np.isfinite(images).all() and np.abs(images).max() <= 1.0
    np.testing.assert_allclose(images[3:4], sampler.sample(*sampler.inputs(3, 1)), atol=1e-4)


@pytest.mark.parametrize(("name", "sampler_name"), GUIDED)
def test_every_sampler_with_guidance_guides_a_class_conditional_model(
    build, class_conditional, name, sampler_name
):
    guidance = ["model.num_classes=10", "sampler.guidance_scale=2"]
    builder = build(name, f"sampler={sampler_name}", "sampler.num_steps=4", *guidance)
    (method,) = builder.build_methods()
    sampler = class_conditional(name).sampler(method)
    samples = sampler.sample(*sampler.inputs(0, COUNT))
    assert samples.shape == (COUNT, *GREY)
    assert sampler.network_passes == 2 * len(sampler.steps.times)
    assert method.name.startswith(f"{sampler_name.split('_')[0]}-4")
    np.testing.assert_allclose(samples[3:4], sampler.sample(*sampler.inputs(3, 1)), atol=1e-4)
    assert sampler.single_pass(sampler.inputs(0, 2)[0]).shape[0] == 2
    np.testing.assert_array_equal(sampler.labels(8, 4), [8, 9, 0, 1])


@pytest.mark.parametrize("name", trainings())
def test_every_model_is_conditioned_on_classes(build, name):
    builder = build(name, "model.num_classes=10", *small(name))
    model, images = builder.build_model(GREY), real_images(GREY)
    logs = train_step(model, (images, np.arange(len(images)) % 10))
    assert all(np.isfinite(value) for value in logs.values())
    sampler = model.sampler(builder.build_methods()[-1])
    samples = sampler.sample(*sampler.inputs(0, COUNT))
    assert samples.shape == (COUNT, *GREY) and np.isfinite(samples).all()
    np.testing.assert_allclose(samples[3:4], sampler.sample(*sampler.inputs(3, 1)), atol=1e-4)
    np.testing.assert_array_equal(sampler.labels(8, 4), [8, 9, 0, 1])
    assert sampler.single_pass(sampler.inputs(0, 2)[0]).shape[0] == 2


@pytest.mark.parametrize("name", trainings())
def test_training_is_a_function_of_the_seed(build, train, name):
    def trained(seed):
        model = build(name, f"seed={seed}", *small(name)).build_model(GREY)
        train_step(model, real_images(GREY))
        return weights(model)

    first, again, other = train(name).after, trained(0), trained(1)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", trainings())
def test_saved_weights_give_the_same_images(build, train, name):
    trained = train(name)
    loaded = build(name, "seed=5", *small(name)).build_model(GREY)
    load_weights(loaded, trained.after)
    inputs = trained.sampler.inputs(0, COUNT)
    np.testing.assert_array_equal(
        trained.sampler.sample(*inputs), loaded.sampler(trained.method).sample(*inputs)
    )


@pytest.mark.parametrize("name", trainings())
def test_illustrations_are_pictures_that_can_be_drawn(train, name, tmp_path):
    images = real_images(GREY)
    pictures = train(name).model.illustrate(images, np.arange(len(images)) % 10)
    write_illustrations(Folder(tmp_path), pictures)
    assert {path.stem for path in tmp_path.iterdir()} == set(pictures)
    for picture in pictures.values():
        if isinstance(picture, Illustration):
            assert picture.images.dtype == np.uint8
            assert picture.images.shape[2:] == GREY
            assert len(picture.column_labels) in (0, picture.images.shape[1])


@pytest.mark.parametrize("name", trainings())
def test_facts_are_finite_numbers_of_columns_of_their_own(train, name):
    images = real_images(GREY)
    facts = train(name).model.facts(images, np.arange(len(images)) % 10)
    assert all(np.isfinite(value) for value in facts.values())
    # A model's own facts may be described, under "other"; they must not hide a metric's number.
    assert not set(facts) & {column.key for column in COLUMNS if column.group != OTHER}


def test_uint8_and_float_are_inverse():
    images = np.arange(256, dtype="uint8").reshape(1, 16, 16, 1)
    floats = keras.ops.convert_to_numpy(to_float(images))
    assert floats.min() == -1.0
    assert floats.max() == 1.0
    np.testing.assert_array_equal(to_uint8(floats), images)

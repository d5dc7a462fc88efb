"""What every model of conf/model promises, whatever it is."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from benchmark import config as configuration
from benchmark.cli import Parts
from benchmark.drawing import figures
from benchmark.report.columns import COLUMNS
from benchmark.training import load_weights, weights
from models.base import Illustration, Sampler, to_float, to_uint8
from tests.conftest import options, trainings

SHAPES = [(28, 28, 1), (32, 32, 3)]


def real_images(shape, count=16):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype="uint8")


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
        keras.utils.clear_session()
        config = compose_config(f"model={name}", "preset=smoke", *overrides)
        return Parts(configuration.validate(config), [])

    return build_parts


@pytest.fixture(scope="module")
def train(build):
    """Trains a model of conf/model for one step, once for all tests that leave it as it is."""

    @functools.cache
    def train_once(name, shape):
        parts = build(name)
        model, method = parts.build_model(shape), parts.build_methods()[-1]
        before = weights(model)
        logs = model.train_on_batch(real_images(shape), return_dict=True)
        return Trained(model, method, model.sampler(method), logs, before, weights(model))

    return lambda name, shape=SHAPES[0]: train_once(name, shape)


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

    images = sampler.sample(*sampler.inputs(0, 3))
    assert images.shape == (3, *shape)
    assert images.dtype == np.float32
    assert -1.0 <= images.min() <= images.max() <= 1.0
    assert sampler.network_passes >= 1
    assert sampler.single_pass(sampler.inputs(0, 2)[0]).shape[0] == 2


def test_images_depend_on_seed_and_index_alone(train, name, monkeypatch):
    sampler = train(name).sampler
    together = sampler.sample(*sampler.inputs(0, 5))
    alone = sampler.sample(*sampler.inputs(3, 1))
    np.testing.assert_allclose(together[3:4], alone, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-4

    monkeypatch.setattr(sampler, "seed", 1)
    others = sampler.sample(*sampler.inputs(0, 5))
    assert np.abs(together - others).max() > 1e-4


@pytest.mark.parametrize("schedule", options("model/schedule"))
def test_every_schedule_trains_and_is_walked(build, schedule):
    parts = build("ddpm", f"model/schedule={schedule}", "sampler=ddpm", "sampler.num_steps=6")
    model = parts.build_model(SHAPES[0])
    model.train_on_batch(real_images(SHAPES[0]))
    sampler = model.sampler(*parts.build_methods())
    images = sampler.sample(*sampler.inputs(0, 5))
    assert images.shape == (5, *SHAPES[0]) and sampler.network_passes == 6
    assert np.isfinite(images).all() and np.abs(images).max() <= 1.0
    np.testing.assert_allclose(images[3:4], sampler.sample(*sampler.inputs(3, 1)), atol=1e-4)


@pytest.mark.parametrize("sampler_name", options("sampler"))
def test_every_sampler_guides_a_class_conditional_model(build, sampler_name):
    guidance = ["model.num_classes=10", "sampler.guidance_scale=2"]
    parts = build("ddpm", f"sampler={sampler_name}", "sampler.num_steps=4", *guidance)
    model = parts.build_model(SHAPES[0])
    images = real_images(SHAPES[0])
    model.train_on_batch((images, np.arange(len(images)) % 10))
    (method,) = parts.build_methods()
    sampler = model.sampler(method)
    samples = sampler.sample(*sampler.inputs(0, 5))
    assert samples.shape == (5, *SHAPES[0]) and sampler.network_passes == 8
    assert method.name.startswith(f"{sampler_name.split('_')[0]}-4")
    np.testing.assert_allclose(samples[3:4], sampler.sample(*sampler.inputs(3, 1)), atol=1e-4)
    assert sampler.single_pass(sampler.inputs(0, 2)[0]).shape[0] == 2
    np.testing.assert_array_equal(sampler.labels(8, 4), [8, 9, 0, 1])


@pytest.mark.parametrize("name", trainings())
def test_training_is_a_function_of_the_seed(build, train, name):
    def trained(seed):
        model = build(name, f"seed={seed}").build_model(SHAPES[0])
        model.train_on_batch(real_images(SHAPES[0]))
        return weights(model)

    first, again, other = train(name).after, trained(0), trained(1)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", trainings())
def test_saved_weights_give_the_same_images(build, train, name):
    trained = train(name)
    loaded = build(name, "seed=5").build_model(SHAPES[0])
    load_weights(loaded, trained.after)
    inputs = trained.sampler.inputs(0, 3)
    np.testing.assert_array_equal(
        trained.sampler.sample(*inputs), loaded.sampler(trained.method).sample(*inputs)
    )


def test_illustrations_are_pictures_that_can_be_drawn(train, name):
    images = real_images(SHAPES[0])
    pictures = train(name).model.illustrate(images, np.arange(len(images)) % 10)
    for picture in pictures.values():
        assert figures.illustration(picture).axes
        if isinstance(picture, Illustration):
            assert picture.images.dtype == np.uint8
            assert picture.images.shape[2:] == SHAPES[0]
            assert len(picture.column_labels) in (0, picture.images.shape[1])


def test_facts_are_finite_numbers_of_columns_of_their_own(train, name):
    facts = train(name).model.facts(real_images(SHAPES[0]))
    assert all(np.isfinite(value) for value in facts.values())
    assert not set(facts) & {column.key for column in COLUMNS}


def test_uint8_and_float_are_inverse():
    images = np.arange(256, dtype="uint8").reshape(1, 16, 16, 1)
    floats = keras.ops.convert_to_numpy(to_float(images))
    assert floats.min() == -1.0
    assert floats.max() == 1.0
    np.testing.assert_array_equal(to_uint8(floats), images)

"""What every option of conf/metric and conf/encoder keeps, found by listing the folders."""

import importlib
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from metrics.base import Evaluation, NotMeasured

CONF = Path(__file__).parents[2] / "conf"
SMALLEST = {
    "subset_size": 8,
    "num_groups": 3,
    "num_subsets": 3,
    "max_batch_size": 1,
    "max_seconds": 0.01,
    "warmup": 1,
}
GROUPS = {group: sorted((CONF / group).glob("*.yaml")) for group in ("metric", "encoder")}


def identify(path):
    return path.stem


def load(path):
    options = yaml.safe_load(path.read_text())
    module, name = options.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), name), options


def build_small(path):
    target, options = load(path)
    small = {key: SMALLEST.get(key) for key in SMALLEST if options.get(key) is not None}
    return target(**{**options, **small})


class Encoder:
    weights_hash = "0"

    def __init__(self, name):
        self.name = name
        self.label = f"{name} 0 @4"

    def __call__(self, images, progress=None):
        return images.reshape(len(images), -1)[:, :6].astype(np.float32)


class Classifier(Encoder):
    num_classes, image_shape, test_accuracy = 2, (4, 4, 1), 1.0

    def predict_probabilities(self, images, progress=None):
        bright = images.mean(axis=(1, 2, 3)) > 128
        return np.stack([~bright, bright], axis=1).astype(np.float64)


class Sampler:
    latent_shape, network_passes = (2,), 3

    def __init__(self):
        self.network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])

    def pass_inputs(self, latents):
        return latents

    def single_pass(self, latents):
        return latents

    def sample(self, latents, seeds):
        return latents


def evaluation(**overrides):
    generator = np.random.default_rng(0)
    real, generated = generator.integers(0, 256, (2, 30, 4, 4, 1), dtype=np.uint8)
    options = {
        "real_images": real,
        "generated_images": generated,
        "real_labels": np.arange(30) % 2,
        "training_images": real,
        "reference_images": generator.integers(0, 256, (40, 4, 4, 1), dtype=np.uint8),
        "num_classes": 2,
        "seed": 0,
        "encoders": {"pixels": Encoder("pixels")},
        "classifier": Classifier("digits"),
        "sampler": Sampler(),
    }
    return Evaluation(**{**options, **overrides})


@pytest.mark.parametrize("path", GROUPS["metric"] + GROUPS["encoder"], ids=identify)
def test_yaml_gives_every_option_once_by_its_name(path):
    target, options = load(path)
    parameters = inspect.signature(target).parameters
    assert {p.kind for p in parameters.values()} <= {inspect.Parameter.KEYWORD_ONLY}
    assert set(options) == set(parameters) - {"clock"}


@pytest.mark.parametrize("path", GROUPS["metric"], ids=identify)
def test_yaml_belongs_to_its_own_package(path):
    assert path.read_text().startswith(f"# @package metric.{path.stem}\n")


@pytest.mark.parametrize("path", GROUPS["metric"], ids=identify)
def test_metric_returns_finite_floats_or_words_and_tells_its_needs(path):
    metric = build_small(path)
    numbers = metric(evaluation())
    assert numbers
    assert {type(value) for value in numbers.values()} <= {float, str}
    assert all(np.isfinite(value) for value in numbers.values() if type(value) is float)
    assert isinstance(metric.requires_sampler, bool)
    assert 0 <= metric.minimum_samples <= 30


@pytest.mark.parametrize("path", GROUPS["metric"], ids=identify)
def test_metric_gives_the_same_numbers_again(path):
    metric = build_small(path)
    if metric.requires_sampler:
        with pytest.raises(NotMeasured):
            metric(evaluation(sampler=None))
    else:
        assert metric(evaluation()) == metric(evaluation())


def test_no_two_metrics_share_a_column():
    columns = [name for path in GROUPS["metric"] for name in build_small(path)(evaluation())]
    assert len(columns) == len(set(columns))

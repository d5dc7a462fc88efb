"""What all tests share."""

import copy
import functools
import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmark import config as configuration

CONF = Path(__file__).parent.parent / "conf"
ONE_LEVEL = ["model.multipliers=[1]"]
SMALL = {
    "dcgan": ["model.widths=[8]"],
    "ddim": [*ONE_LEVEL, "model.middle_attention=false"],
    "ddpm": [*ONE_LEVEL, "model.middle_attention=false"],
    "distilled": ["model.teacher.multipliers=[1]", "model.teacher.middle_attention=false"],
    "flow": [*ONE_LEVEL, "model.middle_attention=false"],
    "meanflow": [*ONE_LEVEL, "model.middle_attention=false"],
    "r3gan": ["model.widths=[16]"],
    "ddgan": [*ONE_LEVEL, "model.discriminator_widths=[16]"],
    "vae": ["model.widths=[8]"],
}
# A worker that takes one of these last keeps the other waiting.
LONGEST = (
    "test_runner.py",
    "test_evaluate.py",
    "models/test_contract.py",
    "test_page.py",
    "test_behaviour.py",
    "test_validation.py",
    "test_training.py",
    "test_experiments.py",
    "test_devices.py",
    "test_backends.py",
    "test_multirun.py",
)


def build_programs_quickly():
    """Spares TensorFlow's rewriting of graphs, which takes longer than the few steps of a test.

    The programs compute the same. The commands that tests start have theirs rewritten.
    """
    import tensorflow as tf  # here, as processes that take names from this file do without it

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def spare_the_garbage_collector():
    """Makes it look at fewer objects, and less often: it takes a tenth of the time of the tests."""
    gc.collect()
    gc.freeze()  # the modules' objects stay
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(autouse=True)
def forget_custom_gradients():
    """Gives the memory of a test's graphs back.

    TensorFlow registers the gradient of each traced `tf.nn.silu` for good, and with it the graph
    that it was traced in: hundreds of MB for each model that is trained.
    """
    yield
    if "tensorflow" not in sys.modules:
        return
    from tensorflow.python.framework import ops

    gradients = ops.gradient_registry._registry
    custom = [name for name in gradients if name.startswith("CustomGradient-")]
    for name in custom:
        del gradients[name]
    if custom:
        gc.collect()


def pytest_collection_modifyitems(items):
    """Puts the files that take longest first."""

    def rank(item):
        names = [name for name in LONGEST if item.path.as_posix().endswith(f"/{name}")]
        return LONGEST.index(names[0]) if names else len(LONGEST)

    items.sort(key=rank)


def pytest_collection_finish():
    """Comes before the first test, and only in processes that run some."""
    build_programs_quickly()
    spare_the_garbage_collector()


def options(group):
    """The names of a config group's options, so that a new one is tested with no edit."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@functools.cache
def first_of_those_that_train_alike():
    """For each option of conf/model the first that differs from it in its rows alone."""
    firsts, first_of = {}, {}
    for name in options("model"):
        config = composed("config", (f"model={name}",))
        first_of[name] = firsts.setdefault(str((config.model, config.training)), name)
    return first_of


def trainings():
    """The options of conf/model, of those that train alike and differ in their rows the first."""
    return sorted(set(first_of_those_that_train_alike().values()))


def small(name):
    """Overrides for the smallest network of an option of conf/model, where its size is no matter.

    Tracing and compiling take most of the time of a few steps, and go with the number of layers.
    """
    return SMALL.get(name, [])


def ready_to_train(model):
    """Builds the optimizer, as training does; else Keras traces the first step twice."""
    model.optimizer.build(model.trainable_variables)
    return model


@functools.cache
def composed(config_name, choices):
    """The configuration with these options of the config groups, which takes long to compose."""
    configuration.register()
    with initialize_config_module("conf", version_base="1.3"):
        return compose(config_name, overrides=list(choices))


def is_choice(override):
    """Whether an override names options of a config group, as `model=vae`; else it is a value."""
    return (CONF / override.lstrip("+~").split("=")[0].split("@")[0]).is_dir()


@pytest.fixture(scope="session")
def compose_config(tmp_path_factory):
    """Composes the real configuration with overrides, in folders of the test.

    As hydra.compose() does, and tests/benchmark/test_config.py compares them.
    """
    folder = tmp_path_factory.mktemp("run")

    def compose_with(*overrides, config_name="config"):
        overrides = [f"results_dir={folder}/results", f"cache_dir={folder}/cache", *overrides]
        choices = tuple(override for override in overrides if is_choice(override))
        values = [override for override in overrides if not is_choice(override)]
        config = copy.deepcopy(composed(config_name, choices))
        parsed = OverridesParser.create().parse_overrides(values)
        ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
        return config

    return compose_with

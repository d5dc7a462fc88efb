"""What all tests share."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest
from hydra import compose, initialize_config_module

from benchmark import config as configuration

CONF = Path(__file__).parent.parent / "conf"


def options(group):
    """The names of a config group's options, so that a new one is tested with no edit."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def trainings():
    """The options of conf/model, of those that train alike and differ in their rows the first."""
    configuration.register()
    distinct = {}
    for name in options("model"):
        with initialize_config_module("conf", version_base="1.3"):
            config = compose("config", overrides=[f"model={name}"])
        distinct.setdefault(str((config.model, config.training)), name)
    return sorted(distinct.values())


@pytest.fixture(scope="session")
def compose_config(tmp_path_factory):
    """Composes the real configuration with overrides, in folders of the test."""
    configuration.register()
    folder = tmp_path_factory.mktemp("run")

    def compose_with(*overrides, config_name="config"):
        folders = [f"results_dir={folder}/results", f"cache_dir={folder}/cache"]
        with initialize_config_module("conf", version_base="1.3"):
            return compose(config_name, overrides=[*folders, *overrides])

    return compose_with

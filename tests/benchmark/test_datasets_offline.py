"""TFDS without a network, or with a wrong name: what to do is told, and within seconds."""

import threading
import time

import pytest

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.datasets import fashion_mnist, tfds_builder
from benchmark.datasets.fashion_mnist import load_fashion_mnist
from benchmark.datasets.idx import IDX_FILES
from benchmark.datasets.tfds import load_tfds
from benchmark.errors import EnvironmentProblem, UserError

ARCHIVES = {
    "cifar10": ("cifar-10-binary.tar.gz", "https://www.cs.toronto.edu/"),
    "oxford_flowers102": ("102flowers.tgz", "imagelabels.mat", "setid.mat"),
    "celeb_a": (
        "img_align_celeba.zip",
        "list_eval_partition.txt",
        "list_attr_celeba.txt",
        "list_landmarks_align_celeba.txt",
        "identity_CelebA.txt",
        "https://drive.google.com/",
    ),
    "fashion_mnist": tuple(f"{name}.gz" for name in IDX_FILES.values()),
}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and nothing prepared."""
    import tensorflow_datasets

    tensorflow_datasets.builder_cls("fashion_mnist")  # imports are not what is timed
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "not-installed")
    # TFDS reads TFDS_DATA_DIR once, when it is imported.
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


@pytest.fixture
def load_configured(compose_config):
    def load(name, *overrides):
        config = compose_config(f"dataset={name}", *overrides)
        return RunBuilder(configuration.validate(config), []).load_dataset()

    return load


@pytest.mark.parametrize("name", ARCHIVES)
def test_without_a_network_names_the_files_within_seconds(offline, load_configured, tmp_path, name):
    start = time.perf_counter()
    with pytest.raises(EnvironmentProblem) as caught:
        load_configured(name)
    assert time.perf_counter() - start < 10
    place = ("dataset.source=<folder>", str(tmp_path / "tfds" / name), "checksums are verified")
    for part in (*ARCHIVES[name], *place):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_missing_files_are_named(offline, load_configured, tmp_path):
    (tmp_path / "img_align_celeba.zip").write_bytes(b"")
    with pytest.raises(EnvironmentProblem, match=f"{tmp_path} lacks these files") as caught:
        load_configured("celeb_a", f"dataset.source={tmp_path}")
    assert "list_attr_celeba.txt" in str(caught.value)
    assert "img_align_celeba.zip" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ciphar10", "no dataset 'ciphar10'. Did you mean cifar10"),
        ("CIFAR-10", "Did you mean cifar10"),
        ("emnist/lettrs", "configurations: .*letters"),
        ("cifar10:9.9.9", "only: 3.0.2"),
        ("zzzzzzzz", "catalog"),
        ("imdb_reviews", "must have an image feature"),
    ],
)
def test_wrong_names_are_told_in_one_line(offline, tmp_path, name, message):
    with pytest.raises(UserError, match=message) as caught:
        load_tfds(name=name, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_does_not_hang(monkeypatch):
    asked, given_up = threading.Event(), threading.Event()

    def never_answer(*_, **__):
        asked.set()
        given_up.wait(60)
        raise OSError

    monkeypatch.setattr(tfds_builder, "NETWORK_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("urllib.request.urlopen", never_answer)
    start = time.perf_counter()
    assert not tfds_builder._is_reachable("https://example.org")
    assert asked.is_set() and time.perf_counter() - start < 2
    given_up.set()


def test_wrong_originals_are_told(offline, tmp_path):
    for name in IDX_FILES.values():
        (tmp_path / f"{name}.gz").write_bytes(b"not the original")
    with pytest.raises(EnvironmentProblem, match="checksum.*not the original ones"):
        load_tfds(name="fashion_mnist", source=tmp_path, cache_dir=tmp_path)


def test_fashion_mnist_may_come_from_debian(offline, tmp_path):
    with pytest.raises(EnvironmentProblem, match="/usr/share/datasets/fashion-mnist"):
        load_fashion_mnist(cache_dir=tmp_path)

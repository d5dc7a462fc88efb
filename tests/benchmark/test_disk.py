import shutil
from types import SimpleNamespace

import pytest

from benchmark import disk
from benchmark.errors import EnvironmentProblem


def model(num_weights=1000):
    weights = [SimpleNamespace(shape=(num_weights // 10, 10))]
    return SimpleNamespace(weights=weights, image_shape=(28, 28, 1))


def test_more_weights_samples_or_sets_need_more():
    needed = disk.needed_bytes(model(), [None], 100)
    assert needed > 4 * 1000 * disk.PARTS_OF_A_CHECKPOINT + 100 * 28 * 28
    assert disk.needed_bytes(model(2000), [None], 100) > needed
    assert disk.needed_bytes(model(), [None], 200) > needed
    assert disk.needed_bytes(model(), [None, None], 100) > needed


def test_a_run_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    disk.check_disk(tmp_path / "not" / "there" / "yet", 10_000)
    with pytest.raises(EnvironmentProblem, match="10,000 free bytes.*about 10,001.*results_dir="):
        disk.check_disk(tmp_path / "not" / "there" / "yet", 10_001)

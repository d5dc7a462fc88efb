"""Sweeps: several runs by one command, one after the other or at the same time."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SMALL = [
    "model=vae",
    "preset=smoke",
    "dataset=image_folder",
    "dataset.source=pictures",
    "dataset.image_size=8",
    "model.latent_dim=2",
    "training.num_steps=4",
    "training.batch_size=8",
    "training.validation.every=null",
    "metric=[kid,latency]",
    "metric.kid.subset_size=20",
    "metric.latency.max_seconds=0.1",
    "metric.latency.max_batch_size=2",
    "num_samples=30",
    "sampling.batch_size=30",
]
TOO_LARGE = 2**32  # as a seed
PLUGINS = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher"}
LAUNCHERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(f"hydra_plugins.{plugin}") is None,
            reason=f"the launcher is not installed: pip install -e '.[sweep]' brings {plugin}",
        ),
    )
    for name, plugin in PLUGINS.items()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the user stands: paths are relative to it."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), "uint8")
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / "pictures" / f"{number}.png")
    return folder


def sweep(folder, results_dir, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmark", "--multirun", f"results_dir={results_dir}"]
        + ["cache_dir=cache", *SMALL, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},  # locks of its own
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_all_mistakes_of_a_sweep_are_told_at_its_end(folder):
    process = sweep(folder, "refused", f"seed={TOO_LARGE},{TOO_LARGE + 1}")
    end = process.stderr[process.stderr.index("2 runs of this sweep failed") :]
    assert process.returncode == 1
    for seed in (TOO_LARGE, TOO_LARGE + 1):
        assert f"seed={seed}\n    error: `seed` must be below 2**32. Received: seed={seed}" in end
    assert "Traceback" not in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_runs_at_the_same_time_fill_one_table_past_one_that_fails(folder, launcher):
    process = sweep(folder, launcher, f"hydra/launcher={launcher}", f"seed=0,{TOO_LARGE},1")
    assert process.returncode == 1, process.stderr
    assert "1 run of this sweep failed" in process.stderr
    assert f"Received: seed={TOO_LARGE}" in process.stderr
    assert process.stdout.count("Writing the report") == 1  # for all of them
    rows = pd.read_csv(folder / launcher / "trilemma.csv")
    assert sorted(rows.loc[rows["model"] == "vae", "seed"]) == [0, 1]
    assert rows.loc[rows["model"] == "vae", "images_per_second"].notna().all()
    assert not list(folder.glob("multirun")) and not list(folder.glob("outputs"))

    features = list((folder / "cache" / "features").glob("*.npz"))
    assert len(features) == 1  # encoded once for all runs
    for path in (folder / launcher).glob("runs/*/*/*/run.json"):
        stages = json.loads(path.read_text())["stage_seconds"]
        assert {"data", "instruments", "training", "sanity rows", "report"} <= stages.keys()
        assert stages["latency"].keys() == stages["sampling"].keys() == {"decoder-mean"}

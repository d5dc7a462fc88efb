"""Sweeps: several runs by one command, one after the other or at the same time."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from benchmark.files import HOLDER
from benchmark.outcomes import KILLED

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


def start_sweep(folder, results_dir, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", "--multirun", f"results_dir={results_dir}"]
        + ["cache_dir=cache", *SMALL, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},  # locks of its own
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """What the sweep printed, when it has ended."""
    output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def sweep(folder, results_dir, *arguments):
    return end(start_sweep(folder, results_dir, *arguments))


def test_all_mistakes_of_a_sweep_are_told_at_its_end(folder):
    process = sweep(folder, "refused", f"seed={TOO_LARGE},{TOO_LARGE + 1}")
    told = process.stderr[process.stderr.index("2 runs of this sweep failed") :]
    assert process.returncode == 1
    for seed in (TOO_LARGE, TOO_LARGE + 1):
        assert f"seed={seed}\n    error: `seed` must be below 2**32. Received: seed={seed}" in told
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


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
    reason="the sweeper is not installed: pip install -e '.[hpo]' brings it",
)
def test_optuna_minimizes_the_headline_and_survives_a_run_that_fails(folder):
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1"]
    process = sweep(folder, "search", *search, f"seed=choice(0,1,{TOO_LARGE})")
    told = process.stdout + process.stderr
    assert f"Received: seed={TOO_LARGE}" in process.stderr, told
    (found,) = (folder / "search").glob("multirun/*/optimization_results.yaml")
    rows = pd.read_csv(folder / "search" / "trilemma.csv")
    best = rows.loc[rows["model"] == "vae", "kid_mean"].min()
    assert yaml.safe_load(found.read_text())["best_value"] == pytest.approx(best)


def holder_that_has_begun(results_dir):
    """The process that works on a run, when one does."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for path in results_dir.glob("runs/*/*/*/run.json"):
            with contextlib.suppress(OSError):
                if json.loads(path.read_text()).get("begun"):
                    return int(path.with_name(HOLDER).read_text().split()[1])
        time.sleep(0.01)
    raise TimeoutError("no run has begun")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", *LAUNCHERS[:1]])
def test_a_run_that_is_killed_leaves_a_row_and_the_others_go_on(folder, launcher):
    name, number = f"killed_{launcher}", "training.num_steps=40"
    process = start_sweep(folder, name, f"hydra/launcher={launcher}", "seed=0,1", number)
    os.kill(holder_that_has_begun(folder / name), signal.SIGKILL)
    ended = end(process)
    assert ended.returncode == 1 and "1 run of this sweep failed" in ended.stderr
    assert "killed by SIGKILL" in ended.stderr and "Traceback" not in ended.stderr
    rows = pd.read_csv(folder / name / "trilemma.csv").query("model == 'vae'")
    assert sorted(rows["status"]) == ["failed", "finished"]
    assert rows.set_index("status").loc["failed", "notes"] == KILLED

    again = sweep(folder, name, f"hydra/launcher={launcher}", "seed=0,1", number)
    assert again.returncode == 0, again.stderr
    rows = pd.read_csv(folder / name / "trilemma.csv").query("model == 'vae'")
    assert list(rows["status"]) == ["finished", "finished"]


@pytest.mark.slow
def test_a_sweep_that_is_stopped_stops_its_run_after_a_save(folder):
    process = start_sweep(folder, "stopped", "seed=0,1", "training.num_steps=100000")
    holder_that_has_begun(folder / "stopped")
    process.terminate()
    ended = end(process)
    assert ended.returncode == 128 + signal.SIGTERM
    assert ended.stderr.strip() == "stopped; the same command resumes from the last checkpoint"
    assert not list((folder / "stopped").glob("runs/*/*/*/.holder"))

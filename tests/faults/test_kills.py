"""Runs that are killed over and over, and end as one that was not, bit for bit."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.files import TEMPORARY
from tests.conftest import small, trainings

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
DYING = Path(__file__).with_name("dying.py")
NUM_KILLS = 20
FURTHEST = 12  # the write that the last kill may wait for: each process gets a little further
SMALL = (
    "preset=smoke",
    "dataset=mnist",
    "encoder=digits",
    "training.batch_size=16",
    "training.num_steps=12",
    "training.num_checkpoints=3",
    "training.validation.every=1",
    "training.validation.num_samples=16",
    "training.pictures_every=1",
    "sampling.batch_size=16",
    "sampling.checkpoint=both",
    "num_samples=64",
    "num_reference_images=100",
    "metric=[fid_digits,prdc,mode_coverage]",
)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The command of a small run of a model in a folder."""
    cache, lone = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("lone")
    environment = {**os.environ, "TMPDIR": str(lone)}  # the locks of this test alone

    def start(name, folder, count=0, moment="after", *more, largest_file=None):
        def limit():
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        overrides = [*SMALL, f"model={name}", *small(name), *more]
        folders = [f"results_dir={folder}", f"cache_dir={cache}"]
        command = [sys.executable, str(DYING), str(count), moment, *overrides, *folders]
        return subprocess.Popen(
            command, cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=limit,
        )  # fmt: skip

    return start


def finish(process, code=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output[-3000:]
    return output


def outcome(folder):
    """What a results folder says: weights, samples and numbers by file, times left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name in ("weights.npz", "weights_best.npz"):
            with np.load(path, allow_pickle=False) as arrays:
                found[name] = str(arrays["sha256"])
        elif path.name == "samples.npy":
            found[name] = path.read_bytes()
        elif path.name == "metrics.json":
            content = json.loads(path.read_text())
            timed = {key for key in content["row"] if "seconds" in key}
            row = {key: value for key, value in content["row"].items() if key not in timed}
            values = {key: number["values"] for key, number in content["numbers"].items()}
            found[name] = json.dumps([row, values])
        elif path.name == "history.csv":
            lines = [line.split(",") for line in path.read_text().splitlines()]
            seconds = lines[0].index("seconds")
            found[name] = [line[:seconds] + line[seconds + 1 :] for line in lines]
    return found


def leftovers(folder):
    """What only a run that was killed leaves behind."""
    return [
        path
        for path in folder.rglob("*")
        if path.name in ("checkpoints", "shards", "pictures", "unfinished.json", ".holder")
        or (TEMPORARY.fullmatch(path.name) and path.parent != folder)
    ]


def kill_over_and_over(commands, name, folder, num_kills, seed):
    """Kills a run around writes drawn at random, then lets it end; returns how often it died."""
    draw, died = random.Random(seed), 0
    for _ in range(num_kills):
        count, moment = draw.randint(1, FURTHEST), draw.choice(["cut", "before", "after"])
        process = commands(name, folder, count, moment)
        output, _ = process.communicate(timeout=300)
        assert process.returncode in (-signal.SIGKILL, 0), output[-3000:]
        died += process.returncode != 0
    finish(commands(name, folder))
    return died


def check_a_killed_run(commands, name, tmp_path, num_kills):
    finish(commands(name, tmp_path / "whole"))
    died = kill_over_and_over(commands, name, tmp_path / "killed", num_kills, seed=len(name))
    whole, killed = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    assert whole.keys() == killed.keys() and len(whole) >= 8
    for key in whole:
        assert whole[key] == killed[key], key
    assert leftovers(tmp_path / "killed") == []
    return died


def test_a_run_that_is_killed_ends_as_one_that_is_not(commands, tmp_path):
    assert check_a_killed_run(commands, "vae", tmp_path, num_kills=2) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in trainings() if name != "distilled"])
def test_twenty_kills_in_a_row_change_nothing(commands, tmp_path, name):
    assert check_a_killed_run(commands, name, tmp_path, NUM_KILLS) >= NUM_KILLS // 2


LONG = (
    "training.num_steps=60000",
    "training.validation.every=null",
    "sampling.checkpoint=last",
)


def until_trained(process, step=20):
    """Waits until a training is under way."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "ms per image" in line:
            return
    pytest.fail("".join(seen)[-3000:])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_says_how_to_go_on_and_tells_the_exit_code(commands, tmp_path, number):
    process = commands("vae", tmp_path, 0, "after", *LONG)
    until_trained(process)
    process.send_signal(number)
    start = time.monotonic()
    output = finish(process, 128 + number)
    assert time.monotonic() - start < 10
    assert "stopping after this step" in output
    assert output.rstrip().endswith("stopped; the same command resumes from the last checkpoint")
    (path,) = tmp_path.glob("runs/mnist/vae/*/checkpoints/*.npz")
    assert int(path.stem) >= 50
    assert leftovers(tmp_path) == [path.parent]
    process = commands("vae", tmp_path, 0, "after", *LONG)
    said = []
    for line in process.stdout:
        said.append(line)
        if "resuming" in line:
            break
    process.kill()
    process.wait()
    assert f"resuming from the checkpoint at step {int(path.stem)}" in said[-1]


@pytest.mark.slow
@pytest.mark.parametrize("largest_file", [2_000, 30_000, 300_000])
def test_a_disk_without_room_is_one_line_and_the_run_goes_on_when_there_is(
    commands, tmp_path, largest_file
):
    """A file that is too large for what is left: of the configuration, samples or a checkpoint."""
    finish(commands("vae", tmp_path / "whole"))
    process = commands("vae", tmp_path / "full", largest_file=largest_file)
    output = finish(process, 3)
    last = output.rstrip().splitlines()[-1]
    assert last.startswith("error: ") and "cannot be written (File too large)" in last
    assert "Traceback" not in output
    assert not [path for path in leftovers(tmp_path / "full") if TEMPORARY.fullmatch(path.name)]
    finish(commands("vae", tmp_path / "full"))
    assert outcome(tmp_path / "whole") == outcome(tmp_path / "full")


@pytest.mark.slow
def test_the_second_run_says_who_holds_the_folder_and_then_finds_it_done(commands, tmp_path):
    first = commands("vae", tmp_path)
    while not list(tmp_path.glob("runs/mnist/vae/*/.holder")):
        time.sleep(0.05)
    second = commands("vae", tmp_path)
    finish(first)
    output = finish(second)
    assert f"is in use by process {first.pid} on " in output
    assert "this run is already finished" in output

"""Results that look like those of real runs, and a results folder around them."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.report.columns import KEYS
from benchmark.report.page import write_report
from benchmark.stored_results import collect_rows

PROTOCOL = (
    "inception_v3 embedded 1f3a9c2e @75; N=5000; KID 100x1000; reference: 5000 training images"
)
ENCODER = "inception_v3 embedded 1f3a9c2e @75"

# model, sampler, network passes, ms per image, KID, coverage, run
TRAINED = (
    ("ddpm", "ddpm-200", 200, 772.0, 0.0123, 0.781, "a1b2c3d4"),
    ("ddpm", "ddim-50", 50, 193.0, 0.0141, 0.764, "a1b2c3d4"),
    ("ddpm", "ddim-10", 10, 39.2, 0.0334, 0.643, "a1b2c3d4"),
    ("vae", "decoder", 1, 0.62, 0.0712, 0.471, "0e0e0e0e"),
    ("dcgan", "generator", 1, 0.81, 0.0356, 0.512, "dcdcdcdc"),
)
SANITY = (("test_images", 0.0002, 0.962), ("noise", 0.4, 0.0), ("repeated_image", 0.2213, 0.001))


def _row(**values):
    return {
        "dataset": "mnist",
        "preset": "quick",
        "seed": 0,
        "kid_encoder": ENCODER,
        "kid_se": 0.0011,
        "kid_std": 0.0031,
        "headline": "kid_mean",
        "sampling_seed": 0,
        "num_modes": 10,
        "modes_covered": 10,
        "mode_kl_floor": 0.0009,
        "num_samples": 5000,
        "protocol": PROTOCOL,
        "overrides": "",
        "notes": "",
        **values,
    }


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """A cache folder for all modules, so that datasets are decoded and features encoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def rows():
    """Rows of a DDPM under three samplers, a VAE and a DCGAN, and the sanity rows."""
    return build_rows()


def build_rows():
    trained = [
        _row(
            model=model, sampler=sampler, status="finished", network_passes=passes,
            latency_ms_per_pass_p50=ms / passes, latency_ms_per_image_p50=ms,
            images_per_second=2600 / ms, kid_mean=kid, coverage=coverage, precision=0.8,
            density=coverage + 0.1, rejected_fraction=0.05, rejected_fraction_low=0.044,
            rejected_fraction_high=0.056, mode_kl=0.0123, num_parameters=1_120_000,
            train_seconds=1214.0, run=run, latency_device="cpu", latency_threads=2,
            path=f"runs/mnist/{model}/{run}/samplers/{sampler}/measurements/0a0a0a0a",
        )
        for model, sampler, passes, ms, kid, coverage, run in TRAINED
    ]  # fmt: skip
    sanity = [
        _row(
            model=model, sampler="", status="sanity", kid_mean=kid, coverage=coverage,
            density=coverage, path=f"sanity/mnist/{model}/01234567/measurements/0a0a0a0a",
        )
        for model, kid, coverage in SANITY
    ]  # fmt: skip
    return pd.DataFrame([*trained, *sanity], columns=KEYS)


@pytest.fixture
def external_row():
    """The row of samples made elsewhere: quality and diversity, no speed."""
    return pd.DataFrame(
        [
            _row(
                model="my_model", sampler="external", status="finished", seed=None,
                kid_mean=0.02, coverage=0.7, density=0.8, run="e0e0e0e0",
                path="external/mnist/my_model/e0e0e0e0/measurements/0a0a0a0a",
                notes="samples made elsewhere",
            )
        ],
        columns=KEYS,
    )  # fmt: skip


@pytest.fixture
def diverged_row():
    """The row of a run whose training diverged: it was never evaluated."""
    return pd.DataFrame(
        [
            {
                "dataset": "mnist",
                "model": "dcgan",
                "preset": "quick",
                "seed": 1,
                "status": "diverged",
                "run": "beefbeef",
                "notes": "loss was nan at step 6",
                "path": "runs/mnist/dcgan/beefbeef",
            }
        ],
        columns=KEYS,
    )


@pytest.fixture
def seeds():
    """The rows of `rows` as the seeds 10, 11 and 12 of each run would give them."""
    return build_seeds()


def build_seeds():
    rows = build_rows()
    trained, sanity = rows[rows["status"] != "sanity"], rows[rows["status"] == "sanity"]
    parts = []
    for index, factor in enumerate((1.0, 1.06, 0.96)):
        runs = "seed" + str(10 + index) + trained["run"].str[:2]
        parts.append(
            trained.assign(
                seed=10 + index,
                kid_mean=trained["kid_mean"] * factor,
                coverage=trained["coverage"] / factor,
                latency_ms_per_image_p50=trained["latency_ms_per_image_p50"] * (1 + 0.05 * index),
                run=runs,
                path=[
                    path.replace(old, new)
                    for path, old, new in zip(trained["path"], trained["run"], runs, strict=True)
                ],
            )
        )
    return pd.concat([*parts, sanity], ignore_index=True)


@pytest.fixture
def results_dir(tmp_path, rows):
    """A results folder with the files of `rows` that the report reads."""
    write_results(tmp_path, rows)
    return tmp_path


@pytest.fixture(scope="session")
def seeds_dir(tmp_path_factory):
    """A results folder with the files of `seeds`, and the report of them; not to be changed."""
    folder = tmp_path_factory.mktemp("seeds")
    write_results(folder, build_seeds())
    write_report(folder, collect_rows(folder))
    return folder


def write_results(folder, rows):
    """Writes the files of rows that the report reads."""
    random = np.random.default_rng(0)
    for _, row in rows.iterrows():
        measured = folder / row["path"]
        measured.mkdir(parents=True)
        samples = measured.parents[1]
        blocks = random.integers(0, 256, (30, 4, 4, 1), np.uint8)
        np.save(samples / "samples.npy", blocks.repeat(7, axis=1).repeat(7, axis=2))
        numbers = {}
        if row["status"] != "sanity":
            histogram = random.multinomial(5000, np.full(10, 0.1)).tolist()
            details = {"generated_histogram": histogram, "real_histogram": [500] * 10}
            numbers = {"mode_coverage": {"values": {}, "details": details}}
            (samples / "latency.json").write_text('{"batch_1": [0.5]}')
            _write_run(samples.parents[1], row)
        known = {key: value for key, value in row.items() if key != "path" and pd.notna(value)}
        content = {"row": known, "numbers": numbers}
        (measured / "metrics.json").write_text(json.dumps(content, default=float))
    first = (folder / rows["path"][0]).parents[1]
    for name in ("process.gif", "grid.png"):
        Image.new("L", (4, 4)).save(first / name)


def _write_run(folder, row):
    model = row["model"]
    steps = np.arange(1, 101)
    names = {"dcgan": ["generator_loss", "discriminator_loss", "loss"]}.get(model, ["loss"])
    losses = {name: 1.0 / steps + index for index, name in enumerate(names)}
    counts = {"step": steps, "images_seen": 64 * steps, "seconds": 0.75 * steps}
    history = pd.DataFrame({**counts, **losses})
    validated = history.index % 20 == 19
    history.loc[validated, f"validation_{row['headline']}"] = 30.0 / steps[validated]
    history.to_csv(folder / "history.csv", index=False)
    environment = {"device": "a processor", "versions": {"keras": "3.15.0"}}
    state = {"state": "x", "environment": environment, "stage_seconds": {"training": 75.0}}
    state["validation"] = {"instrument": row["kid_encoder"], "sampler": row["sampler"]}
    (folder / "run.json").write_text(json.dumps(state))
    (folder / "config.yaml").write_text(f"model: {{name: {model}}}\n")
    (folder / "weights.npz").write_bytes(b"heavy")

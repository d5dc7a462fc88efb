"""Results that look like those of real runs, and a results folder around them."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmark.results import COLUMNS

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
        "kid_std": 0.0011,
        "num_modes": 10,
        "modes_covered": 10,
        "mode_kl_floor": 0.0009,
        "num_samples": 5000,
        "protocol": PROTOCOL,
        "device": "cpu",
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
    trained = [
        _row(
            model=model, sampler=sampler, status="finished", network_passes=passes,
            latency_ms_per_pass_p50=ms / passes, latency_ms_per_image_p50=ms,
            images_per_second=2600 / ms, kid_mean=kid, coverage=coverage, precision=0.8,
            rejected_share=0.05, mode_kl=0.0123, num_parameters=1_120_000, train_seconds=1214.0,
            run=run, path=f"runs/mnist/{model}/{run}/samplers/{sampler}",
        )
        for model, sampler, passes, ms, kid, coverage, run in TRAINED
    ]  # fmt: skip
    sanity = [
        _row(
            model=model, sampler="", status="sanity", kid_mean=kid, coverage=coverage,
            path=f"sanity/mnist/0123456789abcdef/{model}",
        )
        for model, kid, coverage in SANITY
    ]  # fmt: skip
    return pd.DataFrame([*trained, *sanity], columns=COLUMNS)


@pytest.fixture
def external_row():
    """The row of samples made elsewhere: quality and diversity, no speed."""
    return pd.DataFrame(
        [
            _row(
                model="my_model", sampler="external", status="finished", seed=None,
                kid_mean=0.02, coverage=0.7, run="e0e0e0e0", device="",
                path="external/mnist/my_model/e0e0e0e0", notes="samples made elsewhere",
            )
        ],
        columns=COLUMNS,
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
        columns=COLUMNS,
    )


@pytest.fixture
def results_dir(tmp_path, rows):
    """A results folder with the files of `rows` that the report reads."""
    random = np.random.default_rng(0)
    for row in rows.itertuples():
        folder = tmp_path / row.path
        folder.mkdir(parents=True)
        blocks = random.integers(0, 256, (12, 4, 4, 1), np.uint8)
        np.save(folder / "samples.npy", blocks.repeat(7, axis=1).repeat(7, axis=2))
        if row.status == "sanity":
            continue
        histogram = random.multinomial(5000, np.full(10, 0.1)).tolist()
        details = {"generated_histogram": histogram, "real_histogram": [500] * 10}
        text = json.dumps({"details": {"mode_coverage": details}})
        (folder / "metrics.json").write_text(text)
        _write_run(folder.parents[1], row.model)
    (tmp_path / rows["path"][0] / "process.gif").write_bytes(b"GIF89a")
    return tmp_path


def _write_run(folder, model):
    steps = np.arange(1, 101)
    names = {"dcgan": ["generator_loss", "discriminator_loss", "loss"]}.get(model, ["loss"])
    losses = {name: 1.0 / steps + index for index, name in enumerate(names)}
    history = pd.DataFrame({"step": steps, "images_seen": 64 * steps, **losses})
    history.to_csv(folder / "history.csv", index=False)
    environment = {"device": "a processor", "versions": {"keras": "3.15.0"}}
    state = {"state": "x", "environment": environment, "stage_seconds": {"training": 75.0}}
    (folder / "run.json").write_text(json.dumps(state))

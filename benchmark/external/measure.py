"""Samples made elsewhere: read -> evaluate -> report."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import console, results
from benchmark.drawing import figures
from benchmark.drawing.pictures import GRID_COLUMNS, write_neighbours
from benchmark.external.samples import Samples
from benchmark.provenance import environment
from benchmark.results import Folder, digest, hash_arrays
from benchmark.run import build_judge, check_device, measure_sanity, report

SAMPLER = "external"  # what the row has in the place of a sampler


def evaluate(parts: Any, dataset: Any, samples: Samples) -> pd.DataFrame:
    """Measures samples as those of a run are measured, where it is not done yet, and reports.

    Args:
        parts: The `benchmark.cli.Parts` of the evaluation.
        dataset: The `ImageDataset` that they are compared with.
        samples: `num_samples` images of its shape.

    Returns:
        The rows of the results folder.
    """
    settings = parts.settings
    check_device(settings["device"])
    judge = build_judge(parts, dataset)
    sha256 = hash_arrays({"samples": samples.images})
    # What chooses the table is in the key, the code that measures is not: another preset adds a
    # row, a newer version of a metric replaces one.
    key = digest([samples.name, sha256, settings["preset"], judge.protocol, dataset.fingerprint])
    folder = results.external_folder(settings["results_dir"], dataset.name, samples.name, key)
    with folder.lock():
        if folder.read_json("metrics.json").get("key") == judge.key and not settings["force"]:
            console.say("these samples are measured already; force=true does it again")
        else:
            console.stage(f"Measuring {samples.name}")
            measure(parts, samples, judge, folder, sha256)
    measure_sanity(settings, dataset, judge)
    rows = report(settings, dataset, judge, folder)
    warn_of_namesakes(rows, folder, settings["results_dir"])
    return rows


def measure(parts, samples: Samples, judge, folder: Folder, sha256: str) -> None:
    """Writes the row of the samples, with their first images and where they come from."""
    settings = parts.settings
    scores = judge.scores(samples.images)
    shown = samples.images[: GRID_COLUMNS**2]
    folder.write_array("samples.npy", shown)
    folder.write_image("grid.png", figures.image_grid(shown, columns=GRID_COLUMNS))
    write_neighbours(folder, samples.images, scores.details.get("memorisation"), judge.dataset)
    source = {"file": samples.stored, "num_images": len(samples.images), "sha256": sha256}
    folder.write_json("run.json", {"source": source, "environment": environment()})
    made_elsewhere = f"samples made elsewhere ({samples.stored}): speed not measured"
    row = {
        **judge.description,
        **scores.values,
        "dataset": judge.dataset.name,
        "model": samples.name,
        "sampler": SAMPLER,
        "preset": settings["preset"],
        "status": "finished",
        "num_samples": len(samples.images),
        "run": folder.path.name[:8],
        "overrides": " ".join(parts.overrides),
        "notes": "; ".join(
            filter(None, [made_elsewhere, *samples.warnings, *parts.overrides, scores.notes])
        ),
    }
    folder.write_json("metrics.json", {"key": judge.key, "row": row, "details": scores.details})


def warn_of_namesakes(rows: pd.DataFrame, folder: Folder, results_dir: str) -> None:
    """Says when other samples of the same name stand in the same table."""
    run = folder.path.name[:8]
    ours = rows[(rows["sampler"] == SAMPLER) & (rows["run"] == run)].iloc[0]
    alike = ["dataset", "model", "sampler", "preset", "protocol"]
    others = rows[(rows[alike] == ours[alike]).all(axis=1) & (rows["run"] != run)]
    for _, other in others.iterrows():
        console.say(
            f"warning: {ours['model']} is also the name of other samples, run {other['run']}; "
            f"these are run {run}. Both rows are kept: give name=<another> to tell them apart, or "
            f"remove the folder {Path(results_dir) / other['path']} to drop the other",
            style="yellow",
        )

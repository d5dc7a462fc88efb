"""Samples made elsewhere: read -> measure -> report."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import console
from benchmark.acceleration import check_device
from benchmark.drawing import figures
from benchmark.drawing.pictures import GRID_COLUMNS, write_neighbours
from benchmark.evaluation import Evaluator, build_evaluator
from benchmark.external.samples import Samples
from benchmark.features import FEATURES
from benchmark.measurement import (
    NUM_SHOWN,
    Subject,
    is_measured,
    measure,
    measure_sanity_rows,
    write_row,
)
from benchmark.provenance import environment
from benchmark.report.terminal import report
from benchmark.results import MEASUREMENTS, digest, external_folder, hash_arrays

SAMPLER = "external"  # in the row, in place of a sampler


def evaluate(builder: Any, dataset: Any, samples: Samples) -> pd.DataFrame:
    """Measures samples like those of a run, unless that is already done, and reports.

    Args:
        builder: The `benchmark.cli.RunBuilder` of the evaluation.
        dataset: The `ImageDataset` that they are compared with.
        samples: `num_samples` images of its shape.

    Returns:
        The rows of the results folder.
    """
    settings = builder.settings
    check_device(settings["device"])
    evaluator = build_evaluator(builder, dataset)
    sha256, results_dir = hash_arrays({"samples": samples.images}), settings["results_dir"]
    key = digest([samples.name, sha256, dataset.fingerprint])
    folder = external_folder(results_dir, dataset.name, samples.name, key)
    subject = Subject(folder, samples.images)
    with folder.lock():
        if settings["force"]:
            for name in (MEASUREMENTS, FEATURES):
                folder.remove(name)
        if is_measured(evaluator, subject, settings["preset"]):
            console.say("these samples have already been measured; force=true measures them again")
        else:
            console.stage(f"Measuring {samples.name}")
            measure_samples(builder, samples, subject, evaluator, sha256)
    measure_sanity_rows(evaluator, results_dir)
    run = key[:8]
    rows = report(
        results_dir,
        dataset=dataset.name,
        protocol=evaluator.protocol,
        run=run,
        draws=not builder.in_sweep,
    )
    console.say(str(folder.path))
    warn_of_namesakes(rows, run, results_dir)
    return rows


def measure_samples(
    builder: Any, samples: Samples, subject: Subject, evaluator: Evaluator, sha256: str
) -> None:
    """Writes the row of the samples, with their first images and where they come from."""
    settings, folder = builder.settings, subject.folder
    measured = measure(evaluator, subject, settings["preset"])
    shown = samples.images[:NUM_SHOWN]
    folder.write_array("samples.npy", shown)
    folder.write_image("grid.png", figures.image_grid(shown, columns=GRID_COLUMNS))
    details = measured.details("memorisation")
    write_neighbours(folder, samples.images, details, evaluator.dataset)
    source = {"file": samples.stored, "num_images": len(samples.images), "sha256": sha256}
    folder.write_json("run.json", {"source": source, "environment": environment()})
    row = {
        "model": samples.name,
        "sampler": SAMPLER,
        "preset": settings["preset"],
        "status": "finished",
        "run": folder.path.name[:8],
        "overrides": " ".join(builder.overrides),
    }
    made_elsewhere = f"samples made elsewhere ({samples.stored}): speed not measured"
    notes = [made_elsewhere, *samples.warnings, *builder.overrides]
    write_row(evaluator, subject, measured, row, preset=settings["preset"], notes=notes)


def warn_of_namesakes(rows: pd.DataFrame, run: str, results_dir: str) -> None:
    """Warns if the same table has other samples of the same name."""
    ours = rows[(rows["sampler"] == SAMPLER) & (rows["run"] == run)]
    alike = ["dataset", "model", "sampler", "preset", "protocol"]
    others = rows.merge(ours[alike].drop_duplicates(), on=alike)
    for other in others[others["run"] != run].to_dict("records"):
        folder = Path(results_dir).joinpath(*Path(other["path"]).parts[:4])
        console.say(
            f"warning: {other['model']} is also the name of other samples, run {other['run']}; "
            f"these are run {run}. Both rows are kept: give name=<another> to distinguish them, or "
            f"remove the folder {folder} to drop the other",
            style="yellow",
        )

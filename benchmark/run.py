"""One run: train -> sample -> evaluate -> report."""

import time
from typing import Any

import keras
import numpy as np
import pandas as pd

from benchmark import console, figures, results, tables
from benchmark.errors import EnvironmentProblem, UserError
from benchmark.evaluation import SANITY_ROWS, Judge
from benchmark.provenance import TRAINED_CODE, code_version, environment
from benchmark.report import write_report
from benchmark.results import Folder, RunFolder, digest
from benchmark.sampling import sample
from benchmark.training import load_weights, train, weights
from models.base import Illustration, to_uint8

GRID_COLUMNS = 10
NUM_SHOWN = 5000
PROCESS_COLUMNS, PROCESS_FRAMES = 5, 40


def run(parts: Any) -> pd.DataFrame:
    """Trains, samples, evaluates and reports what `parts` describes, where it is not done yet.

    Args:
        parts: The `benchmark.cli.Parts` of the run.

    Returns:
        The rows of the results folder.
    """
    settings = parts.settings
    check_device(settings["device"])
    dataset = parts.load_dataset()
    methods = parts.build_methods()
    judge = build_judge(parts, dataset)
    folder = run_folder(settings, dataset)
    announce(settings, dataset, methods, judge, folder)
    if is_finished(folder, methods, judge) and not settings["force"]:
        console.say("this run is finished already; force=true does it again")
    else:
        start = time.perf_counter()
        # Graphs are ordered by the names of layers, which count up within a process: starting
        # anew makes the last bit of the weights a function of the seed alone.
        keras.utils.clear_session()
        model = parts.build_model(dataset.train_images.shape[1:])
        with folder.lock():
            if settings["force"]:
                folder.clear()
            if trained(parts, model, dataset, folder):
                for method in methods:
                    measure(parts, model, method, judge, folder)
        console.say(f"this run took {console.duration(time.perf_counter() - start)}")
    measure_sanity(settings, dataset, judge)
    return report(settings, dataset, judge, folder)


def build_judge(parts, dataset) -> Judge:
    """The instruments; refuses before training what they could not measure after it."""
    settings, metrics = parts.settings, parts.build_metrics()
    available = min(settings["num_samples"], len(dataset.train_images))
    for name, metric in metrics.items():
        if available < metric.minimum_samples:
            raise UserError(
                f"metric.{name} needs at least {metric.minimum_samples} images on each side. "
                f"Received: num_samples={settings['num_samples']} and "
                f"{len(dataset.train_images)} training images"
            )
    return Judge(
        dataset,
        encoder=parts.build_encoder(),
        metrics=metrics,
        metric_settings=settings["metric"],
        num_samples=settings["num_samples"],
        cache=Folder(settings["cache_dir"]),
    )


def run_folder(settings, dataset) -> RunFolder:
    """The folder whose name is a hash of everything that determines the weights."""
    key = digest(
        [
            settings["model"],
            settings["training"],
            settings["seed"],
            dataset.fingerprint,
            code_version(TRAINED_CODE),
        ]
    )
    return RunFolder(settings["results_dir"], dataset.name, settings["model"]["name"], key)


def announce(settings, dataset, methods, judge, folder) -> None:
    """Says what will be done, and where the results go."""
    console.stage(f"{settings['model']['name']} on {dataset.name}, preset={settings['preset']}")
    training = settings["training"]
    num_images = training["num_steps"] * training["batch_size"]
    console.say(
        f"training: {training['num_steps']} steps of {training['batch_size']} images "
        f"({num_images / len(dataset.train_images):.1f} times the training set)"
    )
    names = ", ".join(method.name for method in methods)
    console.say(f"sampling: {settings['num_samples']} images by each of: {names}")
    console.say(f"encoder: {judge.encoder.label}")
    console.say(f"run folder: {folder.path}")


def is_finished(folder, methods, judge) -> bool:
    """Whether all rows of this run are there, measured as they would be now."""
    if folder.state.get("status") == "diverged":
        return True
    rows = [folder.sampler(method.name).read_json("metrics.json") for method in methods]
    return all(row.get("key") == judge.key for row in rows)


def trained(parts, model, dataset, folder) -> bool:
    """Loads the final weights, or trains them if there are none; false if that diverged."""
    settings = parts.settings
    arrays = folder.read_arrays("weights.npz")
    if arrays is not None:
        load_weights(model, arrays)
        return True
    num_parameters = sum(np.prod(variable.shape, dtype=int) for variable in model.weights)
    console.stage(f"Training {model.name}: {num_parameters:,} parameters")
    folder.write_config(settings)
    folder.update_state(status="training", environment=environment())
    training = train(
        model,
        dataset,
        run=folder,
        seed=settings["seed"],
        **settings["training"],
    )
    folder.write_history(training.history)
    folder.update_state(train_seconds=training.seconds)
    if training.diverged:
        console.say(f"diverged: {training.diverged}", style="bold red")
        row = {**row_of(parts, dataset, folder), "status": "diverged"}
        folder.update_state(status="diverged", row={**row, "notes": training.diverged})
        return False
    folder.write_image("loss.png", figures.loss_curves(pd.DataFrame(training.history), title=""))
    for name, picture in model.illustrate(*shown_images(dataset)).items():
        folder.write_image(f"{name}.png", figures.illustration(picture))
    folder.update_state(facts=model.facts(shown_images(dataset)[0]))
    folder.write_arrays("weights.npz", weights(model))
    folder.update_state(status="trained")
    folder.remove("checkpoints")
    return True


def shown_images(dataset) -> tuple[np.ndarray, np.ndarray]:
    """The first test images and their labels, which the model's pictures are made with."""
    count = min(NUM_SHOWN, len(dataset.test_images))
    return dataset.test_images[:count], dataset.test_labels[:count]


def measure(parts, model, method, judge, folder) -> None:
    """Samples by one method and writes its row, scores, timings and pictures."""
    settings, target = parts.settings, folder.sampler(method.name)
    if target.read_json("metrics.json").get("key") == judge.key:
        return
    console.stage(f"Sampling {method.name}: {settings['num_samples']} images")
    sampler = model.sampler(method)
    images = sample(
        sampler,
        folder=target,
        num_samples=settings["num_samples"],
        batch_size=settings["sampling"]["batch_size"],
    )
    shown = images[grid_order(sampler, len(images))]
    target.write_image("grid.png", figures.image_grid(shown, columns=GRID_COLUMNS))
    for name, illustration in sampler.illustrate().items():
        target.write_image(f"{name}.png", figures.illustration(illustration))
    if sampler.network_passes > 1:
        target.write_image("process.gif", process_animation(sampler))

    console.stage(f"Measuring {method.name}")
    scores = judge.scores(images, sampler)
    write_neighbours(target, images, scores, judge.dataset)
    latency = scores.details.pop("latency", {})
    target.write_json("latency.json", latency)
    busy = [f"the host was busy: {reason}" for reason in latency.get("busy_reasons", [])]
    row = {
        **row_of(parts, judge.dataset, folder),
        **judge.description,
        **scores.values,
        "sampler": method.name,
        "status": "finished",
        "sample_seconds": target.read_json("samples.json")["seconds"],
        "notes": "; ".join(filter(None, [scores.notes, *busy])),
    }
    target.write_json("metrics.json", {"key": judge.key, "row": row, "details": scores.details})


def grid_order(sampler, num_samples: int) -> np.ndarray:
    """Which samples the grid shows: the first ones; with classes, a row for each of ten."""
    labels = sampler.labels(0, num_samples)
    if labels is None:
        return np.arange(min(num_samples, GRID_COLUMNS**2))
    rows = [np.flatnonzero(labels == label)[:GRID_COLUMNS] for label in range(GRID_COLUMNS)]
    return np.concatenate(rows)


def write_neighbours(target, images, scores, dataset) -> None:
    """Draws the samples that are likeliest copied beside their nearest training images."""
    found = scores.details.get("memorisation")
    if not found:
        return
    neighbours = dataset.train_images[np.ravel(found["neighbours"])]
    neighbours = neighbours.reshape(*np.shape(found["neighbours"]), *images.shape[1:])
    picture = Illustration(
        images=np.concatenate([images[found["samples"]][:, None], neighbours], axis=1),
        row_labels=tuple(f"{ratio:.2f}" for ratio in found["ratios"]),
        column_labels=("sample", *map(str, range(1, neighbours.shape[1] + 1))),
        x_label="nearest training images",
        y_label="distance / spacing",
    )
    target.write_image("neighbours.png", figures.illustration(picture))


def row_of(parts, dataset, folder) -> dict[str, Any]:
    """The entries of a row that are known before anything is measured."""
    settings, state = parts.settings, folder.state
    return {
        "dataset": dataset.name,
        "model": settings["model"]["name"],
        "sampler": "",
        "preset": settings["preset"],
        "seed": settings["seed"],
        "num_samples": settings["num_samples"],
        "train_seconds": state.get("train_seconds"),
        "run": folder.path.name[:8],
        "overrides": " ".join(parts.overrides),
        "device": state.get("environment", {}).get("device", ""),
        **state.get("facts", {}),
    }


def measure_sanity(settings, dataset, judge) -> None:
    """Measures the rows whose scores are known beforehand, once for each way of measuring."""
    for name in SANITY_ROWS:
        folder = results.sanity_folder(settings["results_dir"], dataset.name, judge.key, name)
        if folder.read_json("metrics.json").get("key") == judge.key:
            continue
        console.stage(f"Measuring {name.replace('_', ' ')}")
        images = judge.sanity_images(name)
        scores = judge.scores(images)
        folder.write_array("samples.npy", images[: GRID_COLUMNS**2])
        row = {
            **judge.description,
            **scores.values,
            "dataset": dataset.name,
            "model": name,
            "sampler": "",
            "preset": settings["preset"],
            "seed": settings["seed"],
            "status": "sanity",
            "num_samples": len(images),
            "notes": scores.notes,
        }
        folder.write_json("metrics.json", {"key": judge.key, "row": row, "details": scores.details})


def report(settings, dataset, judge, folder) -> pd.DataFrame:
    """Derives the tables and figures from all run folders, and shows this run's rows."""
    console.stage("Writing the report")
    root = Folder(settings["results_dir"])
    with root.waiting_lock("report"):
        rows = results.collect_rows(settings["results_dir"])
        paths = write_report(settings["results_dir"], rows)
    ours = rows[(rows["run"] == folder.path.name[:8]) | (rows["status"] == "sanity")]
    ours = ours[(ours["dataset"] == dataset.name) & (ours["protocol"].isin([judge.protocol, ""]))]
    for group in tables.group_rows(ours):
        for table in tables.summarize(tables.build_table(group)):
            console.table(table.titles, table.right, table.body, table.sanity)
    for path in paths:
        if path.suffix in (".md", ".html", ".csv"):
            console.say(str(path))
    console.say(str(folder.path))
    return rows


def process_animation(sampler) -> bytes:
    """A GIF of the reverse process: noise -> images."""
    latents, seeds = sampler.inputs(0, PROCESS_COLUMNS**2)
    last = sampler.network_passes - 1
    indices = np.unique(np.linspace(0, last, PROCESS_FRAMES).astype(int))
    frames = sampler.trajectory(latents, seeds, indices.tolist())
    start = np.clip(latents, -1.0, 1.0)[None]
    return figures.animation(
        to_uint8(np.concatenate([start, frames])),
        columns=PROCESS_COLUMNS,
        frame_ms=80,
        hold_ms=2000,
    )


def check_device(device: str) -> None:
    if device != "gpu":
        return
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise EnvironmentProblem("device=gpu, but TensorFlow finds no GPU; see device=auto")

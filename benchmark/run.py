"""One run: train -> sample -> evaluate -> report."""

import itertools
from typing import Any

import keras
import numpy as np
import pandas as pd

from benchmark import console, machine, results
from benchmark.acceleration import Acceleration, choose, has_gpu
from benchmark.devices import build_on_devices, num_devices
from benchmark.drawing import figures
from benchmark.drawing.pictures import GRID_COLUMNS, write_neighbours, write_pictures
from benchmark.errors import EnvironmentProblem, UserError
from benchmark.evaluation import SANITY_ROWS, Judge
from benchmark.provenance import TRAINED_CODE, code_version, environment
from benchmark.report import tables
from benchmark.report.page import write_report
from benchmark.results import Folder, RunFolder, digest
from benchmark.sampling import sample
from benchmark.stages import OF_SAMPLERS, summary, timed
from benchmark.training import load_weights, train, weights
from benchmark.validation import Validation

NUM_SHOWN = 5000
TRAIN_OPTIONS = ("batch_size", "num_steps", "num_checkpoints")


def run(parts: Any) -> pd.DataFrame:
    """Trains, samples, evaluates and reports what `parts` describes, where it is not done yet.

    Args:
        parts: The `benchmark.cli.Parts` of the run.

    Returns:
        The rows of the results folder.
    """
    settings = parts.settings
    check_device(settings["device"])
    acceleration = choose_acceleration(settings)
    idle, start = machine.place.idle_seconds, machine.working_seconds()
    dataset = parts.load_dataset()
    loaded = machine.working_seconds()
    model = build_model(parts, dataset, acceleration)  # it refuses what it cannot be trained on
    methods = parts.build_methods()
    judge = build_judge(parts, dataset)
    folder = run_folder(settings, dataset, num_devices(model))
    announce(settings, dataset, methods, judge, folder)
    console.say(acceleration.describe())
    prepared = machine.working_seconds()
    rows = list(itertools.product(checkpoints(settings), methods))
    with folder.lock():
        if is_finished(folder, rows, judge) and not settings["force"]:
            console.say("this run is finished already; force=true does it again")
            measure_sanity(settings, dataset, judge)
            return report(settings, dataset, judge, folder)
        if settings["force"]:
            folder.clear()
        folder.add_seconds("data", loaded - start)
        folder.add_seconds("instruments", prepared - loaded)
        if trained(parts, model, judge, folder):
            for checkpoint, method in rows:
                measure(parts, model, method, checkpoint, judge, folder)
        with timed(folder, "sanity rows"):
            measure_sanity(settings, dataset, judge)
        with timed(folder, "report"):
            table = report(settings, dataset, judge, folder)
        if waited := round(machine.place.idle_seconds - idle):  # free locks take milliseconds
            folder.add_seconds("waiting", waited)
        console.say(summary(folder.state["stage_seconds"]))
    return table


def choose_acceleration(settings) -> Acceleration:
    """Settles what `auto` is on this machine; what training takes is part of the run's key."""
    acceleration = choose(settings)
    settings["training"]["jit"] = acceleration.training_jit
    settings["training"]["precision"] = acceleration.precision
    return acceleration


def build_model(parts, dataset, acceleration) -> keras.Model:
    """The untrained model; refuses images, classes and batches that it is not made for."""
    num_classes = parts.settings["model"].get("num_classes")
    if num_classes not in (None, dataset.num_classes):
        fits = f"{dataset.num_classes}, the classes of {dataset.name}, or null"
        if dataset.num_classes is None:
            fits = f"null, as {dataset.name} has no labels"
        raise UserError(
            f"`model.num_classes` must be {fits}. Received: model.num_classes={num_classes}"
        )
    # Graphs are ordered by the names of layers, which count up within a process: starting anew
    # makes the last bit of the weights a function of the seed alone.
    keras.utils.clear_session()
    training = parts.settings["training"]
    with acceleration.building():
        model = build_on_devices(
            training["strategy"], lambda: parts.build_model(dataset.image_shape)
        )
    acceleration.apply(model)
    count = num_devices(model)
    if training["batch_size"] % (model.batch_multiple * count):
        devices = f" on {count} devices" if count > 1 else ""
        raise UserError(
            f"`training.batch_size` must be a multiple of {model.batch_multiple * count} for "
            f"model={model.name}{devices}. Received: training.batch_size={training['batch_size']}"
        )
    return model


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


def run_folder(settings, dataset, num_devices) -> RunFolder:
    """The folder whose name is a hash of everything that determines the weights.

    `training.validation` is part of it, as it determines the best weights. The encoder in which
    validation measures is not: another one finds the weights again, and run.json says which chose.
    """
    key = digest(
        [
            settings["model"],
            settings["training"],
            settings["seed"],
            num_devices,
            keras.backend.backend(),
            dataset.fingerprint,
            code_version(TRAINED_CODE),
        ]
    )
    return RunFolder(settings["results_dir"], dataset.name, settings["model"]["name"], key)


def announce(settings, dataset, methods, judge, folder) -> None:
    """Says what will be done, and where the results go."""
    console.stage(f"{settings['model']['name']} on {dataset.name}, preset={settings['preset']}")
    training, validation = settings["training"], settings["training"]["validation"]
    num_images = training["num_steps"] * training["batch_size"]
    console.say(
        f"training: {training['num_steps']} steps of {training['batch_size']} images "
        f"({num_images / len(dataset.train_images):.1f} times the training set)"
    )
    if validation["every"] is not None:
        console.say(
            f"validation: KID of {validation['num_samples']} images, every "
            f"{validation['every']} of {training['num_checkpoints']} checkpoints"
        )
    names = ", ".join(method.name for method in methods)
    which = " and ".join(checkpoints(settings))
    console.say(
        f"sampling: {settings['num_samples']} images with the {which} weights by each of: {names}"
    )
    console.say(f"encoder: {judge.encoder.label}")
    console.say(f"run folder: {folder.path}")


def checkpoints(settings) -> tuple[str, ...]:
    """Which weights are sampled: the last ones, the best by validation KID, or both."""
    checkpoint = settings["sampling"]["checkpoint"]
    return ("last", "best") if checkpoint == "both" else (checkpoint,)


def is_finished(folder, rows, judge) -> bool:
    """Whether all rows of this run are there, measured as they would be now."""
    if folder.state.get("status") == "diverged":
        return True
    folders = [folder.sampler(method.name, checkpoint) for checkpoint, method in rows]
    return all(found.read_json("metrics.json").get("key") == judge.key for found in folders)


def trained(parts, model, judge, folder) -> bool:
    """Trains the weights if there are none yet; false if that diverged."""
    if folder.has_weights:
        return True
    settings, dataset = parts.settings, judge.dataset
    num_parameters = sum(np.prod(variable.shape, dtype=int) for variable in model.weights)
    console.stage(f"Training {model.name}: {num_parameters:,} parameters")
    folder.write_config(settings)
    devices = {"num_devices": num_devices(model)}
    folder.update_state(status="training", environment={**environment(), **devices})
    with timed(folder, "validation"):
        validation = build_validation(parts, model, judge)
    training = train(
        model,
        dataset,
        run=folder,
        seed=settings["seed"],
        validation=validation,
        **{name: settings["training"][name] for name in TRAIN_OPTIONS},
    )
    folder.write_history(training.history)
    folder.update_state(train_seconds=training.seconds)
    if training.diverged:
        console.say(f"diverged: {training.diverged}", style="bold red")
        row = {**row_of(parts, dataset, folder), "status": "diverged"}
        folder.update_state(status="diverged", row={**row, "notes": training.diverged})
        return False
    if training.best:
        folder.write_arrays(folder.WEIGHTS["best"], training.best.weights)
        folder.update_state(best=training.best.description)
    with timed(folder, "pictures"):
        losses = figures.loss_curves(pd.DataFrame(training.history), title="")
        folder.write_image("loss.png", losses)
        for name, picture in model.illustrate(*shown_images(dataset)).items():
            folder.write_image(f"{name}.png", figures.illustration(picture))
    folder.update_state(facts=model.facts(shown_images(dataset)[0]))
    folder.write_arrays("weights.npz", weights(model))
    folder.update_state(status="trained")
    folder.remove("checkpoints")
    return True


def build_validation(parts, model, judge) -> Validation | None:
    """What chooses the best weights, where it is asked for."""
    options = parts.settings["training"]["validation"]
    if options["every"] is None:
        return None
    return Validation(
        model,
        dataset=judge.dataset,
        encoder=judge.encoder,
        cache=judge.cache,
        method=parts.build_validation_method(),
        every=options["every"],
        num_samples=options["num_samples"],
        batch_size=parts.settings["sampling"]["batch_size"],
    )


def shown_images(dataset) -> tuple[np.ndarray, np.ndarray]:
    """The first test images and their labels, which the model's pictures are made with."""
    count = min(NUM_SHOWN, len(dataset.test_images))
    return dataset.test_images[:count], dataset.test_labels[:count]


def measure(parts, model, method, checkpoint, judge, folder) -> None:
    """Samples by one method and writes its row, scores, timings and pictures."""
    settings, target = parts.settings, folder.sampler(method.name, checkpoint)
    if target.read_json("metrics.json").get("key") == judge.key:
        return
    name = target.path.name
    console.stage(f"Sampling {name}: {settings['num_samples']} images")
    load_weights(model, folder.read_weights(checkpoint))
    sampler = model.sampler(method)
    with timed(folder, "sampling", name):
        images = sample(
            sampler,
            folder=target,
            num_samples=settings["num_samples"],
            batch_size=settings["sampling"]["batch_size"],
        )
    with timed(folder, "pictures"):
        write_pictures(target, images, sampler)

    console.stage(f"Measuring {name}")
    scores = judge.scores(images, sampler)
    for stage, seconds in scores.seconds.items():
        folder.add_seconds(stage, seconds, name if stage in OF_SAMPLERS else "")
    with timed(folder, "pictures"):
        write_neighbours(target, images, scores.details.get("memorisation"), judge.dataset)
    latency = scores.details.pop("latency", {})
    target.write_json("latency.json", latency)
    busy = [f"the host was busy: {reason}" for reason in latency.get("busy_reasons", [])]
    row = {
        **row_of(parts, judge.dataset, folder),
        **judge.description,
        **scores.values,
        "sampler": method.name,
        "checkpoint": checkpoint,
        "status": "finished",
        "sample_seconds": target.read_json("samples.json")["seconds"],
        "notes": "; ".join(filter(None, [scores.notes, *busy])),
    }
    target.write_json("metrics.json", {"key": judge.key, "row": row, "details": scores.details})


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
        with folder.waiting_lock("row"):  # another run may be measuring it
            if folder.read_json("metrics.json").get("key") != judge.key:
                measure_sanity_row(name, settings, dataset, judge, folder)


def measure_sanity_row(name, settings, dataset, judge, folder) -> None:
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


def check_device(device: str) -> None:
    if device == "gpu" and not has_gpu():
        backend = keras.backend.backend()
        raise EnvironmentProblem(f"device=gpu, but {backend} finds no GPU; see device=auto")

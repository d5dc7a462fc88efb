"""One run: train -> sample -> measure -> report."""

from typing import Any

import keras
import numpy as np
import pandas as pd

from benchmark import console, machine
from benchmark.acceleration import Acceleration, check_device, choose
from benchmark.checkpoints import CHECKPOINTS
from benchmark.continuation import take_start, take_weights
from benchmark.devices import build_on_devices, num_devices
from benchmark.disk import check_disk, needed_bytes
from benchmark.drawing.losses import loss_curves
from benchmark.drawing.pictures import write_illustrations, write_neighbours, write_pictures
from benchmark.errors import UserError
from benchmark.evaluation import Evaluator, build_evaluator
from benchmark.learning import SHARDS, build_pictures, write_animation
from benchmark.measurement import (
    Subject,
    is_measured,
    measure,
    measure_sanity_rows,
    write_failed_row,
    write_row,
)
from benchmark.memory import check_batch_fits
from benchmark.outcomes import (
    check_divergence,
    forget_failure,
    record_environment,
    recorded_failure,
)
from benchmark.provenance import computing, environment, trained_version
from benchmark.report.columns import column
from benchmark.report.terminal import report
from benchmark.results import RunFolder, digest
from benchmark.sampling import (
    NotFinite,
    build_samplings,
    checkpoints,
    sample,
    sample_seconds,
    sampler_seed,
    samples_key,
    stored_samples,
)
from benchmark.stages import OF_SAMPLERS, summary, timed
from benchmark.teacher import take_teacher
from benchmark.tensorboard import EVENTS, EventWriter
from benchmark.training import load_weights, train, weights
from benchmark.training_cost import cost_notes, train_cost
from benchmark.validation import build_validation

NUM_SHOWN = 5000
TRAIN_OPTIONS = ("batch_size", "num_steps", "num_checkpoints")


def run(builder: Any) -> RunFolder:
    """Trains, samples, measures and reports what `builder` describes; skips what is already done.

    Args:
        builder: The `benchmark.cli.RunBuilder` of the run.

    Returns:
        The run's folder.

    Raises:
        Divergence: If training diverged to NaN or infinite values; a row records it.
    """
    settings = builder.settings
    check_device(settings["device"])
    acceleration = choose_acceleration(settings)
    idle, began = machine.place.idle_seconds, machine.working_seconds()
    dataset = builder.load_dataset()
    loaded = machine.working_seconds()
    named = [name for name in ("start_from", "teacher") if settings[name]]
    teacher = take_teacher(settings, dataset.name)
    start = take_start(settings, dataset.name)
    builder.overrides += [f"{name}={settings[name][:8]}" for name in named]  # keys by now
    model = build_model(builder, dataset, acceleration)  # rejects what it cannot train on
    samplings = build_samplings(builder)
    evaluator = build_evaluator(builder, dataset)
    folder = run_folder(settings, dataset, num_devices(model))
    announce(settings, evaluator, samplings, folder)
    console.say(acceleration.describe())
    for warning in model.warnings():
        console.say(f"warning: {warning}", style="yellow")
    prepared = machine.working_seconds()
    with folder.lock():
        if settings["force"]:
            folder.clear()
        forget_failure(folder)
        if is_finished(builder, model, samplings, evaluator, folder):
            console.say("this run is already finished; force=true repeats it")
            measure_sanity_rows(evaluator, settings["results_dir"])
            show(builder, evaluator, folder)
            check_divergence(folder)
            return folder
        with recorded_failure(folder, lambda: row_of(builder, dataset, folder)):
            folder.add_seconds("data", loaded - began)
            folder.add_seconds("instruments", prepared - loaded)
            if not folder.has_weights:
                check_disk(folder.path, needed_bytes(model, samplings, settings["num_samples"]))
                take_weights(model, folder, teacher, start)
            if trained(builder, model, evaluator, folder):
                for sampling in samplings:
                    sample_and_measure(builder, model, sampling, evaluator, folder)
            with timed(folder, "sanity rows"):
                measure_sanity_rows(evaluator, settings["results_dir"])
            with timed(folder, "report"):
                show(builder, evaluator, folder)
            if waited := round(machine.place.idle_seconds - idle):  # free locks take milliseconds
                folder.add_seconds("waiting", waited)
        console.say(summary(folder.state["stage_seconds"]))
        check_divergence(folder)
    return folder


def choose_acceleration(settings) -> Acceleration:
    """Resolves `auto` for this machine; the choices for training are part of the run's key."""
    acceleration = choose(settings)
    settings["training"]["jit"] = acceleration.training_jit
    settings["training"]["precision"] = acceleration.precision
    return acceleration


def build_model(builder, dataset, acceleration) -> keras.Model:
    """Builds the untrained model; rejects images, classes and batches that do not fit it."""
    num_classes = builder.settings["model"].get("num_classes")
    if num_classes not in (None, dataset.num_classes):
        fits = f"{dataset.num_classes}, the classes of {dataset.name}, or null"
        if dataset.num_classes is None:
            fits = f"null, as {dataset.name} has no labels"
        raise UserError(
            f"`model.num_classes` must be {fits}. Received: model.num_classes={num_classes}"
        )
    # Graphs are ordered by layer names, which count up within a process. Resetting the counters
    # makes the weights, to the last bit, a function of the seed alone.
    keras.utils.clear_session()
    training = builder.settings["training"]
    with acceleration.building():
        model = build_on_devices(
            training["strategy"], lambda: builder.build_model(dataset.image_shape)
        )
    acceleration.apply(model)
    count = num_devices(model)
    if training["batch_size"] % (model.batch_multiple * count):
        devices = f" on {count} devices" if count > 1 else ""
        raise UserError(
            f"`training.batch_size` must be a multiple of {model.batch_multiple * count} for "
            f"model={model.name}{devices}. Received: training.batch_size={training['batch_size']}"
        )
    check_batch_fits(model, training["batch_size"])
    return model


def run_folder(settings, dataset, num_devices) -> RunFolder:
    """The folder whose name is a hash of everything that determines the weights.

    `training.validation` is part of it, as it determines the best weights. The instrument that
    validation measures with is not: with another one, the stored weights are found again, and
    run.json says which one chose them. Nor is `training.pictures_every`, which changes no weight.
    """
    training = {
        name: value for name, value in settings["training"].items() if name != "pictures_every"
    }
    key = digest(
        [
            settings["model"],
            training,
            settings["seed"],
            num_devices,
            keras.backend.backend(),
            dataset.fingerprint,
            trained_version(settings["model"]),
            *filter(None, [settings["teacher"], settings["start_from"]]),
        ]
    )
    return RunFolder(settings["results_dir"], dataset.name, settings["model"]["name"], key)


def announce(settings, evaluator, samplings, folder) -> None:
    """Says what will be done, and where the results go."""
    dataset = evaluator.dataset
    console.stage(f"{settings['model']['name']} on {dataset.name}, preset={settings['preset']}")
    training, validation = settings["training"], settings["training"]["validation"]
    num_images = training["num_steps"] * training["batch_size"]
    console.say(
        f"training: {training['num_steps']} steps of {training['batch_size']} images "
        f"({num_images / len(dataset.train_images):.1f} times the training set)"
    )
    if validation["every"] is not None:
        console.say(
            f"validation: {column(evaluator.description['headline']).name} of "
            f"{validation['num_samples']} images, every "
            f"{validation['every']} of {training['num_checkpoints']} checkpoints"
        )
    names = ", ".join(dict.fromkeys(sampling.method.name for sampling in samplings))
    which, seeds = " and ".join(checkpoints(settings)), settings["sampling"]["seeds"]
    times = f", with {seeds} seeds each" if seeds > 1 else ""
    console.say(
        f"sampling: {settings['num_samples']} images with the {which} weights for each of: "
        f"{names}{times}"
    )
    console.say(f"encoder: {evaluator.encoder.label}")
    console.say(f"run folder: {folder.path}")


def is_finished(builder, model, samplings, evaluator, folder) -> bool:
    """Whether all rows of this run exist and are still valid."""
    if folder.state.get("status") == "diverged":
        return True
    for sampling in samplings:
        key = samples_key(sampling.method, sampler_seed(model.seed, sampling.seed))
        images = stored_samples(sampling.folder(folder), key)
        if images is None or len(images) < evaluator.num_samples:
            return False
        subject = build_subject(model, sampling, images[: evaluator.num_samples], folder)
        if not is_measured(evaluator, subject, builder.settings["preset"]):
            return False
    return True


def build_subject(model, sampling, images, folder) -> Subject:
    """The subject to measure for a set of samples; only the first sampling seed is timed."""
    sampler = model.sampler(sampling.method)
    speed = {
        "run": folder.path.name,
        "checkpoint": sampling.checkpoint,
        "samples": samples_key(sampling.method, model.seed),
        "jit": [sampler.image_jit, sampler.batch_jit],
        "precision": sampler.network.dtype_policy.name,
        **computing(),
    }
    return Subject(
        folder=sampling.folder(folder),
        images=images,
        labels=sampler.labels(0, len(images)),
        sampler=sampler if sampling.seed == 0 else None,
        speed=speed,
    )


def trained(builder, model, evaluator, folder) -> bool:
    """Trains the weights if there are none yet; returns false if training diverged."""
    if folder.has_weights:
        return True
    settings, dataset = builder.settings, evaluator.dataset
    num_parameters = sum(np.prod(variable.shape, dtype=int) for variable in model.weights)
    console.stage(f"Training {model.name}: {num_parameters:,} parameters")
    folder.write_config(settings)
    record_environment(folder, {**environment(), "num_devices": num_devices(model)})
    folder.update_state(overrides=builder.overrides)
    with timed(folder, "validation"):
        validation = build_validation(builder, model, evaluator)
    if validation:
        folder.update_state(validation=validation.description)
    pictures = build_pictures(builder, model, folder)
    training = train(
        model,
        dataset,
        run=folder,
        seed=settings["seed"],
        validation=validation,
        pictures=pictures,
        events=EventWriter(folder.path / EVENTS),
        **{name: settings["training"][name] for name in TRAIN_OPTIONS},
    )
    folder.write_history(training.history)
    folder.update_state(train_seconds=training.seconds, images_seen=training.images_seen)
    if pictures:
        with timed(folder, "pictures"):
            write_animation(folder)
    if training.diverged:
        console.say(f"diverged: {training.diverged}", style="bold red")
        row = {**row_of(builder, dataset, folder), "status": "diverged"}
        folder.update_state(status="diverged", row={**row, "notes": training.diverged})
        folder.remove(SHARDS)
        return False
    if training.best:
        folder.write_arrays(folder.WEIGHTS["best"], training.best.weights)
        folder.update_state(best=training.best.description)
    with timed(folder, "pictures"):
        losses = loss_curves(pd.DataFrame(training.history), title="")
        folder.write_image("loss.png", losses)
        write_illustrations(folder, model.illustrate(*shown_images(dataset)))
    with timed(folder, "facts"):
        folder.update_state(facts=model.facts(*shown_images(dataset)))
    folder.write_arrays("weights.npz", weights(model))
    folder.update_state(status="trained")
    folder.remove(CHECKPOINTS)
    folder.remove(SHARDS)
    return True


def shown_images(dataset) -> tuple[np.ndarray, np.ndarray]:
    """The first test images and their labels, used for the model's pictures."""
    count = min(NUM_SHOWN, len(dataset.test_images))
    return dataset.test_images[:count], dataset.test_labels[:count]


def sample_and_measure(builder, model, sampling, evaluator, folder) -> None:
    """Samples in one way and writes the row, the timings and the pictures of the samples."""
    settings, target = builder.settings, sampling.folder(folder)
    name = target.path.name
    console.stage(f"Sampling {name}: {settings['num_samples']} images")
    load_weights(model, folder.read_weights(sampling.checkpoint))
    sampler = model.sampler(sampling.method)
    sampler.seed = sampler_seed(settings["seed"], sampling.seed)
    key = samples_key(sampling.method, sampler.seed)
    found = stored_samples(target, key)
    row = {
        **row_of(builder, evaluator.dataset, folder),
        "sampler": sampling.method.name,
        "checkpoint": sampling.checkpoint,
        "sampling_seed": sampling.seed,
    }
    try:
        with timed(folder, "sampling", name):
            images = sample(
                sampler,
                folder=target,
                num_samples=settings["num_samples"],
                batch_size=settings["sampling"]["batch_size"],
                key=key,
            )
    except NotFinite as problem:
        console.say(f"warning: {problem}", style="yellow")
        write_failed_row(evaluator, target, row, preset=settings["preset"], reason=str(problem))
        return
    if found is None or len(found) < len(images) or not target.has("grid.png"):
        with timed(folder, "pictures"):
            write_pictures(target, images, sampler)

    console.stage(f"Measuring {name}")
    subject = build_subject(model, sampling, images, folder)
    measured = measure(evaluator, subject, settings["preset"])
    for stage, seconds in measured.seconds.items():
        folder.add_seconds(stage, seconds, name if stage in OF_SAMPLERS else "")
    if "memorisation" in measured.anew or not target.has("neighbours.png"):
        with timed(folder, "pictures"):
            details = measured.details("memorisation")
            write_neighbours(target, images, details, evaluator.dataset)
    row |= {"status": "finished", "sample_seconds": sample_seconds(target, len(images))}
    notes = cost_notes(folder.state)
    write_row(evaluator, subject, measured, row, preset=settings["preset"], notes=notes)


def row_of(builder, dataset, folder) -> dict[str, Any]:
    """The entries of a row that are known before anything is measured."""
    settings, state = builder.settings, folder.state
    return {
        "dataset": dataset.name,
        "model": settings["model"]["name"],
        "sampler": "",
        "preset": settings["preset"],
        "seed": settings["seed"],
        "run": folder.path.name[:8],
        "overrides": " ".join(builder.overrides),
        "num_samples": settings["num_samples"],
        **train_cost(state),
        "validation_sampler": state.get("validation", {}).get("sampler", ""),
        **state.get("facts", {}),
    }


def show(builder, evaluator: Evaluator, folder: RunFolder) -> None:
    """Shows this run's rows; also writes the report, unless a sweep does at its end."""
    report(
        builder.settings["results_dir"],
        dataset=evaluator.dataset.name,
        protocol=evaluator.protocol,
        run=folder.path.name[:8],
        draws=not builder.in_sweep,
    )
    console.say(str(folder.path))

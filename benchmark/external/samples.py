"""Samples made elsewhere: found, named, read and checked before anything costly is imported."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import console
from benchmark.errors import UserError
from benchmark.evaluation import SANITY_ROWS, draw
from benchmark.external.arrays import HOW_TO_SAVE, read_array
from benchmark.external.checks import check_contrast, suspicions, to_images
from benchmark.external.pictures import SUFFIXES, read_folder

LONGEST_NAME = 64
FEWEST_FOR_A_PLAN = 50  # below it, smaller KID subsets would be meaningless


@dataclass(frozen=True, eq=False)
class Samples:
    """Images that something else made, ready to be measured.

    Attributes:
        name: What the row's model is called.
        source: The path, as it was given.
        stored: File or folder, without its path, and how the images are stored in it.
        images: As read; uint8 `(N, height, width, channels)` once they fit a dataset.
        remarks: What was done to read them; does not change the scores.
        warnings: What a reader of the scores should know.
        is_folder: Whether they were image files.
        first_colored: The first such file that is not grey, if any.
    """

    name: str
    source: str
    stored: str
    images: np.ndarray
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_folder: bool = False
    first_colored: str | None = None


def take_samples(builder: Any) -> tuple[Any, Samples]:
    """Finds the samples that `builder` names, and the dataset they fit.

    Args:
        builder: The `benchmark.cli.RunBuilder` of the evaluation.

    Returns:
        The `ImageDataset`, and `num_samples` images of its shape.

    Raises:
        UserError: If there are no such samples; the message says how to fix them.
    """
    settings = builder.settings
    name = choose_name(settings["name"], settings["samples"])
    console.stage(f"{name}: samples made elsewhere, preset={settings['preset']}")
    samples = read_samples(settings["samples"], name)
    dataset = builder.load_dataset()
    samples = choose(fit(samples, dataset), settings)
    shape = "x".join(map(str, samples.images.shape[1:]))
    console.say(f"{len(samples.images):,} images of {shape} from {samples.stored}")
    for remark in samples.remarks:
        console.say(remark)
    for warning in samples.warnings:
        console.say(f"warning: {warning}", style="yellow")
    return dataset, samples


def choose_name(name: str | None, source: str) -> str:
    """The name of the row: the given one, or one taken from the file's or folder's name.

    Raises:
        UserError: If it is not a valid folder name, or is the name of a sanity row.
    """
    path = Path(source).expanduser().resolve()
    stem = path.name if path.is_dir() else path.stem
    chosen = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).lstrip("_.-") if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", chosen) or len(chosen) > LONGEST_NAME:
        raise UserError(
            f"`name` must be 1 to {LONGEST_NAME} letters, digits, `_`, `.`, `-`, and begin with a "
            f"letter or digit. Received: {chosen if name is not None else stem}. Give name=<name>"
        )
    if chosen in SANITY_ROWS:
        raise UserError(
            f"`name` must not be one of {', '.join(SANITY_ROWS)}, the rows that check the "
            f"measurement. Received: {chosen}. Give name=<another>"
        )
    return chosen


def read_samples(source: str, name: str) -> Samples:
    """Reads a `.npz` or `.npy` file or a folder of images.

    Args:
        source: The path.
        name: What the row is called.

    Returns:
        `Samples` in the shape in which they are stored.

    Raises:
        UserError: If nothing is there, or something else, or samples that are not uint8 images.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        pictures = read_folder(path)
        return Samples(
            name, source, pictures.stored, pictures.images, pictures.remarks, pictures.warnings,
            is_folder=True, first_colored=pictures.first_colored,
        )  # fmt: skip
    kinds = f"a .npz or .npy file, or a folder of images ({', '.join(SUFFIXES)})"
    if not path.exists():
        raise UserError(f"`samples` must be {kinds}. Received: {source}, which does not exist")
    if path.suffix.lower() in SUFFIXES:
        raise UserError(f"`samples` must be {kinds}. Received: {source}, a single image")
    if path.suffix.lower() not in (".npz", ".npy") or not path.is_file():
        raise UserError(
            f"`samples` must be {kinds}. Received: {source}. From Python, with x as uint8 "
            f"(N, height, width, channels): {HOW_TO_SAVE}"
        )
    images, stored = read_array(path)
    return Samples(name, source, stored, images)


def fit(samples: Samples, dataset: Any) -> Samples:
    """Checks samples against the dataset that they are compared with.

    Args:
        samples: As they were read.
        dataset: An `ImageDataset`.

    Returns:
        The samples as `(N, height, width, channels)`, with remarks and warnings added.

    Raises:
        UserError: If their shape is not that of the dataset's images, or they are black.
    """
    samples = _fit_channels(samples, dataset)
    images, remarks = to_images(samples.images, dataset, samples.source)
    check_contrast(images, samples.source)
    return replace(
        samples,
        images=images,
        remarks=samples.remarks + remarks,
        warnings=samples.warnings + suspicions(images, dataset),
    )


def _fit_channels(samples: Samples, dataset: Any) -> Samples:
    """Takes one channel of grey files that are stored as RGB; arrays are left to their author."""
    given, expected = samples.images.shape[-1], dataset.image_shape[-1]
    if not samples.is_folder or given == expected:
        return samples
    if expected == 3:
        raise UserError(
            f"{samples.source}: {dataset.name} has colours. Received: grey images; if that is "
            "intended, save them as image.convert('RGB')"
        )
    if samples.first_colored:
        raise UserError(
            f"{samples.source}: {dataset.name} is grey. Received: colour images, such as "
            f"{samples.first_colored}; save them as image.convert('L')"
        )
    remark = "grey images stored as RGB: their equal channels are taken as one"
    return replace(samples, images=samples.images[..., :1], remarks=(*samples.remarks, remark))


def choose(samples: Samples, settings: dict[str, Any]) -> Samples:
    """Takes as many samples as the table's rows have, drawn without replacement if there are more.

    Args:
        samples: All samples.
        settings: The configuration; `num_samples`, `seed` and the metrics' subset sizes are used.

    Returns:
        Samples of `num_samples` images, with a warning if they were drawn.

    Raises:
        UserError: If there are too few; the error names options that would work.
    """
    count, needed = len(samples.images), settings["num_samples"]
    if count < needed:
        raise UserError(
            f"{samples.source} holds {count:,} images, and preset={settings['preset']} compares "
            f"num_samples={needed}, as all rows of a table must have the same number. "
            f"{_plan(count, settings)}"
        )
    if count == needed:
        return samples
    drawn = f"{needed:,} of {count:,} samples, drawn with seed {settings['seed']}"
    return replace(
        samples,
        images=draw(samples.images, needed, settings["seed"]),
        warnings=(*samples.warnings, drawn),
    )


def _plan(count: int, settings: dict[str, Any]) -> str:
    """The options with which so few samples can be measured, in a separate table."""
    if count < FEWEST_FOR_A_PLAN:
        return "Make more"
    options = [f"num_samples={count}"]
    for name, metric in settings["metric"].items():
        if (metric.get("subset_size") or 0) > count:
            options.append(f"metric.{name}.subset_size={count // 2}")
    return f"Make more, or compare fewer in a separate table: {' '.join(options)}"

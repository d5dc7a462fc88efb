"""`python -m benchmark.sample`: images of a trained model in seconds, without training.

The weights come with the program, or from the folder of a run.
"""

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import cli, console, interruption
from benchmark.errors import UserError
from benchmark.files import Folder
from benchmark.pretrained import PACKAGED, load, set_weights, weights_of
from benchmark.stored_results import StoredRun
from benchmark.teacher import run_folder_of
from benchmark.tool import command, whole_number

USAGE = """\
Usage: python -m benchmark.sample model=ddpm [count=64] [out=grid.png] [seed=0] [sampler=ddim-25]
       python -m benchmark.sample run=<run folder> [count=64] [out=grid.png] [seed=0] [sampler=...]
Draws with weights that come with the program, or with those of a run, without training. A file
that ends in .npy holds the images themselves, uint8 (count, height, width, channels)."""
DEFAULTS = {"count": "64", "out": "grid.png", "seed": "0", "sampler": ""}
BATCH = 100
MOST = 1_000_000


def usage() -> str:
    """How the command is used, and what it can draw from."""
    return f"{USAGE}\nWeights in the package: {', '.join(PACKAGED) or 'none in this version'}"


@command(usage)
def main(arguments: list[str]) -> None:
    """Runs `python -m benchmark.sample`."""
    options = parse(arguments)
    cli.choose_device({"device": "auto"})
    cli.import_backend()
    with interruption.handled():
        draw(options)


def parse(arguments: list[str]) -> dict[str, Any]:
    """The options, with `model` or `run`.

    Raises:
        UserError: If they do not match `USAGE`.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    known = {*DEFAULTS, "model", "run"}
    if not all(given.values()) or given.keys() - known or len({"model", "run"} & given.keys()) != 1:
        raise UserError(f"cannot read the arguments {' '.join(arguments)}. {USAGE}")
    options: dict[str, Any] = {**DEFAULTS, **given}
    for name, least in {"count": 1, "seed": 0}.items():
        options[name] = whole_number(name, options[name], least, MOST)
    if Path(options["out"]).suffix not in (".png", ".npy"):
        raise UserError(f"`out` must end in .png or .npy. Received: out={options['out']}")
    return options


def draw(options: dict[str, Any]) -> None:
    """Builds the model, samples, and writes the images."""
    from benchmark.sampling import sample_within_memory
    from models.base import to_uint8

    settings, image_shape, weights = found(options)
    builder = cli.RunBuilder({**settings, "seed": options["seed"]}, ())
    model = builder.build_model(image_shape)
    methods = {method.name: method for method in builder.build_methods()}
    name = options["sampler"] or next(iter(methods))
    if name not in methods:
        raise UserError(f"`sampler` must be one of {', '.join(methods)}. Received: sampler={name}")
    sampler = model.sampler(methods[name])
    set_weights(sampler, weights)
    began, images = time.perf_counter(), []
    with console.progress("image", options["count"]) as show:
        for start in range(0, options["count"], BATCH):
            inputs = sampler.inputs(start, min(BATCH, options["count"] - start))
            images.append(to_uint8(sample_within_memory(sampler, *inputs)))
            show(start + len(images[-1]))
    seconds = time.perf_counter() - began
    path = write(Path(options["out"]), np.concatenate(images))
    passes = f"{sampler.network_passes} pass{'es' * (sampler.network_passes > 1)}"
    console.say(
        f"{path}: {options['count']} images of {model.name} by {name}, {passes} each, "
        f"in {console.duration(seconds)}"
    )


def found(options: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, ...], list[np.ndarray]]:
    """The configuration, the shape of an image and the weights that the options name."""
    if "model" in options:
        settings, weights = load(options["model"])
        return settings, tuple(settings["image_shape"]), weights
    settings, image_shape, model = trained(Path(options["run"]))
    builder = cli.RunBuilder(settings, ())
    return settings, image_shape, weights_of(model.sampler(builder.build_methods()[0]))


def trained(path: Path) -> tuple[dict[str, Any], tuple[int, ...], Any]:
    """The configuration of a finished run, the shape of its images, and its model with weights.

    Raises:
        UserError: If it is not the folder of a finished run.
    """
    from benchmark.training import load_weights

    run = StoredRun(path.resolve())
    settings = run.trusted_config()
    if not settings or not run_folder_of(run.path).has_weights:
        raise UserError(f"'{path}' is not the folder of a finished run")
    builder = cli.RunBuilder(settings, ())
    image_shape = builder.load_dataset().image_shape
    model = builder.build_model(image_shape)
    load_weights(model, run_folder_of(run.path).read_weights("last"))
    return settings, image_shape, model


def write(path: Path, images: np.ndarray) -> Path:
    """Writes images as a grid or as an array."""
    from benchmark.drawing.figures import image_grid

    folder = Folder(path.parent)
    if path.suffix == ".npy":
        folder.write_array(path.name, images)
    else:
        columns = math.ceil(math.sqrt(len(images)))
        folder.write_image(path.name, image_grid(images, columns=columns))
    return path


if __name__ == "__main__":
    sys.exit(main())

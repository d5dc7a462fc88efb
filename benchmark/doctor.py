"""`python -m benchmark.doctor`: checks that a machine has what runs need, and suggests fixes."""

import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from benchmark import cli, console
from benchmark import config as configuration
from benchmark.datasets.fashion_mnist import DEBIAN
from benchmark.datasets.tfds_builder import find_builder
from benchmark.errors import EnvironmentProblem, UserError
from benchmark.files import free_bytes
from benchmark.machine import GPUS, num_gpus, num_seats
from benchmark.tool import command
from metrics.encoders import is_imagenet_cached
from metrics.host import physical_bytes, processor_name, usable_processors

USAGE = "Usage: python -m benchmark.doctor [results_dir=<folder>] [cache_dir=<folder>]"
DISTRIBUTION = "generative-trilemma-benchmark"
OPTIONAL = {  # groups of pyproject.toml by what they are for
    "sweep": "several runs at once, on this machine or by Slurm",
    "hpo": "a search of options with Optuna",
    "tensorboard": "training curves in TensorBoard",
}
BYTES_OF_A_RUN = 10**9  # ample for `quick`
FETCHED = ("cifar10", "oxford_flowers102", "celeb_a", "fashion_mnist")
OK, NOTE, PROBLEM = "ok", "note", "problem"
STYLES = {OK: "green", NOTE: "yellow", PROBLEM: "bold red"}


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        kind: `ok`, `note` (some runs will lack something) or `problem` (no run will work).
        text: What was found.
        fix: What to do; empty if there is nothing to do.
    """

    kind: str
    text: str
    fix: str = ""


@command(USAGE)
def main(arguments: list[str]) -> int:
    """Runs `python -m benchmark.doctor`; returns 0, or 3 if a problem was found."""
    folders = parse(arguments)
    checks = {
        "Software": check_software,
        "Processors and GPUs": check_devices,
        "Memory and disk": lambda: check_room(folders),
        "Data and weights that need no network": check_data,
        "What runs choose on this machine": check_choices,
    }
    problems = 0
    for title, check in checks.items():
        console.stage(title)
        for finding in check():
            show(finding)
            problems += finding.kind == PROBLEM
    if problems:
        console.stage(f"To fix before a run can work: {problems} of the above")
        return 3
    console.stage("Ready: python -m benchmark model=vae")
    return 0


def parse(arguments: list[str]) -> dict[str, str]:
    """The folders that runs will use.

    Raises:
        UserError: If an argument does not match `USAGE`.
    """
    folders = {"results_dir": "results", "cache_dir": configuration.user_cache_dir()}
    options = dict(argument.partition("=")[::2] for argument in arguments)
    if options.keys() - folders.keys() or not all(options.values()):
        raise UserError(f"cannot read the arguments {' '.join(arguments)}. {USAGE}")
    return {**folders, **options}


def show(finding: Finding) -> None:
    mark = f"[{STYLES[finding.kind]}]{finding.kind:>7}[/]"
    console.console.print(f"  {mark}  ", end="")
    console.console.print(finding.text, markup=False, soft_wrap=True)
    if finding.fix:
        console.say(f"         {finding.fix}", style="bold")


def check_software() -> Iterator[Finding]:
    """Python and the packages that the project names."""
    yield Finding(OK, f"Python {sys.version.split()[0]}, {sys.executable}")
    try:
        requirements = list(map(Requirement, importlib.metadata.requires(DISTRIBUTION) or []))
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            NOTE,
            "the benchmark runs from its folder and is not installed: packages are not checked",
            "pip install -e . -c constraints.txt",
        )
        return
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate()]
    wrong = [text for each in needed if (text := _what_is_wrong(each))]
    for text in wrong:
        yield Finding(PROBLEM, text, "pip install -e . -c constraints.txt")
    if not wrong:
        names = ("tensorflow", "keras", "numpy", "hydra-core")
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
        yield Finding(OK, f"all {len(needed)} packages are installed: {versions}, ...")
    for group, purpose in OPTIONAL.items():
        of_group = [
            each for each in requirements if each.marker and each.marker.evaluate({"extra": group})
        ]
        lacking = [
            text for each in of_group if each not in needed and (text := _what_is_wrong(each))
        ]
        if lacking:
            yield Finding(
                NOTE,
                f"optional, for {purpose}: {'; '.join(lacking)}",
                f"pip install -e '.[{group}]' -c constraints.txt",
            )


def _what_is_wrong(requirement: Requirement) -> str:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} is installed, but {requirement.specifier} is needed"
    return ""


def check_devices() -> Iterator[Finding]:
    """The processors, the backend and the GPUs."""
    count = len(usable_processors())
    yield Finding(OK, f"{count} processor{'s' * (count > 1)}: {processor_name()}")
    try:
        cli.choose_device({"device": "auto"})
    except (UserError, EnvironmentProblem) as error:
        yield Finding(PROBLEM, str(error), "unset KERAS_BACKEND, or install its package")
        return
    cli.import_backend()
    yield check_gpu()


def check_gpu() -> Finding:
    """Whether there is a GPU, whether the backend can use it, and if not, why."""
    import keras

    from benchmark.acceleration import has_gpu
    from metrics.host import describe_device

    backend, present = keras.backend.backend(), len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    if has_gpu():
        return Finding(OK, f"{backend} computes on a GPU: {describe_device()['device']}")
    if not present:
        return Finding(OK, f"no Nvidia GPU and driver; {backend} computes on the processors")
    if not num_gpus():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        return Finding(
            NOTE, f"CUDA_VISIBLE_DEVICES={hidden} hides the GPU", "unset CUDA_VISIBLE_DEVICES"
        )
    if backend == "jax":
        return Finding(NOTE, "there is a GPU, but JAX does not use it", "pip install 'jax[cuda12]'")
    import tensorflow as tf

    reason = (
        "TensorFlow does not find its CUDA libraries, or the driver is too old for them"
        if tf.test.is_built_with_cuda()
        else "this TensorFlow is built without CUDA"
    )
    fix = "pip install -e '.[gpu]' -c constraints.txt; nvidia-smi shows the driver"
    return Finding(NOTE, f"there is a GPU, but TensorFlow does not use it: {reason}", fix)


def check_room(folders: dict[str, str]) -> Iterator[Finding]:
    """The memory, and the disks of the folders that runs write to."""
    if memory := physical_bytes():
        kind = OK if memory >= 4 * 2**30 else NOTE
        fix = "" if kind == OK else "preset=quick takes up to 3 GiB; close other programs"
        yield Finding(kind, f"{memory / 2**30:.1f} GiB of memory", fix)
    for key, folder in folders.items():
        yield check_folder(key, Path(folder))


def check_folder(key: str, folder: Path) -> Finding:
    """Whether a folder can be written, and how much space its disk has."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    change = f"choose another folder: {key}=<folder>"
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        return Finding(PROBLEM, f"{key}: {folder} cannot be written ({error.strerror})", change)
    free = free_bytes(folder)
    text = f"{key}: {folder}, {free / 1e9:,.1f} GB free"
    return Finding(NOTE, text, change) if free < BYTES_OF_A_RUN else Finding(OK, text)


def check_data() -> Iterator[Finding]:
    """The datasets and weights that are already available."""
    yield Finding(OK, "embedded: mnist, stacked_mnist, sample_picture, an InceptionV3, classifiers")
    if DEBIAN.is_dir():
        yield Finding(OK, f"fashion_mnist: {DEBIAN}")
    ready = [name for name in FETCHED if find_builder(name, None).is_prepared()]
    if ready:
        yield Finding(OK, f"prepared by TensorFlow Datasets: {', '.join(ready)}")
    there = [*ready, *["fashion_mnist"] * DEBIAN.is_dir()]
    if missing := [name for name in FETCHED if name not in there]:
        yield Finding(
            NOTE, f"fetched at first use: {', '.join(missing)}",
            f"with a network: python -m benchmark.prepare dataset={missing[0]}",
        )  # fmt: skip
    if is_imagenet_cached():
        yield Finding(OK, "ImageNet weights of InceptionV3, which preset=standard prefers")
    else:
        yield Finding(
            NOTE,
            "no ImageNet weights of InceptionV3: without a network, preset=standard uses the "
            "embedded ones",
            "with a network: python -m benchmark.prepare preset=standard",
        )


def check_choices() -> Iterator[Finding]:
    """What `auto` resolves to; nothing without a backend."""
    if "keras" not in sys.modules:
        return
    from benchmark.acceleration import choose

    auto = {"training": {"jit": "auto", "precision": "auto"}, "sampling": {"jit": "auto"}}
    yield Finding(OK, choose(auto).describe())
    yield Finding(OK, f"up to {num_seats()} runs at a time; others wait")


if __name__ == "__main__":
    sys.exit(main())

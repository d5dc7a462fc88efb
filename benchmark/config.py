"""The schemas of the configurations and the checks that need no model and no data."""

import difflib
import importlib.resources
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import OverrideParseException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from benchmark.errors import EnvironmentProblem, UserError
from benchmark.sampler_checks import check_samplers, in_other_numbers_of_steps

PRESETS = ("smoke", "quick", "standard", "paper")
DEVICES = ("auto", "cpu", "gpu")
CHECKPOINTS = ("last", "best", "both")
JITS = ("auto", True, False)
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
STRATEGIES = ("none", "mirrored")


@dataclass
class ValidationConfig:
    """How validation finds the best weights, and every how many checkpoints (`null`: never)."""

    every: int | None = MISSING
    num_samples: int = MISSING
    sampler: Any = None  # the model's own way to sample


@dataclass
class TrainingConfig:
    """The training's length, batches, devices and checkpoints.

    `pictures_every` counts checkpoints (`null`: never).
    """

    batch_size: int = MISSING
    num_steps: int = MISSING
    num_checkpoints: int = MISSING
    jit: Any = MISSING
    precision: str = MISSING
    strategy: str = MISSING
    pictures_every: int | None = MISSING
    validation: ValidationConfig = field(default_factory=ValidationConfig)


@dataclass
class SamplingConfig:
    """Which weights are sampled, with how many seeds and steps, and images per call."""

    checkpoint: str = MISSING
    seeds: int = MISSING
    num_steps: list[int] | None = MISSING
    batch_size: int = MISSING
    jit: Any = MISSING


@dataclass
class MeasurementConfig:
    """The keys of runs and evaluations. The options of a part are its constructor's arguments."""

    preset: str = MISSING
    seed: int = MISSING
    num_samples: int = MISSING
    num_reference_images: int = MISSING
    results_dir: str = MISSING
    cache_dir: str = MISSING
    force: bool = MISSING
    device: str = MISSING
    dataset: Any = MISSING
    encoder: Any = MISSING
    metric: Any = field(default_factory=dict)


@dataclass
class RunConfig(MeasurementConfig):
    """The keys of a run of `python -m benchmark`."""

    model: Any = MISSING
    presets: list[str] = field(default_factory=lambda: list(PRESETS))  # the model's presets
    sampler_choices: list[str] = field(default_factory=list)  # options of `sampler` for the model
    teacher: str | None = None
    start_from: str | None = None
    sampler: Any = None
    samplers: list[Any] = field(default_factory=list)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)


@dataclass
class EvaluationConfig(MeasurementConfig):
    """The keys of `python -m benchmark.evaluate`."""

    samples: str = MISSING
    name: str | None = None


def register() -> None:
    """Makes the schemas and the resolvers known to Hydra."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
    ConfigStore.instance().store(name="evaluation_schema", node=EvaluationConfig)
    OmegaConf.register_new_resolver("by_preset", by_preset, replace=True)
    OmegaConf.register_new_resolver("fraction", fraction, replace=True)
    OmegaConf.register_new_resolver("user_cache_dir", user_cache_dir, replace=True)
    OmegaConf.register_new_resolver("options", group_options, replace=True)
    OmegaConf.register_new_resolver("commands", other_commands, replace=True)


def by_preset(values: dict, *, _root_: DictConfig) -> Any:
    """Returns the value for the run's preset, or for the nearest smaller preset that has one."""
    for preset in reversed(PRESETS[: PRESETS.index(_root_.preset) + 1]):
        if preset in values:
            value = values[preset]
            return OmegaConf.create(value) if isinstance(value, list | dict) else value
    raise UserError(f"no value for preset={_root_.preset} among {dict(values)}")


def fraction(part: float, count: int) -> int:
    """Part of a count, rounded up: 5 % of the steps is `${fraction:0.05,${training.num_steps}}`."""
    return math.ceil(part * count)


def user_cache_dir() -> str:
    """The user's cache folder, by the XDG base directory specification."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(root) / "generative-trilemma-benchmark")


def group_options(group: str) -> str:
    """The names of a config group's options, for the help."""
    files = importlib.resources.files("conf").joinpath(group).iterdir()
    return ", ".join(sorted(Path(file.name).stem for file in files if file.name.endswith(".yaml")))


def other_commands() -> str:
    """The other commands, a line each, for the help."""
    from benchmark.commands import COMMANDS  # which imports this module

    width = max(map(len, COMMANDS))
    return "\n".join(f"  {name:{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items())


def validate(config: DictConfig) -> dict[str, Any]:
    """Checks a run's ranges, combinations and folders before anything costly starts.

    Args:
        config: The composed `RunConfig`.

    Returns:
        The configuration as plain, resolved Python containers.

    Raises:
        UserError: If a value or a combination is not allowed.
        EnvironmentProblem: If a folder cannot be written.
    """
    settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if settings["sampler"] is not None:
        settings["samplers"] = [settings["sampler"]]
    settings["samplers"] = in_other_numbers_of_steps(settings)
    check_numbers(settings["training"], "training")
    check_measurement(settings)
    check_preset(settings)
    check_teacher(settings)
    check_acceleration(settings)
    check_samplers(settings)
    check_sampling_seeds(settings["sampling"]["seeds"])
    check_validation(settings)
    return settings


def validate_evaluation(config: DictConfig) -> dict[str, Any]:
    """Checks the configuration of `python -m benchmark.evaluate`, as `validate` does a run's.

    Args:
        config: The composed `EvaluationConfig`.

    Returns:
        The configuration as plain, resolved Python containers.

    Raises:
        UserError: If a value is not allowed, or there are no samples.
        EnvironmentProblem: If a folder cannot be written.
    """
    if OmegaConf.is_missing(config, "samples") or not config.samples:
        raise UserError(
            "`samples` is missing. Give samples=<file.npz, file.npy or folder of images>"
        )
    settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check_measurement(settings)
    return settings


def check_measurement(settings: dict[str, Any]) -> None:
    """Checks the keys that all configurations share."""
    check_numbers(settings)
    check_choices(settings)
    check_sample_count(settings)
    for key in ("results_dir", "cache_dir"):
        check_writable(key, settings[key])


def check_numbers(node: Any, key: str = "") -> None:
    """Rejects negative numbers, counts of zero, and strings in place of counts.

    Means may be negative, and so may levels, which then count from the coarsest, -1.
    """
    name = key.rpartition(".")[2]
    counts = name.startswith("num_") or name.endswith(("_size", "_dim", "widths"))
    if isinstance(node, dict):
        for part, value in node.items():
            check_numbers(value, f"{key}.{part}" if key else part)
    elif isinstance(node, list):
        if name.endswith("widths") and not node:
            raise UserError(f"`{key}` must have at least one level. Received: {key}=[]")
        for value in [] if key.endswith("_levels") else node:
            check_numbers(value, key)
    elif isinstance(node, str) and counts:
        raise UserError(f"`{key}` must be a number. Received: {key}={node}")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        least = 1 if counts else -math.inf if key.endswith("_mean") else 0
        if not node >= least:  # NaN
            allowed = {1: "at least 1", 0: "not negative", -math.inf: "a number"}[least]
            raise UserError(f"`{key}` must be {allowed}. Received: {key}={node}")


def check_choices(settings: dict[str, Any]) -> None:
    if settings["device"] not in DEVICES:
        raise UserError(
            f"`device` must be one of {', '.join(DEVICES)}. Received: device={settings['device']}"
        )
    if settings["seed"] >= 2**32:
        raise UserError(f"`seed` must be below 2**32. Received: seed={settings['seed']}")


def check_preset(settings: dict[str, Any]) -> None:
    """Rejects a preset that the model lacks: `paper` requires that it follows one paper exactly."""
    if settings["preset"] not in settings["presets"]:
        raise UserError(
            f"model={settings['model']['name']} does not follow one paper in every detail and has "
            f"no preset={settings['preset']}; choose one of {', '.join(settings['presets'])}"
        )


def check_teacher(settings: dict[str, Any]) -> None:
    if settings["teacher"] is not None and "teacher" not in settings["model"]:
        raise UserError(
            f"model={settings['model']['name']} has no teacher; model=distilled has. "
            f"Received: teacher={settings['teacher']}"
        )


def check_acceleration(settings: dict[str, Any]) -> None:
    training, sampling = settings["training"], settings["sampling"]
    for key, value, choices in (
        ("training.jit", training["jit"], JITS),
        ("training.precision", training["precision"], PRECISIONS),
        ("training.strategy", training["strategy"], STRATEGIES),
        ("sampling.jit", sampling["jit"], JITS),
    ):
        if value not in choices:
            listed = ", ".join(str(choice).lower() for choice in choices)
            raise UserError(f"`{key}` must be one of {listed}. Received: {key}={value}")


def check_sampling_seeds(seeds: int) -> None:
    if seeds < 1:
        raise UserError(
            "`sampling.seeds`, the number of sets of samples, must be at least 1. "
            f"Received: sampling.seeds={seeds}"
        )


def check_validation(settings: dict[str, Any]) -> None:
    """Checks the options of validation, and that it is on if the best weights are sampled."""
    validation, checkpoint = settings["training"]["validation"], settings["sampling"]["checkpoint"]
    pictures_every = settings["training"]["pictures_every"]
    for key, every in (
        ("validation.every", validation["every"]),
        ("pictures_every", pictures_every),
    ):
        if every is not None and every < 1:
            raise UserError(
                f"`training.{key}` must be at least 1, in checkpoints, or null for never. "
                f"Received: training.{key}={every}"
            )
    if validation["num_samples"] < 2:
        raise UserError(
            "`training.validation.num_samples` must be at least 2, as a Fréchet distance needs a "
            "covariance. "
            f"Received: training.validation.num_samples={validation['num_samples']}"
        )
    if checkpoint not in CHECKPOINTS:
        raise UserError(
            f"`sampling.checkpoint` must be one of {', '.join(CHECKPOINTS)}. "
            f"Received: sampling.checkpoint={checkpoint}"
        )
    if checkpoint != "last" and validation["every"] is None:
        raise UserError(
            f"sampling.checkpoint={checkpoint} needs the best weights, which validation finds: set "
            "training.validation.every=<checkpoints>. Received: training.validation.every=null"
        )


def check_sample_count(settings: dict[str, Any]) -> None:
    """Checks that samples and reference are large enough for the subsets drawn from them."""
    for name, metric in settings["metric"].items():
        if not isinstance(metric, dict):
            raise UserError(
                f"`metric.{name}` must hold a metric's options; ~metric.{name} removes it. "
                f"Received: metric.{name}={metric}"
            )
        subset_size = metric.get("subset_size") or 0
        for key in ("num_samples", "num_reference_images"):
            if settings[key] < subset_size:
                raise UserError(
                    f"`{key}` must be at least metric.{name}.subset_size={subset_size}. "
                    f"Received: {key}={settings[key]}"
                )


def check_writable(key: str, folder: str) -> None:
    """Creates `folder` and a file in it, or says why that is not possible."""
    probe = Path(folder) / f".writable.{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"`{key}` cannot be written: {folder} ({error.strerror}). "
            f"Give another folder: {key}=<folder>"
        ) from None


def explain(error: Exception, schema: type[MeasurementConfig] = RunConfig) -> str:
    """Rewrites Hydra's error as one line; suggests the nearest key for a mistyped one."""
    if isinstance(error, MissingMandatoryValue):
        return f"`{error.full_key}` is missing. Give {error.full_key}=<value>"
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if not equals:
            return f"cannot read the argument {key}; expected {key}=<value>"
        return (
            f"cannot read the argument {error.override}. A value with = , ( ) {{ }} or letters "
            f"beyond ASCII needs quotes inside quotes: '{key}=\"{value}\"'"
        )
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines()]
    typed = re.match(r"Could not override '([^']*)'", lines[0])
    if typed:
        return unknown_key(typed[1], schema)
    noise = ("Config search path", "provider=", "To append", "full_key:", "object_type=")
    lines = [line for line in lines if line and not line.startswith(noise)]
    if "Available options" in str(error):
        sentences = [line for line in lines if " " in line]
        options = [line for line in lines if " " not in line]
        return f"{'. '.join(sentences)} {', '.join(options)}"
    return ". ".join(lines)


def unknown_key(key: str, schema: type[MeasurementConfig]) -> str:
    """Names a mistyped key, the nearest valid one and all valid ones."""
    part, _, option = key.partition(".")
    groups_without_key = {"experiment"} if schema is RunConfig else set()
    keys = sorted({*schema.__dataclass_fields__} | groups_without_key)
    if option and part in keys:
        return f"unknown key '{key}'. --cfg job shows the options of `{part}`"
    near = difflib.get_close_matches(part, keys, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"unknown key '{key}'.{hint} Keys: {', '.join(keys)}"

"""Which samplers a run has, and whether they suit its model: checks of a configuration."""

import importlib.resources
from typing import Any

import yaml

from benchmark.errors import UserError


def in_other_numbers_of_steps(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The samplers, plus each one that takes steps with every number in `sampling.num_steps`."""
    samplers, numbers = list(settings["samplers"]), settings["sampling"]["num_steps"] or []
    if any(num_steps < 1 for num_steps in numbers):
        raise UserError(
            f"each `sampling.num_steps` must be at least 1. Received: sampling.num_steps={numbers}"
        )
    for sampler in settings["samplers"]:
        for num_steps in numbers:
            other = {**sampler, "num_steps": num_steps}
            if "num_steps" in sampler and other not in samplers:
                samplers.append(other)
    return samplers


def check_samplers(settings: dict[str, Any]) -> None:
    """Checks that the samplers are among the model's and stay within its time steps."""
    if not settings["samplers"]:
        raise UserError("`samplers` must name at least one way to sample. Received: samplers=[]")
    model = settings["model"]
    schedule = model.get("schedule")
    check_sampler_choice(settings)
    for sampler in settings["samplers"]:
        check_sampler("sampler", sampler, model)
    training = settings["training"]
    if training["validation"]["every"] is not None or training["pictures_every"] is not None:
        # null: all time steps, where there are any
        sampler = training["validation"]["sampler"] or {
            "num_steps": (schedule or {}).get("num_timesteps", 1)
        }
        check_sampler("training.validation.sampler", sampler, model)


def check_sampler_choice(settings: dict[str, Any]) -> None:
    choices, model = settings["sampler_choices"], settings["model"]["name"]
    if settings["sampler"] is None:
        return
    targets = [group_option("sampler", choice)["_target_"] for choice in choices]
    if settings["sampler"]["_target_"] not in targets:
        listed = ", ".join(f"sampler={choice}" for choice in choices)
        raise UserError(
            f"this sampler is not for model={model}, which has "
            f"{listed or 'one way to sample, without a choice'}. "
            f"Received: {settings['sampler']['_target_'].rpartition('.')[2]}"
        )


def check_sampler(key: str, sampler: dict[str, Any], model: dict[str, Any]) -> None:
    schedule = (model.get("teacher") or model).get("schedule") or {}
    num_steps, num_timesteps = sampler.get("num_steps", 1), schedule.get("num_timesteps")
    if num_steps is None:
        raise UserError(
            f"a continuous schedule has no number of time steps: set {key}.num_steps=<number>"
        )
    if num_timesteps is not None and num_steps > num_timesteps:
        raise UserError(
            f"`{key}.num_steps` must be in 1..{num_timesteps}, the model's time steps "
            f"(model.schedule.num_timesteps). Received: num_steps={num_steps}"
        )
    if sampler.get("variance") == "learned" and not model.get("learned_variance"):
        raise UserError(
            f"`{key}.variance` can be learned only where the model learns it: set "
            "model.learned_variance=true, or variance=fixed_small or fixed_large. "
            "Received: variance=learned"
        )
    if sampler.get("guidance_scale", 1.0) != 1.0 and model.get("num_classes") is None:
        raise UserError(
            f"`{key}.guidance_scale` other than 1 needs a class-conditional model: "
            "model.num_classes=10 for MNIST. "
            f"Received: guidance_scale={sampler['guidance_scale']}"
        )


def group_option(group: str, name: str) -> dict[str, Any]:
    """The content of the file of a config group's option, unresolved."""
    text = importlib.resources.files("conf").joinpath(group, f"{name}.yaml").read_text("utf-8")
    return yaml.safe_load(text)

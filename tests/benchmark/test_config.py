import importlib.util
import inspect
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_method
from omegaconf import OmegaConf

from benchmark import config as configuration
from benchmark.cli import check_backend
from benchmark.commands import COMMANDS
from benchmark.errors import EnvironmentProblem, UserError
from tests.conftest import CONF, options

ROOT = Path(__file__).parents[2]


def command(*arguments, folder=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model=ddpm", "preset=smoke", "model/schedule=cosine", "model.multipliers=[1]"],
        ["model.latent_dim=3", "model=vae", "+metric.more={_target_: some.More, k: 5}"],
        ["~metric.memorisation", "metric=[kid,memorisation]", "sampler=ddim", "sampler.eta=0.5"],
        ["experiment=flowers_ddim_cosine", "training.num_steps=4", "seed=7"],
    ],
)
def test_the_tests_compose_as_hydra_does(compose_config, overrides):
    received = compose_config(*overrides)
    folders = [f"{key}={received[key]}" for key in ("results_dir", "cache_dir")]
    with initialize_config_module("conf", version_base="1.3"):
        expected = compose("config", overrides=[*folders, *overrides])
    containers = [OmegaConf.to_container(config) for config in (received, expected)]
    for container in containers:
        container.pop("hydra", None)
    assert containers[0] == containers[1]
    assert list(containers[0]) == list(containers[1])


@pytest.mark.parametrize("preset", options("preset"))
@pytest.mark.parametrize("model", options("model"))
def test_every_model_composes_with_every_preset_that_it_has(compose_config, model, preset):
    config = compose_config(f"model={model}", f"preset={preset}")
    if preset not in config.presets:
        assert preset == "paper"
        with pytest.raises(UserError, match=f"model={model} .* no preset=paper"):
            configuration.validate(config)
        return
    settings = configuration.validate(config)
    assert settings["preset"] == preset
    assert settings["training"]["num_steps"] >= 1
    assert settings["samplers"]


@pytest.mark.parametrize("dataset", options("dataset"))
def test_every_dataset_gives_all_options_of_its_loader(compose_config, dataset):
    config = compose_config(f"dataset={dataset}", "dataset.name=some")
    given = configuration.validate(config)["dataset"]
    loader = inspect.signature(get_method(given.pop("_target_")))
    assert set(given) == set(loader.parameters)
    loader.bind(**given)


@pytest.mark.parametrize(
    ("preset", "usual", "stacked"),
    [
        ("smoke", 300, 300),
        ("quick", 2000, 2000),
        ("standard", 10_000, 26_000),
        ("paper", 10_000, 26_000),
    ],
)
def test_a_datasets_protocol_says_how_many_samples(compose_config, preset, usual, stacked):
    def num_samples(*overrides):
        return configuration.validate(compose_config(f"preset={preset}", *overrides))["num_samples"]

    assert num_samples("dataset=mnist") == usual
    assert num_samples("dataset=stacked_mnist") == stacked
    assert num_samples("dataset=stacked_mnist", "num_samples=5000") == 5000


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes(compose_config, experiment):
    configuration.validate(compose_config(f"experiment={experiment}"))


def test_ddim_is_the_same_training_as_ddpm(compose_config):
    ddpm, ddim = (configuration.validate(compose_config(f"model={m}")) for m in ("ddpm", "ddim"))
    assert ddpm["model"] == ddim["model"]
    assert ddpm["training"] == ddim["training"]
    ten_steps = {"_target_": "models.samplers.DDIM", "num_steps": 10}
    assert ddim["samplers"] == [ddpm["samplers"][1], ten_steps]


def test_presets_fall_back_to_the_next_smaller_one():
    configuration.register()
    config = OmegaConf.create(
        {"preset": "paper", "value": "${by_preset:{smoke: 1, quick: 2, standard: [3, 4]}}"}
    )
    assert config.value == [3, 4]
    config.preset = "quick"
    assert config.value == 2


@pytest.mark.parametrize("preset", options("preset"))
def test_samples_made_elsewhere_are_measured_as_a_run_of_the_preset(compose_config, preset):
    run = configuration.validate(compose_config(f"preset={preset}"))
    config = compose_config(f"preset={preset}", "samples=any.npz", config_name="evaluate")
    settings = configuration.validate_evaluation(config)
    shared = set(run) & set(settings)
    assert {"preset", "seed", "num_samples", "dataset", "encoder", "metric"} <= shared
    assert {key: settings[key] for key in shared} == {key: run[key] for key in shared}


@pytest.mark.parametrize("overrides", [[], ["samples="]])
def test_an_evaluation_needs_samples(compose_config, overrides):
    config = compose_config(*overrides, config_name="evaluate")
    with pytest.raises(UserError, match="`samples` is missing. Give samples=<"):
        configuration.validate_evaluation(config)


def test_checkpoints_follow_the_preset(compose_config):
    numbers = [
        configuration.validate(compose_config(f"preset={preset}"))["training"]["num_checkpoints"]
        for preset in ("smoke", "quick", "standard", "paper")
    ]
    assert numbers == [4, 20, 100, 200]


def test_validation_follows_preset_and_model(compose_config):
    def plan(*overrides):
        return configuration.validate(compose_config(*overrides))["training"]["validation"]

    assert [plan(f"preset={preset}")["every"] for preset in ("smoke", "quick", "paper")] == [
        2,
        4,
        10,
    ]
    counts = [plan(f"preset={name}")["num_samples"] for name in ("smoke", "quick", "standard")]
    assert counts == [100, 1000, 2000]
    assert plan("model=vae")["sampler"] is None
    assert plan("training.validation.every=null", "model=ddpm")["every"] is None


@pytest.mark.parametrize("preset", configuration.PRESETS)
def test_a_diffusion_model_is_validated_with_a_sampler_of_its_table(compose_config, preset):
    settings = configuration.validate(compose_config("model=ddpm", f"preset={preset}"))
    assert settings["training"]["validation"]["sampler"] in settings["samplers"]


def test_validation_and_pictures_may_be_left_out_where_their_sampler_does_not_fit(compose_config):
    overrides = ["model.schedule.num_timesteps=3", "sampler=ddpm"]
    neither = ["training.validation.every=null", "training.pictures_every=null"]
    for left_out in ([], neither[:1], neither[1:]):
        with pytest.raises(UserError, match="training.validation.sampler.num_steps"):
            configuration.validate(compose_config(*overrides, *left_out))
    configuration.validate(compose_config(*overrides, *neither))


def test_validation_by_all_time_steps_needs_a_schedule_that_has_them(compose_config):
    overrides = ["training.validation.sampler=null", "sampler=ddim"]
    configuration.validate(compose_config(*overrides))
    with pytest.raises(UserError, match="training.validation.sampler.num_steps"):
        configuration.validate(
            compose_config(*overrides, "model/schedule=continuous_cosine", "sampler.num_steps=5")
        )


def test_a_sampler_replaces_the_models_own_list(compose_config):
    config = compose_config("sampler=ddim", "sampler.num_steps=20")
    samplers = configuration.validate(config)["samplers"]
    assert [sampler["num_steps"] for sampler in samplers] == [20]


def test_other_numbers_of_steps_add_rows_of_each_way_that_takes_steps(compose_config):
    settings = configuration.validate(compose_config("sampling.num_steps=[10,4]"))
    named = [(way["_target_"].split(".")[-1], way["num_steps"]) for way in settings["samplers"]]
    assert named == [
        ("DDPM", 100), ("DDIM", 25), ("DPMSolver", 10),
        ("DDPM", 10), ("DDPM", 4), ("DDIM", 10), ("DDIM", 4), ("DPMSolver", 4),
    ]  # fmt: skip
    config = compose_config("model=vae", "sampling.num_steps=[1,2]")
    assert len(configuration.validate(config)["samplers"]) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sampling.num_steps=[2,500]"], "1..100.*num_steps=500"),
        (["sampling.num_steps=[0]"], "sampling.num_steps.*at least 1.*0"),
        (["sampler=ddim", "sampler.num_steps=500"], "1..100.*num_steps=500"),
        (["sampler=ddim", "model=vae"], "not for model=vae, which has sampler=decoder.*: DDIM"),
        (
            ["sampler=euler", "model=ddpm"],
            "model=ddpm, which has sampler=ddpm, sampler=ddim, sampler=dpm_solver. Received: Euler",
        ),
        (["sampler=decoder", "model=dcgan"], "not for model=dcgan, which has one way to sample"),
        (["model=vae", "preset=paper"], "model=vae .* no preset=paper; .*smoke, quick, standard"),
        (["sampling.seeds=0"], "`sampling.seeds`.*must be at least 1.*sampling.seeds=0"),
        (["num_reference_images=0"], "num_reference_images.*at least 1"),
        (["num_samples=-5"], "num_samples.*at least 1.*num_samples=-5"),
        (["num_samples=999"], "subset_size=1000.*num_samples=999"),
        (["num_reference_images=999"], "subset_size=1000.*num_reference_images=999"),
        (["seed=-1"], "seed.*not negative"),
        (["seed=4294967296"], "below 2"),
        (["training.num_steps=0"], "training.num_steps.*at least 1"),
        (["model.optimizer.ema_momentum=-0.5"], "not negative"),
        (["model=flow", "model.logit_mean=nan"], "model.logit_mean.*must be a number"),
        (["sampler=ddim", "sampler.guidance_scale=2"], "needs a class-conditional model"),
        (
            ["sampler=ddpm", "sampler.variance=learned"],
            "`sampler.variance` can be learned only.*set model.learned_variance=true",
        ),
        (["model/schedule=continuous_cosine"], "set sampler.num_steps"),
        (["device=tpu"], "auto, cpu, gpu"),
        (["training.validation.every=0"], "at least 1.*null.*every=0"),
        (["training.pictures_every=0"], "pictures_every.*at least 1.*null.*pictures_every=0"),
        (["training.validation.num_samples=1"], "num_samples.*at least 2.*num_samples=1"),
        (["training.validation.sampler.num_steps=500"], "training.validation.sampler.*1..100"),
        (["sampling.checkpoint=first"], "last, best, both.*checkpoint=first"),
        (
            ["sampling.checkpoint=best", "training.validation.every=null"],
            "set training.validation.every=<checkpoints>",
        ),
    ],
)
def test_wrong_values_are_told_with_what_is_allowed(compose_config, overrides, message):
    with pytest.raises(UserError, match=message):
        configuration.validate(compose_config(*overrides))


def test_the_variance_is_sampled_where_it_is_learned(compose_config):
    overrides = ["sampler=ddpm", "sampler.variance=learned", "model.learned_variance=true"]
    (sampler,) = configuration.validate(compose_config(*overrides))["samplers"]
    assert sampler["variance"] == "learned"


def test_a_folder_that_cannot_be_written_is_the_environments_fault(compose_config, tmp_path):
    (tmp_path / "file").write_text("")
    config = compose_config()
    config.results_dir = str(tmp_path / "file" / "results")
    with pytest.raises(EnvironmentProblem, match="results_dir"):
        configuration.validate(config)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["model=nosuch"], 2, "dcgan, ddgan, ddim, ddpm"),
        (["sede=1"], 2, "unknown key 'sede'. Did you mean seed?"),
        (["model.latentdim=1"], 2, "unknown key 'model.latentdim'"),
        (["seed=abc"], 2, "abc"),
        (["results_dir=a=b"], 2, "needs quotes inside quotes: 'results_dir=\"a=b\"'"),
        (["seed"], 2, "expected seed=<value>"),
        pytest.param(
            ["model=vae", "model.widths=[8,8,8]"], 2, "divisible by 8", marks=pytest.mark.slow
        ),
        (["results_dir=/dev/null/results"], 3, "results_dir"),
    ],
)
def test_mistakes_end_with_one_line(arguments, code, message, tmp_path):
    result = command(*arguments, f"cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}")
    lines = result.stderr.strip().splitlines()
    assert result.returncode == code, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["benchmark", "model=vae"],
        ["benchmark.evaluate", "samples=any.npz"],
        ["benchmark.validity"],
        ["benchmark.classifiers", "dataset=mnist"],
        ["benchmark.speed"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_backend_is_told_in_one_line(arguments, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "nosuch", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    expected = (
        "error: `KERAS_BACKEND` must be one of tensorflow, jax. Received: KERAS_BACKEND=nosuch"
    )
    assert (result.returncode, result.stderr.strip()) == (2, expected)


def test_a_backend_that_is_not_installed_is_the_environments_fault(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="jax is not installed"):
        check_backend()


def test_help_does_not_wait_for_tensorflow():
    start = time.perf_counter()
    result = command("--help")
    seconds = time.perf_counter() - start
    assert result.returncode == 0
    assert "python -m benchmark model=ddpm dataset=mnist" in result.stdout
    assert all(name in result.stdout for name in options("model"))
    for name, (_, purpose) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(purpose)}$", result.stdout, re.MULTILINE)
    print(f"--help took {seconds:.2f} s")


def test_the_whole_configuration_is_shown(tmp_path):
    result = command("--cfg", "job", "--resolve", "model=ddpm", f"hydra.run.dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert OmegaConf.create(result.stdout).model.multipliers


def test_no_part_of_the_configuration_is_left_unused():
    """Every group folder is in a defaults list."""
    groups = {path.name for path in CONF.iterdir() if path.is_dir() and path.name[0] != "_"}
    defaults = (CONF / "config.yaml").read_text() + (CONF / "measurement.yaml").read_text()
    assert all(f"- {group}:" in defaults for group in groups)

"""Every command that the READMEs, the YAMLs and the sources name can be given as it stands.

What takes no time is done: arguments are read, the configuration is composed and checked, and the
parts that need no data are built, models with narrow layers.
"""

import ast
import contextlib
import functools
import importlib.util
import io
import json
import re
import shlex
import tokenize
from itertools import product

import hydra
import keras
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmark import classifiers, cli, compare, doctor, prepare, rerun, sample
from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.humans import __main__ as humans
from benchmark.pretrained import __main__ as packing
from benchmark.report.command import parse
from benchmark.results import Folder
from benchmark.speed import __main__ as speed
from benchmark.validity import __main__ as validity
from tests.benchmark.test_multirun import PLUGINS
from tests.conftest import CONF
from tests.test_experiments import image_shape, shrink

ROOT = CONF.parent
READMES = ("README.md", "metrics/weights/README.md")
COMMAND = re.compile(r"python -m (benchmark(?:\.\w+)*)([^`\n]*)")
PLACEHOLDERS = {
    "<file or folder>": "photographs",
    "<run folder>": "a_run",
    "<folder>": "a_folder",
    "A B [results_dir=results]": "ddpm vae results_dir=results/reference",
    "A B": "ddpm vae results_dir=results/reference",
    "NAME": "mnist",
    "[results_dir]": "results",
    "[part ...]": "kid prdc",
    "[preset ...]": "smoke quick",
    "[preset=...]": "preset=quick",
    " ...": "",
}
OPTIONAL = re.compile(r"(?<= )\[(\S+)\]")  # and not the list in "metric=[kid]"
# Without arguments these are names of the program, not commands.
WITH_ARGUMENTS = tuple(
    f"benchmark.{name}"
    for name in ("classifiers", "compare", "evaluate", "pretrained", "rerun", "sample")
)


def find_commands(text):
    """The commands in a text as tuples of a module and its arguments."""
    for module, words in COMMAND.findall(text.replace("\\\n", " ")):
        for placeholder, value in PLACEHOLDERS.items():
            words = words.replace(placeholder, value)
        arguments = tuple(shlex.split(OPTIONAL.sub(r"\1", words), comments=True))
        if arguments or module not in WITH_ARGUMENTS:
            yield module, *arguments


def comments_and_strings(source):
    """The comments and the strings of a Python source, parts of f-strings apart."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
    nodes = list(ast.walk(ast.parse(source)))
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


@functools.cache
def commands():
    texts = [path.read_text() for path in CONF.rglob("*.yaml")]
    texts += [(ROOT / name).read_text() for name in READMES]
    for package in ("benchmark", "metrics", "models"):
        for path in (ROOT / package).rglob("*.py"):
            texts += comments_and_strings(path.read_text())
    return sorted({command for text in texts for command in find_commands(text)})


class Started(Exception):
    """The arguments are right: the work begins."""


def begin(*arguments):
    raise Started


@pytest.fixture
def give(compose_config, monkeypatch, tmp_path):
    """Gives a command, up to where its work begins."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for module in (cli, speed, validity):
        monkeypatch.setattr(module, "import_backend", lambda: None)
    monkeypatch.setattr(validity, "seated", contextlib.nullcontext)
    monkeypatch.setattr(validity, "examine", begin)
    monkeypatch.setattr(speed, "measure", begin)
    monkeypatch.setattr(RunBuilder, "load_dataset", begin)

    def main(module):
        def give_to_main(arguments):
            monkeypatch.chdir(tmp_path)
            with pytest.raises(Started):
                module.main(list(arguments))

        return give_to_main

    def report(arguments):
        monkeypatch.chdir(ROOT)
        parse(arguments)

    def evaluate(arguments):
        configuration.validate_evaluation(compose_config(*arguments, config_name="evaluate"))

    def rerun_from(arguments):
        monkeypatch.chdir(tmp_path)
        Folder(tmp_path / "a_run").write_text("config.yaml", "model: {name: vae}\n")
        rerun.parse(list(arguments))

    def read_at_root(module):
        def read(arguments):
            monkeypatch.chdir(ROOT)
            module.parse(list(arguments))

        return read

    checks = {
        "benchmark": functools.partial(check_runs, compose_config),
        "benchmark.compare": read_at_root(compare),
        "benchmark.doctor": read_at_root(doctor),
        "benchmark.humans": read_at_root(humans),
        "benchmark.prepare": main(prepare),
        "benchmark.pretrained": lambda arguments: packing.parse(list(arguments)),
        "benchmark.sample": read_at_root(sample),
        "benchmark.evaluate": evaluate,
        "benchmark.report": report,
        "benchmark.classifiers": main(classifiers),
        "benchmark.rerun": rerun_from,
        "benchmark.speed": main(speed),
        "benchmark.validity": main(validity),
    }
    return lambda module, *arguments: checks[module](arguments)


def check_runs(compose_config, arguments):
    """Composes, checks and builds the runs that the arguments of `python -m benchmark` are."""
    flags = {argument for argument in arguments if argument.startswith("--")}
    assert flags <= {"--help", "--multirun"}
    overrides = [argument for argument in arguments if argument not in flags]
    of_hydra = [override for override in overrides if override.startswith("hydra")]
    if of_hydra:
        compose_hydra(of_hydra)
    for run in sweep([override for override in overrides if override not in of_hydra]):
        assert "--multirun" in flags or list(run) == overrides
        settings = configuration.validate(compose_config(*run))
        if not any(override.startswith("experiment=") for override in run):
            build_parts(json.dumps(shrunk(settings)))  # else tests/test_experiments.py does


def sweep(overrides):
    """All combinations of the values in overrides such as `model=vae,ddpm`; starts of intervals."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    return product(
        *(
            [f"{override.get_key_element()}={override.value().start}"]
            if override.is_interval_sweep()
            else [
                f"{override.get_key_element()}={value}"
                for value in override.sweep_string_iterator()
            ]
            if override.is_sweep_override()
            else [text]
            for override, text in zip(parsed, overrides, strict=True)
        )
    )


def compose_hydra(overrides):
    """Composes options of Hydra itself, such as those of a launcher."""
    launcher = dict(text.split("=", 1) for text in overrides).get("hydra/launcher", "basic")
    plugin = PLUGINS.get(launcher, PLUGINS["submitit_local"])
    if not importlib.util.find_spec(f"hydra_plugins.{plugin}"):
        pytest.skip(f"the launcher is not installed: pip install -e '.[sweep]' brings {plugin}")
    configuration.register()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        hydra.compose("config", overrides=list(overrides), return_hydra_config=True)


def shrunk(settings):
    """What the parts of a run are built from, with a narrow model."""
    names = ("seed", "samplers", "metric", "training", "dataset")
    return {**{name: settings[name] for name in names}, "model": shrink(settings["model"])}


@functools.cache
def build_parts(settings):
    """Builds the model and everything that samples or measures it, once for many runs."""
    keras.utils.clear_session(free_memory=False)
    builder = RunBuilder(json.loads(settings), [])
    model = build_model(json.dumps([builder.settings["model"], image_shape(builder.settings)]))
    for method in [*builder.build_methods(), builder.build_validation_method()]:
        assert method is None or model.sampler(method).network_passes >= 1
    builder.build_metrics()


@functools.cache
def build_model(model_and_shape):
    model, shape = json.loads(model_and_shape)
    return RunBuilder({"model": model, "seed": 0}, []).build_model(shape)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_a_command_can_be_given(give, command):
    give(*command)


def test_commands_are_found_wherever_they_stand():
    found = {" ".join(command) for command in commands()}
    assert found >= {
        "benchmark",
        "benchmark model/schedule=linear",  # at the end of a comment in a YAML
        "benchmark --help",  # in the README
        "benchmark experiment=single_image_300 dataset.source=photographs",
        "benchmark.classifiers dataset=mnist",  # in a docstring
        "benchmark.report results publish=results/reference seed=10,11 preset=quick",
        "benchmark.speed compiler precision",
    }
    assert {f"benchmark experiment={path.stem}" for path in CONF.glob("experiment/*.yaml")} <= {
        " ".join(words.split()[:2]) for words in found
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# with `python -m benchmark model=vae` it", [("benchmark", "model=vae")]),
        ("python -m benchmark a=1 \\\n    b=2   # c=3\nd=4", [("benchmark", "a=1", "b=2")]),
        ("A=b python -m benchmark ...", [("benchmark",)]),
        ('python -m benchmark "metric=[a, b]"', [("benchmark", "metric=[a, b]")]),
        ("see python -m benchmark.evaluate\n", []),
        ("python -m benchmark.x [a=1] [b.c=2]", [("benchmark.x", "a=1", "b.c=2")]),
    ],
)
def test_commands_end_where_the_prose_goes_on(text, expected):
    assert list(find_commands(text)) == expected


@pytest.mark.parametrize(
    "command",
    [
        "benchmark model=nosuch",
        "benchmark model/schedule=continuous_cosine",
        "benchmark sampler=ddim sampler.num_steps=1000",
        "benchmark model=vae model.latent_dims=3",
        "benchmark model=ddpm,vae",
        "benchmark.evaluate samples=a.npz sample=3",
        "benchmark.report nosuch",
        "benchmark.rerun nosuch",
        "benchmark.compare vae",
        "benchmark.doctor nosuch",
        "benchmark.humans nosuch",
        "benchmark.prepare dataset=nosuch",
        "benchmark.pretrained",
        "benchmark.sample nosuch",
        "benchmark.speed nosuch",
        "benchmark.validity nosuch",
        "benchmark.classifiers dataset=nosuch",
        "benchmark.nosuch",
    ],
)
def test_what_cannot_be_given_is_noticed(give, command):
    with pytest.raises(BaseException) as error:  # SystemExit is no Exception
        give(*command.split())
    assert not isinstance(error.value, Started | KeyboardInterrupt)

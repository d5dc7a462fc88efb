"""The command lines: compose a configuration, check it and build the parts that it names."""

import contextlib
import importlib
import importlib.util
import logging
import math
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from benchmark import config as configuration
from benchmark import interruption
from benchmark.config import EvaluationConfig, MeasurementConfig, RunConfig
from benchmark.errors import Divergence, EnvironmentProblem, UserError
from benchmark.files import DISK_ERRORS
from benchmark.interruption import SIGNALLED, Interruption
from benchmark.own_process import in_own_process

NAMED_IN_ROWS = ("experiment=", "model.", "model/", "training.", "dataset.", "sampler.")
CHANGES_NO_ROW = "training.pictures_every="
X86 = ("x86_64", "AMD64")
BACKENDS = ("tensorflow", "jax")  # the Keras backends that the models support
USER_ERRORS = (Divergence, EnvironmentProblem, UserError, HydraException, OmegaConfBaseException)
EXIT_CODES = {UserError: 2, EnvironmentProblem: 3, Divergence: 4}
HYDRAS_VALUE_ERROR = "Config group override must be"  # for model=null, a plain ValueError
FAILURE = "error.txt"  # in the sweep's folder of a run that failed
OBJECTIVE = "objective.txt"  # in the sweep's folder of a run that succeeded


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def job(config: DictConfig) -> float | None:
    """Runs one configuration, possibly in a process that a launcher has started.

    Returns:
        In a sweep, the value for a sweeper to minimize: `benchmark.outcomes.objective`, or infinity
        if the run failed.
    """
    configuration.register()
    with record_errors_of_a_sweep(RunConfig):
        settings = configuration.validate(config)
        do(lambda: train_and_measure(settings), RunConfig)
    if not is_sweep():
        return None
    path = Path(HydraConfig.get().runtime.output_dir) / OBJECTIVE
    return float(path.read_text()) if path.is_file() else math.inf


def train_and_measure(settings: dict[str, Any]) -> None:
    """Trains and measures; in a sweep, also writes the objective."""
    folder = run(RunBuilder(settings, HydraConfig.get().overrides.task, in_sweep=is_sweep()))
    if is_sweep():
        from benchmark.outcomes import objective

        path = Path(HydraConfig.get().runtime.output_dir) / OBJECTIVE
        path.write_text(repr(objective(folder, settings["num_samples"])))


def run(builder: "RunBuilder") -> Any:
    """Waits for a seat, imports the backend, and trains and measures; returns the run's folder."""
    from benchmark.machine import seated

    with seated():
        choose_device(builder.settings)
        import_backend()
        from benchmark import runner

        return runner.run(builder)


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="evaluate")
def evaluation_job(config: DictConfig) -> None:
    """Measures samples made elsewhere; reads and checks them before importing the backend."""
    configuration.register()
    with record_errors_of_a_sweep(EvaluationConfig):
        settings = configuration.validate_evaluation(config)
        do(lambda: read_and_measure(settings), EvaluationConfig)


def read_and_measure(settings: dict[str, Any]) -> None:
    """Reads, checks and measures samples made elsewhere."""
    from benchmark.machine import seated

    with seated():
        choose_device(settings)
        builder = RunBuilder(settings, HydraConfig.get().overrides.task, in_sweep=is_sweep())
        from benchmark.external.samples import take_samples

        dataset, samples = take_samples(builder)
        import_backend()
        from benchmark.external.measure import evaluate

        evaluate(builder, dataset, samples)


def do(work: Callable[[], None], schema: type[MeasurementConfig]) -> None:
    """Does the work, in a separate process if it is one run of a sweep."""

    def handle_and_work() -> None:
        label_shared_output()
        with record_errors_of_a_sweep(schema), interruption.handled():
            work()

    if is_sweep():
        in_own_process(handle_and_work)
    else:
        handle_and_work()


def label_shared_output() -> None:
    """Labels each line with its run if several runs share the output."""
    run = HydraConfig.get()
    if run.launcher._target_.endswith("BasicLauncher"):  # one run after the other
        return
    from benchmark import console

    console.set_label(f"[{run.job.num}] ")
    console.say(" ".join(run.overrides.task))


class RunBuilder:
    """The configured parts of one run or evaluation, each built on demand.

    Attributes:
        settings: The complete configuration as plain containers.
        overrides: The experiment and the options of parts that were set on the command line.
        in_sweep: Whether it is one run of a sweep, which writes the report once, at its end.
    """

    def __init__(self, settings: dict[str, Any], overrides: Any, *, in_sweep: bool = False) -> None:
        self.settings = settings
        self.in_sweep = in_sweep
        self.overrides = sorted(
            override
            for override in overrides
            if override.startswith(NAMED_IN_ROWS) and not override.startswith(CHANGES_NO_ROW)
        )

    def load_dataset(self):
        return build("dataset", self.settings["dataset"])

    def build_model(self, image_shape):
        seed = self.settings["seed"]
        return build("model", self.settings["model"], image_shape=image_shape, seed=seed)

    def build_methods(self):
        return [build("sampler", sampler) for sampler in self.settings["samplers"]]

    def build_validation_method(self):
        sampler = self.settings["training"]["validation"]["sampler"]
        return None if sampler is None else build("training.validation.sampler", sampler)

    def build_encoder(self):
        return build("encoder", self.settings["encoder"])

    def build_metrics(self):
        metrics = self.settings["metric"]
        return {name: build(f"metric.{name}", options) for name, options in metrics.items()}


def compose(*overrides: str) -> RunBuilder:
    """The parts of a run, for use from Python: `compose("model=ddpm", "preset=standard")`."""
    configuration.register()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        config = hydra.compose("config", overrides=list(overrides))
    return RunBuilder(configuration.validate(config), overrides)


def build(key: str, options: dict[str, Any], **arguments: Any) -> Any:
    """Instantiates a part; a value that its constructor rejects is a `UserError`."""
    try:
        return instantiate(options, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError | EnvironmentProblem):
            raise cause from None
        if isinstance(cause, ValueError):
            raise UserError(f"{key}: {' '.join(str(cause).split())}") from error
        if isinstance(cause, TypeError):
            raise UserError(f"{key}: an option is of the wrong type: {cause}") from error
        raise


def choose_device(settings: dict[str, Any]) -> None:
    """Sets the environment variables that the backend reads on import.

    Raises:
        UserError: If there is no such backend.
        EnvironmentProblem: If the backend is not installed.
    """
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # concurrent runs share its memory
    if platform.machine() in X86:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # see benchmark/acceleration.py
    if settings["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def check_backend() -> None:
    """Rejects a `KERAS_BACKEND` that is not installed or that the models do not support."""
    backend = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        raise UserError(
            f"`KERAS_BACKEND` must be one of {', '.join(BACKENDS)}. "
            f"Received: KERAS_BACKEND={backend}"
        )
    if importlib.util.find_spec(backend) is None:
        raise EnvironmentProblem(f"KERAS_BACKEND={backend}, but {backend} is not installed")


def import_backend() -> None:
    """Imports Keras and its backend without their start-up messages."""
    from benchmark.console import quiet_standard_error

    with quiet_standard_error():
        importlib.import_module("keras")
    # TensorFlow warns of retracing even if several models are each traced once.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def main() -> None:
    """Runs `python -m benchmark`; expected errors end with one line and exit code 2, 3 or 4."""
    start(job, RunConfig)


def main_of_evaluation() -> None:
    """Runs `python -m benchmark.evaluate`, as `main` does."""
    start(evaluation_job, EvaluationConfig)


def start(command: Callable[[], None], schema: type[MeasurementConfig]) -> None:
    configuration.register()
    if "HYDRA_FULL_ERROR" in os.environ:
        command()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    try:
        with exit_on_user_error(schema, resumes=schema is RunConfig):
            command()
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


@contextlib.contextmanager
def exit_on_user_error(schema: type[MeasurementConfig] = RunConfig, *, resumes: bool = False):
    """Turns an error of the user or of the environment into one line and an exit code."""
    try:
        yield
    except USER_ERRORS as error:
        exit_with(*error_line(error, schema))
    except ValueError as error:
        if HYDRAS_VALUE_ERROR not in str(error):
            raise
        exit_with(f"error: {error}", 2)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        exit_with(f"error: {error.filename or 'a file'} cannot be used ({error.strerror})", 3)
    except KeyboardInterrupt as stop:
        last = "; the same command resumes from the last checkpoint" if resumes else ""
        number = stop.number if isinstance(stop, Interruption) else signal.SIGINT
        exit_with(f"stopped{last}", SIGNALLED + number)


@contextlib.contextmanager
def record_errors_of_a_sweep(schema: type[MeasurementConfig]):
    """In a sweep, other runs continue and errors are listed at the end; else the program exits."""
    if not is_sweep():
        with exit_on_user_error(schema, resumes=schema is RunConfig):
            yield
        return
    try:
        yield
    except Exception as error:
        if isinstance(error, USER_ERRORS):
            message, _ = error_line(error, schema)
        else:
            traceback.print_exc()
            message = f"error: {type(error).__name__}: {error}"
        print(message, file=sys.stderr)
        overrides = " ".join(HydraConfig.get().overrides.task)
        folder = Path(HydraConfig.get().runtime.output_dir)
        (folder / FAILURE).write_text(f"{overrides}\n    {message}\n")


def is_sweep() -> bool:
    """Whether this is one of several runs of a command."""
    return HydraConfig.get().mode is RunMode.MULTIRUN


class EndOfSweep(Callback):
    """Ends a sweep with the report of all runs and a list of errors, wherever they ran."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if any(Path(config.results_dir).glob("*/*/*/*/run.json")):  # else no run has started
            from benchmark.report.terminal import write

            for path in write(config.results_dir)[1]:
                print(f"  {path}")
        failures = sorted(Path(config.hydra.sweep.dir).glob(f"*/{FAILURE}"))
        if failures:
            listed = "".join(f"  {path.read_text()}" for path in failures)
            count = "1 run" if len(failures) == 1 else f"{len(failures)} runs"
            exit_with(f"\n{count} of this sweep failed; the others finished:\n{listed}", 1)


def error_line(error: Exception, schema: type[MeasurementConfig]) -> tuple[str, int]:
    """One line that describes an error, and the program's exit code."""
    text, code = str(error), 2
    for kind, own_code in EXIT_CODES.items():
        if isinstance(error, kind):
            code = own_code
    if not isinstance(error, tuple(EXIT_CODES)):
        text = configuration.explain(error, schema)
    return f"error: {' '.join(text.split())}", code


def exit_with(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)

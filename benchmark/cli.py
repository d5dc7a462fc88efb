"""The command line: composes the configuration, checks it and builds the parts of a run."""

import contextlib
import importlib
import os
import sys
import tempfile
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from benchmark import config as configuration
from benchmark.errors import EnvironmentProblem, UserError

INTERRUPTED = 130  # what a shell reports of a command stopped by Ctrl-C


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def job(config: DictConfig) -> None:
    """Runs one configuration."""
    with mistakes_end_the_program():
        settings = configuration.validate(config)
        prepare_environment(settings)
        from benchmark.run import run

        run(Parts(settings, HydraConfig.get().overrides.task))


class Parts:
    """The configured parts of one run, each built when it is asked for.

    Attributes:
        settings: The whole configuration as plain containers.
        overrides: Options of parts that the command line changed.
    """

    def __init__(self, settings: dict[str, Any], overrides: Any) -> None:
        self.settings = settings
        self.overrides = sorted(
            override
            for override in overrides
            if override.startswith(("model.", "training.", "dataset.", "sampler."))
        )

    def load_dataset(self):
        return build("dataset", self.settings["dataset"])

    def build_model(self, image_shape):
        seed = self.settings["seed"]
        return build("model", self.settings["model"], image_shape=image_shape, seed=seed)

    def build_methods(self):
        return [build("sampler", sampler) for sampler in self.settings["samplers"]]

    def build_encoder(self):
        return build("encoder", self.settings["encoder"])

    def build_metrics(self):
        metrics = self.settings["metric"]
        return {name: build(f"metric.{name}", options) for name, options in metrics.items()}


def build(key: str, options: dict[str, Any], **arguments: Any) -> Any:
    """Instantiates a part; what its constructor refuses is the user's mistake."""
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


def prepare_environment(settings: dict[str, Any]) -> None:
    """Chooses the device and imports the backend without its start-up messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if settings["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with quiet_standard_error():
        importlib.import_module("keras")


@contextlib.contextmanager
def quiet_standard_error():
    """Keeps what native code writes to standard error, and shows it only if the block fails."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(original, kept.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def main() -> None:
    """Runs the command line; mistakes end with one line and exit code 2 or 3."""
    configuration.register()
    own_errors = "HYDRA_FULL_ERROR" not in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    with mistakes_end_the_program() if own_errors else contextlib.nullcontext():
        job()


@contextlib.contextmanager
def mistakes_end_the_program():
    """Turns a mistake of the user or of the environment into one line and an exit code."""
    try:
        yield
    except EnvironmentProblem as error:
        leave(f"error: {error}", code=3)
    except UserError as error:
        leave(f"error: {error}", code=2)
    except (HydraException, OmegaConfBaseException) as error:
        leave(f"error: {configuration.explain(error)}", code=2)
    except KeyboardInterrupt:
        leave("stopped; the same command goes on from the last checkpoint", code=INTERRUPTED)


def leave(message: str, *, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)

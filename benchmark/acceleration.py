"""Chooses the compiler and the precision of each stage, based on these measurements.

Measured at `quick` on two cores of an AMD EPYC with AVX512-BF16, TensorFlow 2.21, alternating
between the options (`python -m benchmark.speed compiler precision` measures any machine):

    speedup by XLA  one image   16 images   64 images   250 images   a training step
    vae                   1.1         1.0         0.7          0.3               0.7
    dcgan                 1.1         1.3         1.0          0.4               1.0
    ddpm                  2.4         1.2         1.0          0.9               0.9
    ddgan                 3.0         1.3         1.1          0.9               1.1

On that machine bfloat16 made a training step 1.1 to 1.2 times as fast. A processor without
bfloat16 instructions was 2.2 times as slow, and without AVX512 oneDNN ends the program. Nothing
has been measured on GPUs: there Keras's defaults apply, XLA for everything and float32.

By default TensorFlow uses oneDNN's kernels only on processors with AVX512. With AVX2 alone (two
cores of an AMD EPYC of family 25, model 1) they make a training step of ddpm 1.4 times as fast and
one of r3gan 1.7 times, so the program enables them on any x86 processor.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from benchmark.errors import EnvironmentProblem

AUTO = "auto"
STEPS_ON_GPU = 10


@dataclass(frozen=True)
class Acceleration:
    """How the network's programs are compiled, and in which precision the network computes.

    Attributes:
        training_jit: Whether XLA compiles the training step.
        image_jit: Whether XLA compiles the sampling of a single image.
        batch_jit: Whether XLA compiles the sampling of several images at once.
        precision: A dtype policy of Keras. Weights and outputs are float32 in each.
        steps_per_execution: Most training steps between two readings of the losses; each reading
            makes the host wait for the device.
        reason: Why, in a few words.
    """

    training_jit: bool
    image_jit: bool
    batch_jit: bool
    precision: str
    steps_per_execution: int
    reason: str

    def describe(self) -> str:
        """One line for the start of a run."""
        compiled = {
            "training": self.training_jit,
            "single images": self.image_jit,
            "batches": self.batch_jit,
        }
        stages = ", ".join(name for name, by_xla in compiled.items() if by_xla) or "nothing"
        steps = self.steps_per_execution
        looks = f"losses are read every {steps} steps; " if steps > 1 else ""
        return f"XLA compiles {stages}; {looks}precision {self.precision} ({self.reason})"

    def apply(self, model: Any) -> Any:
        """Sets how a model and its samplers are compiled, and returns the model."""
        model.jit_compile = self.training_jit
        model.steps_per_execution = self.steps_per_execution
        model.image_jit, model.batch_jit = self.image_jit, self.batch_jit
        return model

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Networks built in the `with` block compute in this precision."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)


def choose(settings: dict[str, Any]) -> Acceleration:
    """Resolves `auto` in the options `jit` and `precision` for this machine."""
    training, sampling = settings["training"], settings["sampling"]
    on_gpu = has_gpu()
    if keras.backend.backend() == "jax":
        jits, reason = (True, True, True), "JAX always compiles with XLA"
    elif on_gpu:
        jits, reason = (True, True, True), "Keras's default on GPUs"
    else:
        jits, reason = (False, True, False), "the faster choice on a CPU"
    given = (training["jit"], sampling["jit"], sampling["jit"])
    chosen = [auto if value == AUTO else value for auto, value in zip(jits, given, strict=True)]
    precision = "float32" if training["precision"] == AUTO else training["precision"]
    if (chosen, precision) != (list(jits), "float32"):
        reason = "as configured"
    training_jit, image_jit, batch_jit = chosen
    steps = STEPS_ON_GPU if on_gpu else 1
    return Acceleration(training_jit, image_jit, batch_jit, precision, steps, reason)


def has_gpu() -> bool:
    """Whether the backend sees a GPU."""
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def check_device(device: str) -> None:
    """Refuses `device=gpu` where there is none.

    Raises:
        EnvironmentProblem: If the backend sees no GPU.
    """
    if device == "gpu" and not has_gpu():
        backend = keras.backend.backend()
        raise EnvironmentProblem(
            f"device=gpu, but {backend} finds no GPU; "
            "python -m benchmark.doctor explains why, and device=auto runs without one"
        )

"""The machine that a measurement runs on: what it is, and who else keeps it busy."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAT = Path("/proc/stat")
CPU_INFO = Path("/proc/cpuinfo")
_GENERATION = {"cpu family": "family", "model": "model"}  # of x86 processors
BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal


@dataclass(frozen=True)
class HostReading:
    """Clocks of this process and of the processors that it may use, in seconds.

    Args:
        wall_seconds: the time.
        own_seconds: processor time of this process, all its threads together.
        busy_seconds: processor time of all processes, on these processors together; time that
            the hypervisor gave to other machines included.
        num_processors: number of processors that this process may use.
    """

    wall_seconds: float
    own_seconds: float
    busy_seconds: float
    num_processors: int


def read_host() -> HostReading | None:
    """Reads the clocks; `None` where the system does not report them (it is not Linux)."""
    try:
        stat = STAT.read_text()
    except OSError:
        return None
    processors = usable_processors()
    return HostReading(
        wall_seconds=time.perf_counter(),
        own_seconds=time.process_time(),
        busy_seconds=busy_seconds(stat, processors),
        num_processors=len(processors),
    )


def physical_bytes() -> int | None:
    """The machine's memory, or `None` where the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def busy_seconds(stat: str, processors: list[int]) -> float:
    """Time that `processors` have worked since the machine started.

    Args:
        stat: content of `/proc/stat`, which counts in clock ticks.
        processors: numbers of the processors.

    Returns:
        Seconds, summed over the processors.
    """
    names = {f"cpu{number}" for number in processors}
    lines = [line.split() for line in stat.splitlines()]
    ticks = sum(
        int(line[1 + i]) for line in lines if line and line[0] in names for i in BUSY_FIELDS
    )
    return ticks / os.sysconf("SC_CLK_TCK")


def fraction_of_others(before: HostReading | None, after: HostReading | None) -> float | None:
    """What other processes took of the processors between two readings.

    Args:
        before: the earlier reading.
        after: the later one.

    Returns:
        Fraction of the processors' capacity, in [0, 1]; `None` where there are no readings.
    """
    if before is None or after is None:
        return None
    capacity = (after.wall_seconds - before.wall_seconds) * after.num_processors
    busy = after.busy_seconds - before.busy_seconds
    own = after.own_seconds - before.own_seconds
    return min(1.0, max(0.0, (busy - own) / capacity))


def usable_processors() -> list[int]:
    """Numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def describe_host() -> dict[str, Any]:
    """The processors and their load before a measurement, ready for JSON."""
    return {
        "processor": processor_name(),
        "usable_processors": usable_processors(),
        "load_average_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def processor_name() -> str:
    """The processor's model where the system reports it, else its architecture.

    Virtual machines report different processors by one name, such as `AMD EPYC`; their family and
    model numbers, in brackets, distinguish them.
    """
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    told = dict(reversed([_field(line) for line in lines]))  # of the first processor
    name = told.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{words} {told[key]}" for key, words in _GENERATION.items() if key in told]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _field(line: str) -> tuple[str, str]:
    name, _, text = line.partition(":")
    return name.strip(), text.strip()


def describe_device() -> dict[str, Any]:
    """What Keras computes on now, ready for JSON.

    Returns:
        `backend`; `device`, the model of the first accelerator that this process may use or of
        the processor; `devices`, Keras's names of all that it may use. With TensorFlow,
        `intra_op_threads` and `inter_op_threads` as they were set, 0 where it chooses them, and
        `threads`, how many work on one operation.
    """
    import keras

    backend = keras.backend.backend()
    devices = keras.distribution.list_devices()
    described = {"backend": backend, "devices": devices, "device": _device_name(backend, devices)}
    if backend != "tensorflow":
        return described
    import tensorflow as tf  # Keras does not report the number of threads

    intra_op = tf.config.threading.get_intra_op_parallelism_threads()
    return {
        **described,
        "threads": intra_op or len(usable_processors()),
        "intra_op_threads": intra_op,
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
    }


def _device_name(backend: str, devices: list[str]) -> str:
    if all("cpu" in device.lower() for device in devices):
        return processor_name()
    if backend == "tensorflow":
        import tensorflow as tf  # Keras has no name for a device

        visible = tf.config.get_visible_devices("GPU")
        if visible:
            details = tf.config.experimental.get_device_details(visible[0])
            return details.get("device_name", "GPU")
    elif backend == "jax":
        import jax

        return jax.devices()[0].device_kind
    return devices[0]

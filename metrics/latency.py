"""Latency and throughput of a sampler, the speed corner."""

import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from metrics.base import Evaluation, NotMeasured

BUSY_SPREAD = 1.5  # 90th percentile over 10th
FEWEST_REPEATS = 3
MOST_REPEATS = 1000  # as every observation is stored

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Every observation of one call, in seconds.

    Args:
        first_seconds: the first call of all, tracing and compilation included.
        warmup_seconds: the calls after it which do not count.
        seconds: the calls that count.
    """

    first_seconds: float
    warmup_seconds: tuple[float, ...] = field(repr=False)
    seconds: tuple[float, ...] = field(repr=False)

    @property
    def p50(self) -> float:
        """Median, in seconds."""
        return float(np.median(self.seconds))

    @property
    def iqr(self) -> float:
        """Inter-quartile range, in seconds."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(high - low)

    @property
    def spread(self) -> float:
        """90th percentile over 10th: near 1 on a quiet host."""
        low, high = np.percentile(self.seconds, [10, 90])
        return float(high / low)

    @property
    def compile_seconds(self) -> float:
        """What the first call took longer than the median one."""
        return max(0.0, self.first_seconds - self.p50)

    @property
    def milliseconds(self) -> list[float]:
        return [1e3 * second for second in self.seconds]


def measure(
    call: Callable[[], object],
    *,
    min_repeats: int = 30,
    min_seconds: float = 0.5,
    max_seconds: float = 10.0,
    warmup: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Times a call: once to compile, then warm-up, then repeats, each one kept.

    Repeats go on until there are `min_repeats` of them and they took `min_seconds`; `max_seconds`
    ends them earlier, and the warm-up too. At least one warm-up call (with `warmup` above 0) and
    three repeats are made, however long they take.

    Args:
        call: what is timed. It must return only when its result lies in host memory.
        min_repeats: number of repeats, if time allows.
        min_seconds: quick calls are repeated for so long, or 1,000 times, for a steadier median.
        max_seconds: limit of the repeats, and of the warm-up calls, in seconds.
        warmup: calls after the first that do not count.
        clock: returns seconds.

    Returns:
        The `Timing`.
    """

    def observe() -> float:
        start = clock()
        call()
        return clock() - start

    def is_settled(repeats: int, elapsed: float) -> bool:
        enough = repeats >= min_repeats and (elapsed >= min_seconds or repeats >= MOST_REPEATS)
        return repeats >= FEWEST_REPEATS and (enough or elapsed >= max_seconds)

    first = observe()
    warmups: list[float] = []
    while len(warmups) < warmup and sum(warmups) < max_seconds:
        warmups.append(observe())
    seconds: list[float] = []
    elapsed = 0.0
    while not is_settled(len(seconds), elapsed):
        seconds.append(observe())
        elapsed += seconds[-1]
    return Timing(first, tuple(warmups), tuple(seconds))


def find_throughput_batch(
    seconds_per_call: Callable[[int], float],
    *,
    first_batch_size: int,
    max_batch_size: int,
    minimum_gain: float = 0.05,
) -> tuple[int, dict[int, float]]:
    """Doubles the batch until images per second gain less than `minimum_gain`.

    Args:
        seconds_per_call: batch size -> seconds that one call takes.
        first_batch_size: where to begin.
        max_batch_size: where to end at the latest.
        minimum_gain: 0.05 means five per cent more images per second.

    Returns:
        The last batch size that was worth its doubling, and images per second by batch size tried.
    """
    best = min(first_batch_size, max_batch_size)
    tried = {best: best / seconds_per_call(best)}
    while 2 * best <= max_batch_size:
        doubled = 2 * best
        tried[doubled] = doubled / seconds_per_call(doubled)
        if tried[doubled] < (1.0 + minimum_gain) * tried[best]:
            break
        best = doubled
    return best, tried


class Latency:
    """Milliseconds per network pass and per image, and images per second.

    Batch 1 gives the latencies; the largest useful batch, found by timing single passes, gives the
    throughput. `end to end = network_passes x pass + overhead`; the overhead may be negative
    where one compiled loop saves what a single call spends on being called.

    Args:
        min_repeats: repeats of each measurement, if time allows.
        max_seconds: limit of each measurement's repeats, in seconds; three are always made.
        warmup: calls before each measurement that do not count.
        max_batch_size: largest batch tried for the throughput.
        clock: returns seconds; for tests.
    """

    requires_sampler = True
    minimum_samples = 0

    def __init__(
        self,
        *,
        min_repeats: int = 30,
        max_seconds: float = 10.0,
        warmup: int = 5,
        max_batch_size: int = 64,
        clock: Callable[[], float] = time.perf_counter,
    ):
        for name, least in (("min_repeats", FEWEST_REPEATS), ("warmup", 1), ("max_batch_size", 1)):
            if locals()[name] < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {locals()[name]}")
        if max_seconds <= 0:
            raise ValueError(f"`max_seconds` must be positive. Received: {max_seconds}")
        self.min_repeats = min_repeats
        self.max_seconds = max_seconds
        self.warmup = warmup
        self.max_batch_size = max_batch_size
        self.clock = clock

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        sampler = evaluation.sampler
        if sampler is None:
            raise NotMeasured("latency needs a sampler; here are only its images")
        load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        single = self._time_batch(sampler, 1, evaluation.seed)
        batch_size, search = self._find_batch(sampler, evaluation.seed)
        many = single
        if batch_size > 1:
            many = self._time_batch(sampler, batch_size, evaluation.seed)
        numbers = summarize(
            batch_1=single,
            batch_n=many,
            batch_size=batch_size,
            network_passes=int(sampler.network_passes),
        )
        numbers["num_parameters"] = float(sampler.network.count_params())
        busy = max(timing.spread for timing in single.values()) > BUSY_SPREAD
        evaluation.details["latency"] = {
            "batch_1": _observations(single),
            f"batch_{batch_size}": _observations(many),
            "throughput_batch_size": batch_size,
            "images_per_second_of_single_passes": {str(b): rate for b, rate in search.items()},
            "busy_host": busy,
            "load_average_before": load_before,
            **describe_device(sampler.network),
        }
        if busy:
            logger.warning("the timings vary by more than a factor of %s: busy host?", BUSY_SPREAD)
        return numbers

    def _time_batch(self, sampler: Any, batch_size: int, seed: int) -> dict[str, Timing]:
        latents, seeds = _draw_inputs(sampler, batch_size, seed)
        observe = partial(
            measure,
            min_repeats=self.min_repeats,
            max_seconds=self.max_seconds,
            warmup=self.warmup,
            clock=self.clock,
        )
        return {
            "pass": observe(lambda: sampler.single_pass(latents)),
            "end_to_end": observe(lambda: sampler.sample(latents, seeds)),
        }

    def _find_batch(self, sampler: Any, seed: int) -> tuple[int, dict[int, float]]:
        def fastest(batch_size: int) -> float:
            latents, _ = _draw_inputs(sampler, batch_size, seed)
            timing = measure(
                lambda: sampler.single_pass(latents),
                min_repeats=5,
                min_seconds=0.0,
                max_seconds=min(1.0, self.max_seconds),
                warmup=1,
                clock=self.clock,
            )
            return min(timing.seconds)  # the least disturbed one, as there are few

        return find_throughput_batch(
            fastest, first_batch_size=8, max_batch_size=self.max_batch_size
        )


def summarize(
    *,
    batch_1: dict[str, Timing],
    batch_n: dict[str, Timing],
    batch_size: int,
    network_passes: int,
) -> dict[str, float]:
    """The table's numbers from the timings.

    Args:
        batch_1: timings `pass` and `end_to_end` at batch 1.
        batch_n: the same at `batch_size`.
        batch_size: images in a call of `batch_n`.
        network_passes: network passes per image.

    Returns:
        Numbers by column; milliseconds at batch 1, images per second at `batch_size`.
    """
    one_pass, image = batch_1["pass"], batch_1["end_to_end"]
    return {
        "latency_ms_per_pass_p50": 1e3 * one_pass.p50,
        "latency_ms_per_pass_iqr": 1e3 * one_pass.iqr,
        "latency_ms_per_image_p50": 1e3 * image.p50,
        "latency_ms_per_image_iqr": 1e3 * image.iqr,
        "overhead_ms_per_image": 1e3 * (image.p50 - network_passes * one_pass.p50),
        "images_per_second": batch_size / batch_n["end_to_end"].p50,
        "throughput_batch_size": float(batch_size),
        "compile_seconds": image.compile_seconds,
        "network_passes": float(network_passes),
    }


def describe_device(network: Any) -> dict[str, Any]:
    """What the numbers were measured on, ready for JSON."""
    import keras

    available = getattr(os, "sched_getaffinity", None)
    return {
        "backend": keras.backend.backend(),
        "device": ", ".join(keras.distribution.list_devices()),
        "processor": platform.processor() or platform.machine(),
        "threads": len(available(0)) if available else os.cpu_count(),
        "precision": getattr(getattr(network, "dtype_policy", None), "name", "unknown"),
    }


def _draw_inputs(sampler: Any, batch_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    latents = generator.standard_normal((batch_size, *sampler.latent_shape), dtype=np.float32)
    indices = np.arange(batch_size)
    return latents, np.stack([np.full_like(indices, seed), indices], axis=1).astype(np.uint32)


def _observations(timings: dict[str, Timing]) -> dict[str, Any]:
    observations: dict[str, Any] = {}
    for name, timing in timings.items():
        observations[f"{name}_ms"] = timing.milliseconds
        observations[f"{name}_warmup_ms"] = [1e3 * second for second in timing.warmup_seconds]
        observations[f"{name}_first_call_seconds"] = timing.first_seconds
    return observations

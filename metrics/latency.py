"""Latency and throughput of a sampler, the speed corner.

`measure_latency` times any sampler that is given as functions of the batch size; `Latency` is the
metric for the samplers of this benchmark, with parameters, operations and memory beside it.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from metrics.base import Evaluation, NotMeasured
from metrics.cost import count_flops, peak_memory
from metrics.host import describe_device, describe_host, read_host, share_of_others
from metrics.timing import FEWEST_REPEATS, Timing, find_throughput_batch, measure

BUSY_SPREAD = 1.5  # 90th percentile over 10th
BUSY_SHARE = 0.1  # of the processors, taken by other processes
SEARCH = {"min_repeats": 5, "min_seconds": 0.0, "max_seconds": 1.0, "warmup": 1}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatencyReport:
    """What `measure_latency` found.

    Args:
        numbers: the table's numbers by column, as of `summarize`.
        details: every observation, the protocol and the host, ready for JSON.
    """

    numbers: dict[str, float]
    details: dict[str, Any]


def measure_latency(
    *,
    sample: Callable[[int], object],
    single_pass: Callable[[int], object] | None = None,
    network_passes: float | None = None,
    max_batch_size: int = 64,
    device: str | None = None,
    **options: Any,
) -> LatencyReport:
    """Times a sampler end to end, and one of its network passes, by the benchmark's protocol.

    Batch 1 gives the latencies; the largest useful batch, found by a short look at single passes
    (or whole samples where there is no `single_pass`), gives the throughput. For each of the two
    batches, and for pass and end to end apart: one call to compile, which is reported apart;
    then `warmup` calls; then repeats until 30 of them took half a second or 10 s are over, three
    at the least (all by default; see `metrics.timing.measure`). The clock is read when the result
    lies in host memory.

    Args:
        sample: batch size -> images, from noise to the end.
        single_pass: batch size -> result of one network pass; `None` if that cannot be called.
        network_passes: network passes that one image takes; `None` if unknown.
        max_batch_size: largest batch tried for the throughput.
        device: name of what computes, for the record; by default the devices that Keras sees.
        **options: `warmup`, `min_repeats`, `min_seconds`, `max_seconds` and `clock` as of
            `metrics.timing.measure`.

    Returns:
        The `LatencyReport`.

    Raises:
        ValueError: if an option is out of its range.
        TypeError: if a call returns no arrays.
    """
    check_options(max_batch_size=max_batch_size, **options)
    calls = {"end_to_end": sample}
    if single_pass is not None:
        calls = {"pass": single_pass, **calls}
    before, details = read_host(), describe_host()

    def observe(batch_size: int) -> dict[str, Timing]:
        return {name: measure(partial(call, batch_size), **options) for name, call in calls.items()}

    batch_1 = observe(1)
    batch_size, search = _find_batch(single_pass or sample, max_batch_size, options)
    batch_n = observe(batch_size) if batch_size > 1 else batch_1
    timings = [*batch_1.values(), *batch_n.values()]
    details |= {
        "batch_1": _observations(batch_1),
        f"batch_{batch_size}": _observations(batch_n),
        "throughput_batch_size": batch_size,
        "images_per_second_by_batch_tried": {str(size): rate for size, rate in search.items()},
        "protocol": describe_protocol(timings),
        **find_disturbances(timings, share_of_others(before, read_host())),
        **(describe_device() if device is None else {"device": device}),
    }
    numbers = summarize(
        batch_1=batch_1, batch_n=batch_n, batch_size=batch_size, network_passes=network_passes
    )
    return LatencyReport(numbers, details)


def _find_batch(
    call: Callable[[int], object], max_batch_size: int, options: dict[str, Any]
) -> tuple[int, dict[int, float]]:
    search = {**options, **SEARCH}
    search["max_seconds"] = min(SEARCH["max_seconds"], options.get("max_seconds", math.inf))

    def fastest(batch_size: int) -> float:
        timing = measure(partial(call, batch_size), **search)
        return min(timing.seconds)  # the least disturbed one, as there are few

    return find_throughput_batch(fastest, first_batch_size=8, max_batch_size=max_batch_size)


def summarize(
    *,
    batch_1: dict[str, Timing],
    batch_n: dict[str, Timing],
    batch_size: int,
    network_passes: float | None,
) -> dict[str, float]:
    """The table's numbers from the timings.

    Args:
        batch_1: timings `end_to_end`, and `pass` if there is one, at batch 1.
        batch_n: the same at `batch_size`.
        batch_size: images in a call of `batch_n`.
        network_passes: network passes per image; `None` if unknown.

    Returns:
        Numbers by column; milliseconds at batch 1, images per second at `batch_size`.
    """
    image = batch_1["end_to_end"]
    numbers = {
        "latency_ms_per_image_p50": 1e3 * image.p50,
        "latency_ms_per_image_iqr": 1e3 * image.iqr,
        "images_per_second": batch_size / batch_n["end_to_end"].p50,
        "throughput_batch_size": float(batch_size),
        "compile_seconds": image.compile_seconds,
    }
    if network_passes is not None:
        numbers["network_passes"] = float(network_passes)
    if "pass" in batch_1:
        numbers["latency_ms_per_pass_p50"] = 1e3 * batch_1["pass"].p50
        numbers["latency_ms_per_pass_iqr"] = 1e3 * batch_1["pass"].iqr
    if "pass" in batch_1 and network_passes is not None:
        overhead = image.p50 - network_passes * batch_1["pass"].p50
        numbers["overhead_ms_per_image"] = 1e3 * overhead
    return numbers


def find_disturbances(timings: list[Timing], share: float | None) -> dict[str, Any]:
    """Whether the host was too busy to trust the timings, and why; warns if it was.

    It was where the 90th percentile of any timing is above 1.5 times its 10th, or where other
    processes took more than 10 % of the usable processors meanwhile.

    Args:
        timings: all timings of the measurement.
        share: what other processes took of the processors meanwhile; `None` if unknown.

    Returns:
        `busy_host`, `busy_reasons` and what they rest on, ready for JSON.
    """
    spread = max(timing.spread for timing in timings)
    reasons = []
    if spread > BUSY_SPREAD:
        reasons.append(f"the timings vary by a factor of {spread:.1f}")
    if share is not None and share > BUSY_SHARE:
        reasons.append(f"other processes took {share:.0%} of the processors")
    if reasons:
        logger.warning("the host was busy: %s", "; ".join(reasons))
    return {
        "busy_host": bool(reasons),
        "busy_reasons": reasons,
        "largest_spread": spread,
        "share_of_other_processes": share,
    }


def describe_protocol(timings: list[Timing]) -> str:
    """How often was called, in words: what was done, not what was asked for."""
    warmups = min(len(timing.warmup_seconds) for timing in timings)
    repeats = [len(timing.seconds) for timing in timings]
    return (
        f"one call to compile, {warmups} to warm up, {min(repeats)} to {max(repeats)} repeats; "
        "the clock is read when the result lies in host memory"
    )


def check_options(**options: Any) -> None:
    """Refuses numbers of calls that are too small.

    Raises:
        ValueError: if an option is out of its range.
    """
    for name, least in (("min_repeats", FEWEST_REPEATS), ("warmup", 1), ("max_batch_size", 1)):
        if options.get(name, least) < least:
            raise ValueError(f"`{name}` must be at least {least}. Received: {options[name]}")
    if options.get("max_seconds", 1.0) <= 0:
        raise ValueError(f"`max_seconds` must be positive. Received: {options['max_seconds']}")


class Latency:
    """Milliseconds per network pass and per image, images per second, and what they cost.

    `measure_latency` says how the times are taken. `end to end = network_passes x pass +
    overhead`; the overhead may be negative where one compiled loop saves what a single call
    spends on being called. `gflops_per_pass` is in 10^9 operations for one image (see
    `metrics.cost.count_flops`), `peak_memory_mb` in 10^6 bytes during an end-to-end call at the
    throughput batch (see `metrics.cost.peak_memory`). What cannot be told is left out, with the
    reason in the details.

    The sampler has `sample(latents, seeds)`, `single_pass(latents)`, `pass_inputs(latents)`,
    `network`, `network_passes` and `latent_shape`.

    Args:
        min_repeats: repeats of each timing, if time allows.
        max_seconds: limit of each timing's repeats, in seconds; three are always made.
        warmup: calls before each timing that do not count; all are made, however slow.
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
        self.options: dict[str, Any] = {
            "min_repeats": min_repeats,
            "max_seconds": max_seconds,
            "warmup": warmup,
            "max_batch_size": max_batch_size,
        }
        check_options(**self.options)
        self.clock = clock

    def __call__(self, evaluation: Evaluation) -> dict[str, float]:
        sampler = evaluation.sampler
        if sampler is None:
            raise NotMeasured("latency needs a sampler; here are only its images")
        inputs = cache(partial(_draw_inputs, sampler, evaluation.seed))
        report = measure_latency(
            sample=lambda batch_size: sampler.sample(*inputs(batch_size)),
            single_pass=lambda batch_size: sampler.single_pass(inputs(batch_size)[0]),
            network_passes=sampler.network_passes,
            clock=self.clock,
            **self.options,
        )
        batch_size = report.details["throughput_batch_size"]
        costs, details = _find_costs(sampler, inputs(1), inputs(batch_size))
        evaluation.details["latency"] = {**report.details, **details}
        return {**report.numbers, **costs}


def _find_costs(sampler: Any, one: Any, many: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Parameters, operations and memory of a sampler, and what is to be said of them."""
    numbers = {"num_parameters": float(sampler.network.count_params())}
    precision = getattr(getattr(sampler.network, "dtype_policy", None), "name", "unknown")
    details: dict[str, Any] = {"precision": precision, "not_measured": {}}
    try:
        flops = count_flops(lambda latents: sampler.network(sampler.pass_inputs(latents)), one[0])
        numbers["gflops_per_pass"] = flops / 1e9
    except NotMeasured as reason:
        details["not_measured"]["gflops_per_pass"] = str(reason)
    try:
        memory = peak_memory(lambda: sampler.sample(*many)).describe()
        numbers["peak_memory_mb"] = memory["peak_mb"]
        details["peak_memory"] = memory
    except NotMeasured as reason:
        details["not_measured"]["peak_memory_mb"] = str(reason)
    return numbers, details


def _draw_inputs(sampler: Any, seed: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    latents = generator.standard_normal((batch_size, *sampler.latent_shape), dtype=np.float32)
    indices = np.arange(batch_size)
    return latents, np.stack([np.full_like(indices, seed), indices], axis=1).astype(np.uint32)


def _observations(timings: dict[str, Timing]) -> dict[str, Any]:
    return {
        f"{name}_{key}": value
        for name, timing in timings.items()
        for key, value in timing.describe().items()
    }

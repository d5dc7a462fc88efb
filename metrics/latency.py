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
from metrics.host import describe_device, describe_host, fraction_of_others, read_host
from metrics.memory import is_out_of_memory
from metrics.timing import FEWEST_REPEATS, Timing, find_throughput_batch, measure

COMMON_BATCH = 64  # at which the throughput of every sampler is measured
BUSY_SPREAD = 1.5  # 90th percentile over 10th
BUSY_FRACTION = 0.1  # of the processors, taken by other processes
SEARCH = {"min_repeats": 5, "min_seconds": 0.0, "max_seconds": 1.0, "warmup": 1}

logger = logging.getLogger(__name__)
TOO_LARGE = "the memory does not suffice"


@dataclass(frozen=True)
class LatencyReport:
    """What `measure_latency` found.

    Args:
        numbers: the table's numbers by column, as of `summarize`, and what was measured on.
        details: every observation, the protocol and the host, ready for JSON.
    """

    numbers: dict[str, float | str]
    details: dict[str, Any]


def measure_latency(
    *,
    sample: Callable[[int], object],
    single_pass: Callable[[int], object] | None = None,
    network_passes: float | None = None,
    max_batch_size: int = 256,
    device: str | None = None,
    **options: Any,
) -> LatencyReport:
    """Times a sampler end to end by the benchmark's protocol.

    Batch 1 gives the latencies. Throughput is measured at batch 1, at batch 64 and at the largest
    batch that pays: a short look at single passes (or at whole samples where there is no
    `single_pass`) doubles the batch until images per second gain less than 5 %. The fastest of
    these three is the throughput. Batches above 64 are tried only where the calls to measure them
    would take no more than `max_seconds`.

    Each timing is: one call to compile, which is reported apart; then `warmup` calls; then
    repeats until 30 of them took half a second or 10 s are over, three at the least (all by
    default; see `metrics.timing.measure`). The clock is read when the result lies in host memory.

    A pass costs what an image costs over `network_passes`: within the sampler's loop. One pass
    that is called by itself costs more, as it is called; its times stay in the details.

    Args:
        sample: batch size -> images, from noise to the end.
        single_pass: batch size -> result of one network pass; `None` if that cannot be called.
        network_passes: network passes that one image takes; `None` if unknown.
        max_batch_size: largest batch tried for the throughput.
        device: name of what computes, for the record; by default what Keras computes on.
        **options: `warmup`, `min_repeats`, `min_seconds`, `max_seconds` and `clock` as of
            `metrics.timing.measure`.

    Returns:
        The `LatencyReport`.

    Raises:
        ValueError: if an option is out of its range.
        TypeError: if a call returns no arrays.
    """
    check_options(max_batch_size=max_batch_size, **options)
    before, details = read_host(), describe_host()
    batches = {1: measure(partial(sample, 1), **options)}
    passes = [] if single_pass is None else [measure(partial(single_pass, 1), **options)]
    largest, not_measured = max_batch_size, _not_measured(max_batch_size)
    if max_batch_size >= COMMON_BATCH:
        timing = _measure_if_it_fits(partial(sample, COMMON_BATCH), options)
        if timing is None:
            not_measured[f"images_per_second_{COMMON_BATCH}"] = TOO_LARGE
            largest = COMMON_BATCH - 1
        else:
            batches[COMMON_BATCH] = timing
            largest = min(largest, _largest_within_time(timing, options))
    batch_size, search = _find_batch(single_pass or sample, largest, options)
    while batch_size not in batches:
        timing = _measure_if_it_fits(partial(sample, batch_size), options)
        if timing is None:  # though a single pass fits
            batch_size //= 2
        else:
            batches[batch_size] = timing
    timings = [*batches.values(), *passes]
    details |= {
        **{f"batch_{size}": _observations("end_to_end", batches[size]) for size in sorted(batches)},
        "throughput_batch_size": _fastest(batches),
        "largest_batch_size_tried": max(batches.keys() | search.keys()),
        "images_per_second_by_batch_tried": {str(size): rate for size, rate in search.items()},
        "not_measured": not_measured,
        "protocol": describe_protocol(timings),
        **find_disturbances(timings, fraction_of_others(before, read_host())),
        **(describe_device() if device is None else {"device": device}),
    }
    if passes:
        details["batch_1"] |= _observations("pass", passes[0])
    numbers: dict[str, float | str] = {**summarize(batches=batches, network_passes=network_passes)}
    numbers["latency_device"] = details["device"]
    if "threads" in details:
        numbers["latency_threads"] = float(details["threads"])
    return LatencyReport(numbers, details)


def _measure_if_it_fits(call: Callable[[], object], options: dict[str, Any]) -> Timing | None:
    """The timing of a call, `None` if the memory does not suffice for it."""
    try:
        return measure(call, **options)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None


def _largest_within_time(timing: Timing, options: dict[str, Any]) -> int:
    """The largest batch whose fewest calls take no more than `max_seconds`, at a call's speed."""
    calls = 1 + options.get("warmup", 5) + FEWEST_REPEATS
    affordable = options.get("max_seconds", 10.0) / calls / timing.p50  # in calls of that batch
    return COMMON_BATCH * max(1, int(min(affordable, 1e6)))


def _find_batch(
    call: Callable[[int], object], max_batch_size: int, options: dict[str, Any]
) -> tuple[int, dict[int, float]]:
    search = {**options, **SEARCH}
    search["max_seconds"] = min(SEARCH["max_seconds"], options.get("max_seconds", math.inf))

    def fastest(batch_size: int) -> float:
        timing = _measure_if_it_fits(partial(call, batch_size), search)
        # The least disturbed one, as there are few; a batch that does not fit takes for ever.
        return math.inf if timing is None else min(timing.seconds)

    return find_throughput_batch(fastest, first_batch_size=8, max_batch_size=max_batch_size)


def _fastest(batches: dict[int, Timing]) -> int:
    return max(batches, key=lambda size: size / batches[size].p50)


def _not_measured(max_batch_size: int) -> dict[str, str]:
    if max_batch_size >= COMMON_BATCH:
        return {}
    return {f"images_per_second_{COMMON_BATCH}": f"max_batch_size is {max_batch_size}"}


def summarize(
    *, batches: dict[int, Timing], network_passes: float | None = None
) -> dict[str, float]:
    """The table's numbers from the timings.

    Args:
        batches: timings from noise to images, by batch size; batch 1 is among them.
        network_passes: network passes per image; `None` if unknown.

    Returns:
        Numbers by column; milliseconds at batch 1, images per second at batch 1, at batch 64 if
        that was measured, and at the fastest batch.
    """
    image, best = batches[1], _fastest(batches)
    numbers = {
        "latency_ms_per_image_p50": 1e3 * image.p50,
        "latency_ms_per_image_iqr": 1e3 * image.iqr,
        "images_per_second": best / batches[best].p50,
        "throughput_batch_size": float(best),
        "compile_seconds": image.compile_seconds,
    }
    for size in (1, COMMON_BATCH):
        if size in batches:
            numbers[f"images_per_second_{size}"] = size / batches[size].p50
    if network_passes is not None:
        numbers["network_passes"] = float(network_passes)
        numbers["latency_ms_per_pass_p50"] = 1e3 * image.p50 / network_passes
    return numbers


def find_disturbances(timings: list[Timing], fraction: float | None) -> dict[str, Any]:
    """Whether the host was too busy to trust the timings, and why; warns if it was.

    It was where the 90th percentile of any timing is above 1.5 times its 10th, or where other
    processes took more than 10 % of the usable processors meanwhile.

    Args:
        timings: all timings of the measurement.
        fraction: what other processes took of the processors meanwhile; `None` if unknown.

    Returns:
        `busy_host`, `busy_reasons` and what they rest on, ready for JSON.
    """
    spread = max(timing.spread for timing in timings)
    reasons = []
    if spread > BUSY_SPREAD:
        reasons.append(f"the timings vary by a factor of {spread:.1f}")
    if fraction is not None and fraction > BUSY_FRACTION:
        reasons.append(f"other processes took {fraction:.0%} of the processors")
    if reasons:
        logger.warning("the host was busy: %s", "; ".join(reasons))
    return {
        "busy_host": bool(reasons),
        "busy_reasons": reasons,
        "largest_spread": spread,
        "fraction_of_other_processes": fraction,
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
    """Milliseconds per image and network pass, images per second, and what they cost.

    `measure_latency` says how the times are taken. `gflops_per_pass` is in 10^9 operations for one
    image (see `metrics.cost.count_flops`). `peak_memory_mb` is what sampling takes beyond an idle
    process in 10^6 bytes, weights included: the increase during an end-to-end call at batch 64, or
    at `max_batch_size` if that is smaller (see `metrics.cost.peak_memory`). `latency_device`,
    `latency_threads` and `latency_precision` are those of this measurement. What is not known is
    left out, with the reason in the details.

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
        max_batch_size: int = 256,
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

    def __call__(self, evaluation: Evaluation) -> dict[str, float | str]:
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
        batch_size = min(COMMON_BATCH, self.options["max_batch_size"])
        costs, details = _find_costs(sampler, inputs(1), inputs(batch_size))
        details["not_measured"] |= report.details["not_measured"]
        evaluation.details["latency"] = {**report.details, **details}
        return {**report.numbers, **costs}


def _find_costs(sampler: Any, one: Any, many: Any) -> tuple[dict[str, float | str], dict[str, Any]]:
    """Parameters, operations, precision and memory of a sampler, and what is to be said of them."""
    precision = getattr(getattr(sampler.network, "dtype_policy", None), "name", "unknown")
    numbers: dict[str, float | str] = {
        "num_parameters": float(sampler.network.count_params()),
        "latency_precision": precision,
    }
    details: dict[str, Any] = {"precision": precision, "not_measured": {}}
    try:
        flops = count_flops(lambda latents: sampler.network(sampler.pass_inputs(latents)), one[0])
        numbers["gflops_per_pass"] = flops / 1e9
    except NotMeasured as reason:
        details["not_measured"]["gflops_per_pass"] = str(reason)
    try:
        sampler.sample(*many)  # compiles, where no timing has had this batch
        held = sum(
            math.prod(weight.shape) * np.dtype(weight.dtype).itemsize
            for weight in sampler.network.weights
        )
        memory = peak_memory(lambda: sampler.sample(*many), held_bytes=held).describe()
        numbers["peak_memory_mb"] = memory["increase_mb"]
        details["peak_memory"] = {**memory, "batch_size": len(many[0])}
    except NotMeasured as reason:
        details["not_measured"]["peak_memory_mb"] = str(reason)
    return numbers, details


def _draw_inputs(sampler: Any, seed: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    latents = generator.standard_normal((batch_size, *sampler.latent_shape), dtype=np.float32)
    indices = np.arange(batch_size)
    return latents, np.stack([np.full_like(indices, seed), indices], axis=1).astype(np.uint32)


def _observations(name: str, timing: Timing) -> dict[str, Any]:
    return {f"{name}_{key}": value for key, value in timing.describe().items()}

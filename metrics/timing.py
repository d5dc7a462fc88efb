"""How a call is timed: compile, warm up, repeat, and read the clock when the result is there."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FEWEST_REPEATS = 3
MOST_REPEATS = 1000  # as every observation is stored


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

    def describe(self) -> dict[str, Any]:
        """Every observation and its summary in milliseconds, ready for JSON."""
        return {
            "ms": [1e3 * seconds for seconds in self.seconds],
            "warmup_ms": [1e3 * seconds for seconds in self.warmup_seconds],
            "first_call_seconds": self.first_seconds,
            "p50_ms": 1e3 * self.p50,
            "iqr_ms": 1e3 * self.iqr,
        }


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

    The clock is read when the result lies in host memory: `to_host` takes it there, whatever the
    call returns, so that an asynchronous result is timed in full. All `warmup` calls are made,
    however slow they are. Repeats go on until there are `min_repeats` of them and they took
    `min_seconds`; only `max_seconds` ends them earlier, and never before there are three.

    Args:
        call: what is timed; returns arrays of any library, or containers of them.
        min_repeats: number of repeats, if time allows.
        min_seconds: quick calls are repeated for so long, or 1,000 times, for a steadier median.
        max_seconds: limit of the repeats, in seconds.
        warmup: calls after the first that do not count.
        clock: returns seconds.

    Returns:
        The `Timing`.
    """

    def observe() -> float:
        start = clock()
        to_host(call())
        return clock() - start

    def is_settled(repeats: int, elapsed: float) -> bool:
        enough = repeats >= min_repeats and (elapsed >= min_seconds or repeats >= MOST_REPEATS)
        return repeats >= FEWEST_REPEATS and (enough or elapsed >= max_seconds)

    first = observe()
    warmups = tuple(observe() for _ in range(warmup))
    seconds: list[float] = []
    elapsed = 0.0
    while not is_settled(len(seconds), elapsed):
        seconds.append(observe())
        elapsed += seconds[-1]
    return Timing(first, warmups, tuple(seconds))


def to_host(result: Any) -> None:
    """Waits until a result is computed and lies in host memory.

    Args:
        result: an array of NumPy, TensorFlow, JAX, PyTorch or anything with `__array__`; or a
            mapping, list or tuple of results.

    Raises:
        TypeError: if there is no array in it to wait for.
    """
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list | tuple) and result:
        for part in result:
            to_host(part)
    elif hasattr(result, "detach"):  # PyTorch refuses `__array__` on an accelerator
        np.asarray(result.detach().cpu())
    elif hasattr(result, "__array__"):
        np.asarray(result)
    else:
        raise TypeError(
            "what is timed must return arrays, or mappings, lists or tuples of arrays, as the "
            f"clock is read when they lie in host memory. Received: {result!r}"
        )


def find_throughput_batch(
    seconds_per_call: Callable[[int], float],
    *,
    first_batch_size: int,
    max_batch_size: int,
    minimum_gain: float = 0.05,
) -> tuple[int, dict[int, float]]:
    """Doubles the batch until images per second gain no more than `minimum_gain`.

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
        if tried[doubled] <= (1.0 + minimum_gain) * tried[best]:
            break
        best = doubled
    return best, tried

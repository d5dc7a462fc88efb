"""Intervals of binomial proportions."""

from statistics import NormalDist


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927, eq. 13), without continuity correction.

    It stays within [0, 1] and keeps its coverage near 0 and 1, where most of a table's lie.
    It holds for independent samples that each are counted or not, such as rejected ones.

    Args:
        count: samples that are counted, from 0 to `total`.
        total: all samples, 1 or more.
        confidence: of the interval, between 0 and 1.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: if an argument is out of range.
    """
    if not (0 <= count <= total and total >= 1):
        raise ValueError(
            f"`count` must be in [0, total], `total` at least 1. Received: {count=}, {total=}"
        )
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"`confidence` must be in (0, 1). Received: {confidence=}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    fraction, scale = count / total, 1 + z**2 / total
    middle = fraction + z**2 / (2 * total)
    reach = z * (fraction * (1 - fraction) / total + z**2 / (4 * total**2)) ** 0.5
    # At the ends the interval ends there exactly, and not a rounding error beside it.
    low = 0.0 if count == 0 else (middle - reach) / scale
    high = 1.0 if count == total else (middle + reach) / scale
    return float(low), float(high)


def with_interval(name: str, fraction: float, total: int) -> dict[str, float]:
    """A proportion of `total` samples, `{name}`, and its 95 % interval, `{name}_low`, `_high`."""
    low, high = wilson_interval(round(fraction * total), total)
    return {name: fraction, f"{name}_low": low, f"{name}_high": high}

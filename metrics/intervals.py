"""Confidence intervals of fractions."""

import math

from scipy.stats import norm


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a binomial fraction (Wilson 1927).

    Unlike the normal one it keeps its coverage for few samples and near 0 and 1.

    Args:
        count: how many of `total` have the property.
        total: how many there are, 1 or more.
        confidence: probability that the interval holds the true fraction, in (0, 1).

    Returns:
        Lower and upper bound, in [0, 1].

    Raises:
        ValueError: if the arguments are out of range.
    """
    if total < 1 or not 0 <= count <= total or not 0.0 < confidence < 1.0:
        raise ValueError(
            "expected 0 <= count <= total, total >= 1 and 0 < confidence < 1. "
            f"Received: count={count}, total={total}, confidence={confidence}"
        )
    z = float(norm.ppf(0.5 + confidence / 2.0))
    fraction = count / total
    centre = fraction + z**2 / (2 * total)
    spread = z * math.sqrt(fraction * (1.0 - fraction) / total + (z / (2 * total)) ** 2)
    scale = 1.0 + z**2 / total
    low = 0.0 if count == 0 else (centre - spread) / scale
    high = 1.0 if count == total else (centre + spread) / scale
    return low, high

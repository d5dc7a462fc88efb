"""How numbers stand in the tables: rounded to what a reader can use, empty where not measured."""

import math
from collections.abc import Callable
from typing import NamedTuple


class Form(NamedTuple):
    """How a number and its error are written alike: `value / divisor`, decimals, a unit."""

    divisor: float
    decimals: int
    unit: str = ""


def rounded(decimals: int, scale: float = 1.0) -> Callable[[float], Form]:
    """A fixed number of decimals, after a multiplication by `scale`."""
    return lambda value: Form(1 / scale, decimals)


def to_digits(value: float, digits: int = 3) -> Form:
    """As many decimals as make `digits` significant digits, and at least whole numbers."""
    if value == 0 or not math.isfinite(value):
        return Form(1, 0)
    return Form(1, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def in_thousands(count: float) -> Form:
    """Three significant digits and k, M or B."""
    for unit, size in ((" B", 1e9), (" M", 1e6), (" k", 1e3)):
        if count >= size:
            return Form(size, to_digits(count / size).decimals, unit)
    return Form(1, 0)


def in_time(seconds: float) -> Form:
    """One decimal of hours, minutes or few seconds."""
    for unit, size in ((" h", 3600), (" min", 60)):
        if seconds >= size:
            return Form(size, 1, unit)
    return Form(1, 1 if seconds < 10 else 0, " s")


def in_megabytes(value: float) -> Form:
    return Form(1, 0, " MB")


def write(value: float, form: Callable[[float], Form], error: float = math.nan) -> str:
    """Writes a number, and what follows its `±` if that is known; empty without a number."""
    if math.isnan(value):
        return ""
    divisor, decimals, unit = form(value)
    text = f"{value / divisor:z,.{decimals}f}"
    if not math.isnan(error):
        text += f" ± {error / divisor:,.{decimals}f}"
    return text + unit


def significant(value: float, digits: int = 3) -> str:
    return write(value, lambda value: to_digits(value, digits))


def duration(seconds: float) -> str:
    return write(seconds, in_time)


def two_lines(title: str) -> list[str]:
    """Breaks a heading into two lines of about equal length; an arrow stays with its word."""
    words = title.split(" ")
    if len(words) > 1 and len(words[-1]) == 1:
        words[-2:] = [" ".join(words[-2:])]
    halves = [[" ".join(words[:cut]), " ".join(words[cut:])] for cut in range(1, len(words))]
    return min(halves, key=lambda lines: max(map(len, lines)), default=[title])

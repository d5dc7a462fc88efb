"""How numbers stand in the tables: rounded to what a reader can use, empty where not measured."""

import math


def whole(value):
    return "" if math.isnan(value) else f"{round(value):,}"


def fixed(value, digits):
    return "" if math.isnan(value) else f"{value:z,.{digits}f}"


def significant(value, digits=3):
    if math.isnan(value) or value <= 0:
        return "" if math.isnan(value) else f"{value:g}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(value)))}f}"


def kid(mean, std):
    if math.isnan(mean):
        return ""
    return fixed(1e3 * mean, 2) + ("" if math.isnan(std) else f" ± {1e3 * std:.2f}")


def modes(row):
    if math.isnan(row["modes_covered"]):
        return ""
    total = "" if math.isnan(row["num_modes"]) else f"/{round(row['num_modes'])}"
    return f"{round(row['modes_covered'])}{total}"


def divergence(row, with_floor):
    text = fixed(row["mode_kl"], 4)
    floor = fixed(row["mode_kl_floor"], 4)
    return f"{text} ({floor})" if with_floor and text and floor else text


def parameters(count):
    if math.isnan(count):
        return ""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{significant(count / size)} {unit}"
    return f"{round(count)}"


def megabytes(value):
    return "" if math.isnan(value) else f"{whole(value)} MB"


def duration(seconds):
    if math.isnan(seconds):
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"

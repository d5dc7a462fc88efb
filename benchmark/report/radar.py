"""The trilemma as a triangle: three scores from 0 to 1 and the rules behind them."""

import math

import numpy as np
import pandas as pd

from benchmark.drawing.style import (
    GRID,
    INK,
    MUTED,
    SMALL_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    new_figure,
    wrapped,
)
from benchmark.report.rows import (
    is_sanity,
    left_out,
    reference_levels,
    row_labels,
    row_styles,
    sanity_value,
    subject,
)


def radar(rows, *, styles=None):
    """Draws the trilemma as a triangle of quality, speed and diversity, each from 0 to 1.

    The rules that bring each axis to [0, 1] are written below the chart, see `trilemma_scores`, and
    which rows are missing because their speed was not measured.

    Args:
        rows: DataFrame of results of one protocol, sanity rows included.
        styles: Result of `row_styles`, to match other charts.

    Returns:
        A matplotlib `Figure`, or `None` if no row has all three scores.
    """
    scores, rules = trilemma_scores(rows)
    scores = scores.dropna()
    if scores.empty:
        return None
    styles = styles or row_styles(rows)
    figure = new_figure(6.6, 5.0)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_axis_off()
    _draw_triangle(axes)
    for label, row in scores.iterrows():
        style, corners = styles[label], _corners(row.to_numpy())
        closed = np.vstack([corners, corners[:1]])
        axes.plot(
            *closed.T, color=style.color, marker=style.marker, linestyle=style.dashes,
            linewidth=1.7, markersize=5, label=wrapped(label, 2.6), clip_on=False,
        )  # fmt: skip
    figure.suptitle(subject(rows), fontsize=TITLE_SIZE, color=INK, x=0.02, ha="left")
    figure.legend(loc="outside right center", fontsize=TICK_SIZE, frameon=False, handlelength=3.2)
    rules = [*rules, left_out(rows, "images_per_second")]
    figure.supxlabel(
        "\n".join(filter(None, rules)), fontsize=SMALL_SIZE, color=MUTED, x=0.02, ha="left"
    )
    return figure


def trilemma_scores(rows):
    """Brings quality, speed and diversity of each row to [0, 1], higher is better.

    Args:
        rows: DataFrame of results of one protocol, sanity rows included.

    Returns:
        A DataFrame indexed by row label with columns `quality`, `speed`, `diversity` (NaN where not
        measured), and the list of three sentences that state the rules.
    """
    measured = rows[~is_sanity(rows)]
    quality, quality_rule = _quality(
        measured, reference_levels(rows), sanity_value(rows, "test_images", "kid_std")
    )
    speed, speed_rule = _speed(measured["images_per_second"].astype(float))
    diversity, diversity_rule = _diversity(measured, sanity_value(rows, "test_images", "coverage"))
    scores = pd.DataFrame({"quality": quality, "speed": speed, "diversity": diversity})
    scores.index = row_labels(measured)
    return scores, [quality_rule, speed_rule, diversity_rule]


def _quality(measured, levels, floor_std):
    kid = measured["kid_mean"].astype(float)
    positive = kid[kid > 0]
    best = max(levels.get("test_images", math.nan), 1e-6)
    if not math.isfinite(best):
        best = 10.0 ** math.floor(math.log10(positive.min())) if len(positive) else 1e-3
        source = "the decade below the best row"
    elif math.isfinite(floor_std) and floor_std > best:
        best, source = floor_std, "one standard deviation of the test images' KID"
    else:
        source = "the test images' KID"
    worst, ceiling = levels.get("noise", math.nan), "the KID of noise"
    if not worst > best:
        worst = 10.0 ** math.ceil(math.log10(max(positive.max(), 2 * best))) if len(positive) else 1
        ceiling = "the decade above the worst row"
    score = _log_share(kid.clip(best, worst), worst, best)
    return score, (
        f"quality: log KID; 1 = {1e3 * best:.3g} ({source}), 0 = {1e3 * worst:.3g} ({ceiling}), "
        "both × 1000"
    )


def _speed(images_per_second):
    slowest, fastest = 0.1, 10_000.0
    known = images_per_second[images_per_second > 0]
    if len(known):
        slowest = min(slowest, 10.0 ** math.floor(math.log10(known.min())))
        fastest = max(fastest, 10.0 ** math.ceil(math.log10(known.max())))
    score = _log_share(images_per_second.where(images_per_second > 0), slowest, fastest)
    return score, (
        f"speed: log images per second, end to end; 1 = {fastest:,g}, 0 = {slowest:g} images/s"
    )


def _diversity(measured, real_coverage):
    coverage = measured["coverage"].astype(float)
    has_kid = measured["kid_mean"].notna()
    if coverage[has_kid].notna().any():
        if real_coverage > 0:
            rule = f"diversity: coverage divided by that of the test images ({real_coverage:.3f})"
            return (coverage / real_coverage).clip(0, 1), rule
        return coverage.clip(0, 1), "diversity: coverage"
    modes = measured["modes_covered"].astype(float) / measured["num_modes"].astype(float)
    return modes.clip(0, 1), "diversity: share of the modes covered (coverage was not measured)"


def _log_share(values, zero, one):
    return (np.log(values) - math.log(zero)) / (math.log(one) - math.log(zero))


_DIRECTIONS = np.array(
    [[math.cos(math.radians(angle)), math.sin(math.radians(angle))] for angle in (90, 210, 330)]
)


def _corners(scores):
    return np.asarray(scores, dtype=float)[:, None] * _DIRECTIONS


def _draw_triangle(axes):
    for level in (0.25, 0.5, 0.75, 1.0):
        ring = _corners([level] * 3)
        axes.fill(*ring.T, facecolor="none", edgecolor=MUTED if level == 1 else GRID, linewidth=0.8)
        axes.text(
            -0.03, level, f"{level:g}", fontsize=SMALL_SIZE, color=MUTED, va="center", ha="right",
            zorder=3, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6},
        )  # fmt: skip
    for direction in _DIRECTIONS:
        axes.plot(*zip((0, 0), direction, strict=True), color=GRID, linewidth=0.8)
    for name, direction, ha, va in (
        ("quality", (0, 1.12), "center", "bottom"),
        ("speed", (-0.93, -0.54), "center", "top"),
        ("diversity", (0.93, -0.54), "center", "top"),
    ):
        axes.text(*direction, name, ha=ha, va=va, fontsize=TITLE_SIZE, color=INK, weight="bold")
    axes.set_xlim(-1.12, 1.12)
    axes.set_ylim(-0.64, 1.22)

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
from benchmark.report.rows import left_out, row_styles, subject

SLOWEST, FASTEST = 0.1, 100_000.0  # images per second, at 0 and at 1
FULL_DENSITY = FULL_COVERAGE = FULL_SURE = 0.95  # at 1; as many test images reach it
SPEED = "images_per_second"


def radar(group, *, styles=None):
    """Draws the trilemma as a triangle of quality, speed and diversity, each from 0 to 1.

    A line is a model with a sampler, at its means over training seeds. The rules that bring each
    corner to [0, 1] are written below the chart, see `trilemma_scores`, and which lines are missing
    because their speed was not measured.

    Args:
        group: The `Group`.
        styles: Result of `row_styles`, to match other charts.

    Returns:
        A matplotlib `Figure`, or `None` if no line has all three scores.
    """
    scores, rules = trilemma_scores(group.lines)
    scores = scores.drop(index="test_images", errors="ignore").dropna()
    if scores.empty:
        return None
    styles = styles or row_styles(group.rows)
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
    figure.suptitle(subject(group.rows), fontsize=TITLE_SIZE, color=INK, x=0.02, ha="left")
    figure.legend(loc="outside right center", fontsize=TICK_SIZE, frameon=False, handlelength=3.2)
    rules = [*rules, left_out(group.lines, "density", SPEED)]
    figure.supxlabel(
        "\n".join(filter(None, rules)), fontsize=SMALL_SIZE, color=MUTED, x=0.02, ha="left"
    )
    return figure


def trilemma_scores(lines):
    """Brings quality, speed and diversity of each line to [0, 1], higher is better.

    The scales are fixed: the score of a line depends on no other line. Quality and diversity come
    from numbers that do not measure each other: density is that of the samples among real images
    and knows nothing of real images without samples, coverage counts just these.

    Args:
        lines: The `Line`s of a table, checks included.

    Returns:
        A DataFrame indexed by the lines' labels, `test_images` among them, with columns `quality`,
        `speed`, `diversity` (NaN where not measured), and the list of sentences that state the
        rules.
    """
    chosen = [line for line in lines if not line.is_check or line.label == "test_images"]
    index = [line.label for line in chosen]
    means = {
        key: pd.Series([line.mean(key) for line in chosen], index, dtype=float)
        for key in ("density", "coverage", "rejected_fraction", "modes_covered", "num_modes", SPEED)
    }
    quality, quality_rule = quality_score(means["density"], means["rejected_fraction"])
    diversity, diversity_rule = diversity_score(
        means["coverage"], means["modes_covered"] / means["num_modes"]
    )
    scores = pd.DataFrame(
        {"quality": quality, "speed": speed_score(means[SPEED]), "diversity": diversity}
    )
    rules = [
        quality_rule,
        f"speed: log images per second, end to end; 0 = {SLOWEST:g}, 1 = {FASTEST:,.0f} or more",
        diversity_rule,
    ]
    return scores, [*rules, _test_images_rule(scores)]


def quality_score(density, rejected):
    """Density, or the fraction of samples that are recognised where no density was measured."""
    if density.notna().any() or rejected.isna().all():
        return (density / FULL_DENSITY).clip(0, 1), (
            f"quality: density; 1 = {FULL_DENSITY:g} or more"
        )
    return ((1 - rejected) / FULL_SURE).clip(0, 1), (
        f"quality: fraction of samples not rejected (density was not measured); 1 = {FULL_SURE:g} "
        "or more"
    )


def speed_score(images_per_second):
    """The logarithm of images per second, between two fixed ends."""
    known = images_per_second.where(images_per_second > 0)
    return (np.log(known / SLOWEST) / math.log(FASTEST / SLOWEST)).clip(0, 1)


def diversity_score(coverage, modes):
    """Coverage, or the fraction of the modes that is covered where that was not measured."""
    if coverage.notna().any() or modes.isna().all():
        return (coverage / FULL_COVERAGE).clip(0, 1), (
            f"diversity: coverage; 1 = {FULL_COVERAGE:g} or more"
        )
    return modes.clip(0, 1), "diversity: fraction of the modes covered (coverage was not measured)"


def _test_images_rule(scores):
    if "test_images" not in scores.index:
        return ""
    quality, _, diversity = scores.loc["test_images"]
    return f"test images: quality {quality:.2f}, diversity {diversity:.2f}"


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

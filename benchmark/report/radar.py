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
from benchmark.report.columns import LOWER, column
from benchmark.report.rows import left_out, row_styles, subject

SLOWEST, FASTEST = 0.1, 100_000.0  # images per second, at 0 and at 1
FULL_RECOGNISED = FULL_DENSITY = FULL_COVERAGE = 0.95  # at 1; as many test images reach it
SPEED = "images_per_second"


def radar(group, *, styles=None):
    """Draws the trilemma as a triangle of quality, speed and diversity, each from 0 to 1.

    Each model is drawn with its best sampler by the headline of quality, at its means over training
    seeds. The rules that bring each corner to [0, 1] are written below the chart, see
    `trilemma_scores`, and which lines are missing because their speed was not measured.

    Args:
        group: The `Group`.
        styles: Result of `row_styles`, to match other charts.

    Returns:
        A matplotlib `Figure`, or `None` if no line has all three scores.
    """
    scores, rules = trilemma_scores(group.lines)
    complete = set(scores.drop(index="test_images", errors="ignore").dropna().index)
    lines = _best_of_each_model(
        [line for line in group.lines if line.label in complete], column(group.headline)
    )
    if not lines:
        return None
    styles = styles or row_styles(group.rows)
    figure = new_figure(6.6, 5.0)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_axis_off()
    _draw_triangle(axes)
    for line in lines:
        style, corners = styles[line.label], _corners(scores.loc[line.label].to_numpy())
        closed = np.vstack([corners, corners[:1]])
        axes.plot(
            *closed.T, color=style.model_color, marker=style.marker, linewidth=1.7, markersize=5,
            label=wrapped(line.label, 2.6), clip_on=False,
        )  # fmt: skip
    figure.suptitle(subject(group.rows), fontsize=TITLE_SIZE, color=INK, x=0.02, ha="left")
    figure.legend(loc="outside right center", fontsize=TICK_SIZE, frameon=False, handlelength=3.2)
    rules = [*rules, left_out(group.lines, "coverage", SPEED)]
    if len(lines) < len(complete):
        rules.append(f"each model with its best sampler by {column(group.headline).title}")
    figure.supxlabel(
        "\n".join(filter(None, rules)), fontsize=SMALL_SIZE, color=MUTED, x=0.02, ha="left"
    )
    return figure


def _best_of_each_model(lines, quality):
    """One line of each model: that of the best mean of a column of quality, or the first."""
    best = {}
    for line in lines:
        cost = line.mean(quality.key) * (1 if quality.better == LOWER else -1)
        model = line.first["model"], line.first["overrides"]
        if model not in best or cost < best[model][0]:
            best[model] = cost, line
    return [line for _, line in best.values()]


def trilemma_scores(lines):
    """Brings quality, speed and diversity of each line to [0, 1], higher is better.

    The scales are fixed: the score of a line depends on no other line. Quality and diversity come
    from numbers that do not measure each other: the classifier judges each sample by itself, and
    coverage counts the real images that have samples near them.

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
    quality, quality_rule = quality_score(means["rejected_fraction"], means["density"])
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


def quality_score(rejected, density):
    """The fraction of samples that the classifier recognises, or density where there is none."""
    if rejected.notna().any() or density.isna().all():
        return ((1 - rejected) / FULL_RECOGNISED).clip(0, 1), (
            f"quality: fraction of samples not rejected; 1 = {FULL_RECOGNISED:g} or more"
        )
    return (density / FULL_DENSITY).clip(0, 1), (
        f"quality: density (there is no classifier); 1 = {FULL_DENSITY:g} or more"
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

"""The steps as a curve: quality against the number of network passes, for each way to sample."""

import math
import re
from dataclasses import dataclass

import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmark.drawing.style import (
    INK,
    LABEL_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    new_figure,
    style_axes,
)
from benchmark.report.charts import draw_reference_lines, scale_quality_axis
from benchmark.report.columns import column
from benchmark.report.lines import competing
from benchmark.report.rows import marker_of, reference_levels, shade, subject

FEWEST_NUMBERS = 3  # of passes that make a curve
PASSES = "network_passes"
_MOST_TICKS = 12


@dataclass(frozen=True)
class Curve:
    """One way to sample a model with several numbers of passes, or one alone.

    Attributes:
        label: What the legend calls it.
        model: The model's name.
        points: By rising `passes`: means over training seeds and their `std`, NaN of a single one;
            `line` is the label of the line that they are of.
    """

    label: str
    model: str
    points: pd.DataFrame


def frontier(group):
    """Draws the headline of quality against the number of network passes.

    The lines of a model whose samplers differ in the number of their steps alone are one curve. A
    model that is sampled in one way is a point.

    Args:
        group: The `Group`.

    Returns:
        A matplotlib `Figure`, or `None` if no curve has at least three numbers of passes.
    """
    curves = curves_of(group)
    if all(curve.points["passes"].nunique() < FEWEST_NUMBERS for curve in curves):
        return None
    quality = column(group.headline)
    points = pd.concat([curve.points for curve in curves])
    figure = new_figure(6.6, 4.2)
    axes = figure.add_subplot()
    style_axes(axes)
    levels = {
        name: quality.scale * level
        for name, level in reference_levels(group.rows, quality.key).items()
        if name == "test_images"
    }
    scale_quality_axis(axes, points["mean"], points["std"], levels)
    for place, model in enumerate(dict.fromkeys(curve.model for curve in curves)):
        ways = [curve for curve in curves if curve.model == model]
        for index, curve in enumerate(ways):
            _draw(axes, curve, shade(place, index, len(ways)), marker_of(place))
    draw_reference_lines(axes, levels)
    _scale_passes_axis(axes, points["passes"])
    spread = " (mean ± std over seeds)" if points["std"].notna().any() else ""
    axes.set_xlabel("network passes per image", fontsize=LABEL_SIZE)
    axes.set_ylabel(f"{quality.title}{spread}", fontsize=LABEL_SIZE)
    axes.set_title(subject(group.rows), fontsize=TITLE_SIZE, color=INK, loc="left")
    figure.legend(loc="outside lower center", ncols=4, fontsize=TICK_SIZE, frameon=False)
    return figure


def curves_of(group):
    """Returns the `Curve`s of a group, in the order of its lines."""
    scale, found = column(group.headline).scale, {}
    for line in competing(group.lines):
        passes, mean = line.mean(PASSES), line.mean(group.headline)
        if not math.isfinite(passes) or not math.isfinite(mean):
            continue
        first = line.first
        kind = re.sub(r"-\d+", "", first["sampler"], count=1)  # the name without its steps
        key = first["model"], kind, first.get("checkpoint", ""), first["overrides"]
        found.setdefault(key, []).append(
            (line.label, passes, scale * mean, scale * line.std(group.headline))
        )
    ambiguous = len({(model, kind) for model, kind, *_ in found}) < len(found)
    curves = []
    for (model, kind, checkpoint, overrides), points in found.items():
        labels, *values = zip(*points, strict=True)
        label = labels[0]
        if len(points) > 1:
            best = "@best" if checkpoint == "best" else ""
            name = kind if kind == model else f"{model} {kind}"
            label = f"{name}{best} {overrides if ambiguous else ''}".strip()
        table = pd.DataFrame(dict(zip(("passes", "mean", "std"), values, strict=True)))
        table["line"] = labels
        curves.append(Curve(label, model, table.sort_values("passes")))
    return curves


def _draw(axes, curve, color, marker):
    points = curve.points
    axes.errorbar(
        points["passes"], points["mean"], points["std"].fillna(0.0), color=color, marker=marker,
        markersize=5, linewidth=1.3, elinewidth=1.1, label=curve.label, zorder=3,
    )  # fmt: skip


def _scale_passes_axis(axes, passes):
    """Logarithmic, with ticks at powers of two."""
    low, high = passes.min(), passes.max()
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / 1.25, high * 1.25)
    ticks = [2**power for power in range(_MOST_TICKS) if low <= 2**power <= high * 1.25]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))

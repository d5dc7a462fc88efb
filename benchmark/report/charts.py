"""Charts of the results: the Pareto plot and the class histograms, as matplotlib Figures."""

import math

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from benchmark.drawing.style import (
    INK,
    LABEL_SIZE,
    MUTED,
    PALETTE,
    SMALL_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    log_ticks,
    new_figure,
    panel_shape,
    style_axes,
    wrapped,
)
from benchmark.report.columns import LOWER, column
from benchmark.report.label_placement import place_labels
from benchmark.report.rows import left_out, reference_levels, row_styles, subject

LATENCY = "latency_ms_per_image_p50"
LARGEST_LINEAR_RATIO = 30  # of the largest to the smallest number of quality
_MOST_NAMED_CLASSES = 40
_HISTOGRAM_INCHES = 2.9
_BUBBLE_AREA = 420.0  # matplotlib's `s` at coverage 1: the squared diameter, in points


def pareto(group, *, styles=None):
    """Sets sampling time against the headline of quality, a bubble for each model and sampler.

    A bubble lies at the means over training seeds; its bars are their standard deviations, in
    either direction. Where no line has two seeds, the bar is the standard error of the estimate.
    The area is the mean coverage, the mark within it stands for the model; it is hollow where the
    coverage was not measured. The front is that of the means. A dashed line is what test images
    score. Lines without a latency are named below the chart.

    Args:
        group: The `Group`.
        styles: Result of `row_styles`, to match other charts.

    Returns:
        A matplotlib `Figure`, or `None` if no line has both a latency and a headline.
    """
    quality = column(group.headline)
    points, error = _points(group, quality, styles or row_styles(group.rows))
    if points.empty:
        return None
    figure = new_figure(6.6, 4.7)
    axes = figure.add_subplot()
    style_axes(axes)
    levels = {
        name: quality.scale * level
        for name, level in reference_levels(group.rows, quality.key).items()
    }
    levels.pop("noise", None)  # so far off that it would press all else together
    _scale_latency_axis(axes, points)
    scale_quality_axis(axes, points["y"], points["y_error"], levels)
    obstacles = draw_reference_lines(axes, levels)
    obstacles += _draw_front(axes, points, 1 if quality.better == LOWER else -1)
    obstacles += _draw_bubbles(axes, points)
    axes.set_xlabel("milliseconds per image, batch 1, end to end", fontsize=LABEL_SIZE)
    axes.set_ylabel(f"{quality.title} (mean{error})", fontsize=LABEL_SIZE)
    axes.set_title(subject(group.rows), fontsize=TITLE_SIZE, color=INK, loc="left")
    _add_bubble_legend(figure, error, left_out(group.lines, quality.key, LATENCY))
    place_labels(
        axes,
        points[["x", "y"]].to_numpy(),
        [wrapped(label, 2.6) for label in points["label"]],
        colors=[style.model_color for style in points["style"]],
        sizes=points["diameter"].tolist(),
        obstacles=obstacles,
    )
    return figure


def pareto_front(costs):
    """Finds the points that no other point beats in both costs.

    Args:
        costs: Array `(count, 2)`; lower is better.

    Returns:
        Indices of the points on the front, by rising first cost.
    """
    costs = np.asarray(costs, dtype=float)
    front, best = [], math.inf
    for index in np.lexsort((costs[:, 1], costs[:, 0])):
        if costs[index, 1] < best:
            front.append(int(index))
            best = costs[index, 1]
    return front


def class_histograms(histograms, real, class_names, *, styles=None):
    """Compares the fraction of each class among the generated images with its real one.

    Args:
        histograms: Mapping from a row's label to its counts per class.
        real: Counts per class of the real images.
        class_names: Names of the classes. Beyond 40 classes the names are left out, and the
            fractions are sorted, on a logarithmic axis: missing modes show as the empty end.
        styles: Result of `row_styles`, to match other charts.

    Returns:
        A matplotlib `Figure`.
    """
    real = _fractions(real)
    histograms = {label: _fractions(counts) for label, counts in histograms.items()}
    bottom = (
        0.0 if len(real) <= _MOST_NAMED_CLASSES else _half_of_least([real, *histograms.values()])
    )
    rows, columns = panel_shape(len(histograms))
    figure = new_figure(_HISTOGRAM_INCHES * columns + 0.4, 1.9 * rows + 0.5)
    shared = None
    for index, (label, generated) in enumerate(histograms.items()):
        axes = figure.add_subplot(rows, columns, index + 1, sharey=shared)
        shared = shared or axes
        color = styles[label].color if styles else PALETTE[index % len(PALETTE)]
        style_axes(axes, grid="y")
        if bottom:
            _draw_sorted_fractions(axes, generated, real, bottom, color)
        else:
            _draw_named_fractions(axes, generated, real, class_names, color)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda fraction, _: f"{100 * fraction:.3g}%"))
        title = wrapped(label, _HISTOGRAM_INCHES)
        axes.set_title(title, fontsize=TITLE_SIZE, color=INK, loc="left")
        axes.tick_params(labelleft=index % columns == 0)
        if index % columns == 0:
            axes.set_ylabel("fraction of the images", fontsize=TICK_SIZE)
    shared.set_ylim(bottom=bottom)
    handles = [Line2D([], [], color=INK, linewidth=1.4, label="real fraction")]
    figure.legend(handles=handles, loc="outside lower center", fontsize=TICK_SIZE, frameon=False)
    return figure


def scale_quality_axis(axes, values, errors, levels):
    """Scales the vertical axis: linear, and logarithmic over a wide range.

    Where a number of a wide range is not positive, the axis is linear around zero.

    Args:
        axes: The matplotlib axes.
        values: Series of numbers as they are shown.
        errors: Their bars.
        levels: Values of the reference lines, by name.
    """
    shown = np.array([*values, *levels.values()])
    spread = errors.fillna(0)
    low = min(shown.min(), (values - spread).min())
    high = max(shown.max(), (values + spread).max())
    positive = values[values > 0]
    wide = len(positive) > 0 and values.max() > LARGEST_LINEAR_RATIO * positive.min()
    if wide and shown.min() > 0:
        low, high = max(low, shown.min() / 10) / 1.6, high * 1.6
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        log_ticks(axes.yaxis, low, high)
    elif wide:
        _symmetric_log(axes, low, high)
    else:
        margin = 0.12 * (max(high, 0) - min(low, 0)) or 1.0
        axes.set_ylim(min(low, 0) - margin / 2, max(high, 0) + margin)


def draw_reference_lines(axes, levels):
    """Draws the sanity rows' levels across the axes; returns the lines, for labels to avoid."""
    for name, level in levels.items():
        axes.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            f"{name.replace('_', ' ')}\n{level:z.2f}", (1, level), (4, 0),
            xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=SMALL_SIZE, color=MUTED, annotation_clip=False,
        )  # fmt: skip
    left, right = axes.get_xlim()
    return [[(left, level), (right, level)] for level in levels.values()]


def _points(group, quality, styles):
    """A point for each line that has a latency and the headline; and what its bars are."""
    lines = [line for line in group.lines if not line.is_check]
    several = any(line.num_seeds > 1 for line in lines)
    points = pd.DataFrame(
        {
            "label": line.label,
            "style": styles.get(line.label),
            "x": line.mean(LATENCY),
            "y": quality.scale * line.mean(quality.key),
            "x_error": line.std(LATENCY),
            "y_error": quality.scale
            * (line.std(quality.key) if several else line.mean(quality.error)),
            "coverage": line.mean("coverage"),
        }
        for line in lines
    )
    points["area"] = points["coverage"].clip(0) * _BUBBLE_AREA
    points["diameter"] = np.maximum(np.sqrt(points["area"].fillna(0)), 5)
    shown = (points["x"] > 0) & np.isfinite(points["y"])
    error = " ± std over seeds" if several else " ± standard error"
    return points[shown], error if points.loc[shown, "y_error"].notna().any() else ""


def _scale_latency_axis(axes, points):
    spread = points["x_error"].fillna(0)
    low = (points["x"] - spread).clip(points["x"] / 10).min() / 2.2
    high = (points["x"] + spread).max() * 2.2
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    log_ticks(axes.xaxis, low, high)


def _symmetric_log(axes, low, high):
    """Linear around zero, logarithmic outside; the seam is the power of ten above the negatives."""
    seam = 10.0 ** math.ceil(math.log10(max(-low, high / 1e4, 1e-6)))
    axes.set_yscale("symlog", linthresh=seam, linscale=0.6)
    axes.set_ylim(min(1.4 * low, -0.3 * seam), max(high * 1.6, 1.2 * seam))
    decades = range(round(math.log10(seam)), math.ceil(math.log10(max(high * 1.6, seam))))
    ticks = [-seam, 0.0, *(10.0**power for power in decades)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _draw_front(axes, points, sign):
    """Draws the staircase of the means that no other beats; returns it as a line."""
    costs = points[["x", "y"]] * [1, sign]
    front = points.iloc[pareto_front(costs)]
    if len(front) < 2:
        return []
    axes.step(front["x"], front["y"], where="post", color=INK, linewidth=0.9, alpha=0.55, zorder=2)
    corners = np.repeat(front[["x", "y"]].to_numpy(), 2, axis=0)
    return [np.column_stack([corners[1:, 0], corners[:-1, 1]])]


def _draw_bubbles(axes, points):
    """Draws each point with its error bars; returns the bars as lines for the labels to avoid."""
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    bars = []
    for row in points.itertuples():
        color = row.style.color
        has_area = math.isfinite(row.area)
        if has_area:
            axes.scatter(
                row.x, row.y, s=row.area, facecolor=(*color, 0.22), edgecolor=color, zorder=3
            )  # fmt: skip
        axes.plot(
            row.x, row.y, marker=row.style.marker, color=color, markersize=5,
            markerfacecolor=color if has_area else "white", zorder=4,
        )  # fmt: skip
        ends = [
            [(row.x, max(row.y - row.y_error, bottom)), (row.x, row.y + row.y_error)],
            [(max(row.x - row.x_error, left), row.y), (row.x + row.x_error, row.y)],
        ]
        for bar in (bar for bar in ends if np.isfinite(bar).all()):
            axes.plot(*zip(*bar, strict=True), color=color, linewidth=1.1, zorder=4)
            bars.append(bar)
    return bars


def _add_bubble_legend(figure, error, title):
    handles = [
        Line2D(
            [], [], linestyle="none", marker="o", color=MUTED, markerfacecolor="none",
            markersize=math.sqrt(fraction * _BUBBLE_AREA), label=f"{fraction:g}",
        )
        for fraction in (0.25, 0.5, 1.0)
    ]  # fmt: skip
    handles.insert(0, Line2D([], [], linestyle="none", label="area: coverage"))
    has_front = any(line.get_drawstyle().startswith("steps") for line in figure.axes[0].lines)
    if has_front:
        label = "Pareto front of the means"
        handles.append(Line2D([], [], color=INK, alpha=0.55, linewidth=0.9, label=label))
    if error:
        label = error.removeprefix(" ")
        handles.append(Line2D([], [], color=MUTED, linewidth=1.1, label=f"bars: {label}"))
    title = f"{title}\n" if title else None  # the largest bubble is higher than its line
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=6, fontsize=TICK_SIZE, frameon=False,
        handletextpad=0.6, columnspacing=1.2, title=title, title_fontsize=SMALL_SIZE,
    )  # fmt: skip
    legend.get_title().set_color(MUTED)


def _fractions(counts):
    counts = np.asarray(counts, dtype=float)
    return counts / max(counts.sum(), 1)


def _half_of_least(parts):
    fractions = np.concatenate(parts)
    return fractions[fractions > 0].min() / 2


def _draw_named_fractions(axes, generated, real, class_names, color):
    positions = np.arange(len(generated))
    axes.bar(positions, generated, width=0.72, color=color, alpha=0.75)
    axes.hlines(real, positions - 0.46, positions + 0.46, color=INK, linewidth=1.4)
    names = [str(name) for name in class_names]
    turned = max(map(len, names), default=0) > 2
    axes.set_xticks(
        positions, names, rotation=45 if turned else 0, ha="right" if turned else "center"
    )
    axes.tick_params(axis="x", length=0)


def _draw_sorted_fractions(axes, generated, real, bottom, color):
    generated, real = np.sort(generated)[::-1], np.sort(real)[::-1]
    ranks = np.arange(len(generated) + 1)
    axes.set_yscale("log")
    axes.stairs(
        generated.clip(bottom), ranks, baseline=bottom, fill=True, facecolor=color,
        edgecolor=color, linewidth=1.0, alpha=0.6,
    )  # fmt: skip
    axes.plot(ranks[1:], real, color=INK, linewidth=1.4)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("modes, sorted by fraction", fontsize=TICK_SIZE)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))

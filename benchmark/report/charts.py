"""Charts of the results: the Pareto plot and the class histograms, as matplotlib Figures."""

import math

import numpy as np
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
from benchmark.report.label_placement import place_labels
from benchmark.report.rows import (
    is_sanity,
    left_out,
    reference_levels,
    row_labels,
    row_styles,
    subject,
)

LATENCY = "latency_ms_per_image_p50"
_MOST_NAMED_CLASSES = 40
_HISTOGRAM_INCHES = 2.9
_BUBBLE_AREA = 420.0  # matplotlib's `s` at coverage 1: the squared diameter, in points


def pareto(rows, *, styles=None):
    """Sets sampling time against quality; down and to the left is better.

    The area of a bubble is its coverage, the mark within it tells the model; it is hollow where the
    coverage was not measured. The test images mark what a perfect sampler would score at this
    sample count, noise what none would. The quality axis is logarithmic; where a KID is zero or
    negative, as an unbiased estimate may be, it is linear around zero and logarithmic outside.
    Rows without a latency are named below the chart.

    Args:
        rows: DataFrame of results of one protocol, sanity rows included.
        styles: Result of `row_styles`, to match other charts.

    Returns:
        A matplotlib `Figure`, or `None` if no row has both a latency and a KID.
    """
    points = _labelled(rows, [LATENCY, "kid_mean"], styles)
    points = points[points[LATENCY] > 0]
    if points.empty:
        return None
    figure = new_figure(6.6, 4.7)
    axes = figure.add_subplot()
    style_axes(axes)
    levels = {name: 1e3 * value for name, value in reference_levels(rows).items()}
    _scale_latency_axis(axes, points["x"])
    scale_kid_axis(axes, points["y"], points["error"], levels)
    obstacles = draw_reference_lines(axes, levels)
    obstacles += _draw_front(axes, points)
    obstacles += _draw_bubbles(axes, points)
    axes.set_xlabel("milliseconds per image, batch 1, end to end (median)", fontsize=LABEL_SIZE)
    axes.set_ylabel("KID × 1000 (mean ± std over subsets)", fontsize=LABEL_SIZE)
    axes.set_title(subject(rows), fontsize=TITLE_SIZE, color=INK, loc="left")
    _add_bubble_legend(figure, title=left_out(rows, LATENCY))
    place_labels(
        axes,
        points[["x", "y"]].to_numpy(),
        [wrapped(label, 2.6) for label in points["label"]],
        colors=[style.color for style in points["style"]],
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
    """Compares the share of each class among the generated images with its real share.

    Args:
        histograms: Mapping from a row's label to its counts per class.
        real: Counts per class of the real images.
        class_names: Names of the classes. Beyond 40 classes the names are left out and the shares
            are sorted, on a logarithmic axis, so that missing modes show as the empty end.
        styles: Result of `row_styles`, to match other charts.

    Returns:
        A matplotlib `Figure`.
    """
    real = _shares(real)
    histograms = {label: _shares(counts) for label, counts in histograms.items()}
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
            _draw_sorted_shares(axes, generated, real, bottom, color)
        else:
            _draw_named_shares(axes, generated, real, class_names, color)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
        title = wrapped(label, _HISTOGRAM_INCHES)
        axes.set_title(title, fontsize=TITLE_SIZE, color=INK, loc="left")
        axes.tick_params(labelleft=index % columns == 0)
        if index % columns == 0:
            axes.set_ylabel("share of the images", fontsize=TICK_SIZE)
    shared.set_ylim(bottom=bottom)
    handles = [Line2D([], [], color=INK, linewidth=1.4, label="real share")]
    figure.legend(handles=handles, loc="outside lower center", fontsize=TICK_SIZE, frameon=False)
    return figure


def scale_kid_axis(axes, kids, errors, levels):
    """Makes the vertical axis logarithmic; where a KID is not positive, linear around zero.

    Args:
        axes: The matplotlib axes.
        kids: Series of KID x 1000.
        errors: Their standard deviations.
        levels: Values of the reference lines, by name.
    """
    shown = np.array([*kids, *levels.values()])
    spread = errors.fillna(0)
    tops, bottoms = kids + spread, kids - spread
    if shown.min() > 0:
        low = max(min(shown.min(), bottoms.min()), shown.min() / 10) / 1.6
        high = max(shown.max(), tops.max()) * 1.6
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        log_ticks(axes.yaxis, low, high)
    else:
        _symmetric_log(axes, min(shown.min(), bottoms.min()), max(shown.max(), tops.max()))


def draw_reference_lines(axes, levels):
    """Draws the sanity rows' levels across the axes; returns the lines, for labels to avoid."""
    names = {"test_images": "test images", "noise": "noise"}
    for name, level in levels.items():
        axes.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            f"{names[name]}\n{level:z.2f}", (1, level), (4, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=SMALL_SIZE, color=MUTED,
            annotation_clip=False,
        )  # fmt: skip
    left, right = axes.get_xlim()
    return [[(left, level), (right, level)] for level in levels.values()]


def _labelled(rows, needed, styles):
    """Returns the measured rows that have finite values in `needed`, with label and style."""
    styles = styles or row_styles(rows)
    measured = rows[~is_sanity(rows)]
    measured = measured.assign(label=row_labels(measured))
    finite = np.isfinite(measured[needed].astype(float)).all(axis=1)
    measured = measured[finite]
    coverage = measured["coverage"].astype(float)
    return measured.assign(
        style=[styles[label] for label in measured["label"]],
        x=measured[LATENCY].astype(float),
        y=1e3 * measured["kid_mean"].astype(float),
        error=1e3 * measured["kid_std"].astype(float),
        area=coverage.clip(0) * _BUBBLE_AREA,
        diameter=np.maximum(np.sqrt(coverage.fillna(0).clip(0) * _BUBBLE_AREA), 5),
    )


def _scale_latency_axis(axes, milliseconds):
    low, high = milliseconds.min() / 2.2, milliseconds.max() * 2.2
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


def _draw_front(axes, points):
    front = points.iloc[pareto_front(points[["x", "y"]])]
    if len(front) < 2:
        return []
    axes.step(front["x"], front["y"], where="post", color=INK, linewidth=0.9, alpha=0.55, zorder=2)
    corners = np.repeat(front[["x", "y"]].to_numpy(), 2, axis=0)
    return [np.column_stack([corners[1:, 0], corners[:-1, 1]])]


def _draw_bubbles(axes, points):
    """Draws each point with its error bar; returns the bars as lines for the labels to avoid."""
    bottom, _ = axes.get_ylim()
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
        if math.isfinite(row.error):
            bar = [(row.x, max(row.y - row.error, bottom)), (row.x, row.y + row.error)]
            axes.plot(*zip(*bar, strict=True), color=color, linewidth=1.1, zorder=4)
            bars.append(bar)
    return bars


def _add_bubble_legend(figure, title):
    handles = [
        Line2D(
            [], [], linestyle="none", marker="o", color=MUTED, markerfacecolor="none",
            markersize=math.sqrt(share * _BUBBLE_AREA), label=f"{share:g}",
        )
        for share in (0.25, 0.5, 1.0)
    ]  # fmt: skip
    handles.insert(0, Line2D([], [], linestyle="none", label="bubble area: coverage"))
    handles.append(Line2D([], [], color=INK, alpha=0.55, linewidth=0.9, label="Pareto front"))
    title = f"{title}\n" if title else None  # the largest bubble is higher than its line
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=5, fontsize=TICK_SIZE, frameon=False,
        handletextpad=0.6, columnspacing=1.4, title=title, title_fontsize=SMALL_SIZE,
    )  # fmt: skip
    legend.get_title().set_color(MUTED)


def _shares(counts):
    counts = np.asarray(counts, dtype=float)
    return counts / max(counts.sum(), 1)


def _half_of_least(parts):
    shares = np.concatenate(parts)
    return shares[shares > 0].min() / 2


def _draw_named_shares(axes, generated, real, class_names, color):
    positions = np.arange(len(generated))
    axes.bar(positions, generated, width=0.72, color=color, alpha=0.75)
    axes.hlines(real, positions - 0.46, positions + 0.46, color=INK, linewidth=1.4)
    names = [str(name) for name in class_names]
    turned = max(map(len, names), default=0) > 2
    axes.set_xticks(
        positions, names, rotation=45 if turned else 0, ha="right" if turned else "center"
    )
    axes.tick_params(axis="x", length=0)


def _draw_sorted_shares(axes, generated, real, bottom, color):
    generated, real = np.sort(generated)[::-1], np.sort(real)[::-1]
    ranks = np.arange(len(generated) + 1)
    axes.set_yscale("log")
    axes.stairs(
        generated.clip(bottom), ranks, baseline=bottom, fill=True, facecolor=color,
        edgecolor=color, linewidth=1.0, alpha=0.6,
    )  # fmt: skip
    axes.plot(ranks[1:], real, color=INK, linewidth=1.4)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("modes, sorted by share", fontsize=TICK_SIZE)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))

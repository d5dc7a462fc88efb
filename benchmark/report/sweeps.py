"""What a numeric option does to quality: one figure for each option that runs of a table vary."""

import math
import re
from dataclasses import dataclass, field

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmark.drawing.style import (
    INK,
    LABEL_SIZE,
    MUTED,
    PALETTE,
    TICK_SIZE,
    TITLE_SIZE,
    log_ticks,
    new_figure,
    style_axes,
)
from benchmark.report.charts import draw_reference_lines, scale_quality_axis
from benchmark.report.collapse import COLLAPSE
from benchmark.report.columns import column
from benchmark.report.rows import headline_of, is_sanity, reference_levels, subject

FEWEST_VALUES = 3
_MOST_TICKS = 10
_LONGEST_LABEL = 24
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass
class Line:
    """Rows that differ in one option only, and in the seed.

    Attributes:
        values: The option's value of each row.
        rows: The rows, Series.
        diverged: Values of the option whose training diverged, so that there is no row.
    """

    values: list[float] = field(default_factory=list)
    rows: list = field(default_factory=list)
    diverged: list[float] = field(default_factory=list)


def sweeps(rows, configuration_of):
    """Draws the headline of quality against every numeric option that takes at least three values.

    Rows belong to one line if they have the model, the sampler and all other overrides in common.
    A run that does not override the option has the value that its configuration says.

    Args:
        rows: DataFrame of results of one protocol, sanity rows included.
        configuration_of: Function of a row's `path` that returns its run's configuration, nested
            dicts, or `None`; called where an option is swept only, as reading one takes long.

    Returns:
        `dict` from the option to a matplotlib `Figure`.
    """
    found = find_sweeps(rows, configuration_of)
    return {option: draw_sweep(rows, option, lines) for option, lines in found.items()}


def find_sweeps(rows, configuration_of):
    """Finds the options that are swept, and their lines.

    Returns:
        `dict` from the option to a `dict` from the line's label to the `Line`.
    """
    trained = rows[~is_sanity(rows)]
    options = {
        option
        for text in trained["overrides"]
        for option, value in parse_overrides(text).items()
        if math.isfinite(number(value))
    }
    quality = headline_of(rows)
    found = {
        option: _lines(trained, option, configuration_of, quality) for option in sorted(options)
    }
    return {option: lines for option, lines in found.items() if lines}


def parse_overrides(text):
    """Splits a row's overrides into `{option: value}`, both texts."""
    return dict(part.split("=", 1) for part in text.split() if "=" in part)


def number(value):
    """The value as a float, NaN if it is no number."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def draw_sweep(rows, option, lines):
    """Draws the headline over one option: bars are the rows' standard errors, the line means.

    Args:
        rows: DataFrame of results, for the title and the test images' level.
        option: The option's name.
        lines: `dict` from a label to a `Line`.

    Returns:
        A matplotlib `Figure`.
    """
    figure = new_figure(6.0, 3.9)
    axes = figure.add_subplot()
    style_axes(axes)
    quality = column(headline_of(rows))
    measured = rows.loc[[row.name for line in lines.values() for row in line.rows]]
    level = quality.scale * reference_levels(rows, quality.key).get("test_images", math.nan)
    levels = {"test_images": level} if math.isfinite(level) else {}
    errors = measured.get(quality.error, measured[quality.key] * math.nan)
    scale_quality_axis(axes, quality.scale * measured[quality.key], quality.scale * errors, levels)
    for index, line in enumerate(lines.values()):
        color, marker = PALETTE[index % len(PALETTE)], _MARKERS[index % len(_MARKERS)]
        _draw_line(axes, line, quality, color, marker)
    _scale_option_axis(axes, lines.values())
    draw_reference_lines(axes, levels)
    axes.set_xlabel(option, fontsize=LABEL_SIZE)
    axes.set_ylabel(
        f"{quality.title} (± standard error)" if quality.error else quality.title,
        fontsize=LABEL_SIZE,
    )
    axes.set_title(subject(rows), fontsize=TITLE_SIZE, color=INK, loc="left")
    _add_legend(figure, lines)
    return figure


def _lines(trained, option, configuration_of, quality):
    """The lines of an option, by label; those of fewer than three values are left out."""
    lines, diverged = {}, []
    samplers = _sampler_names(trained, option)
    for (_, row), sampler in zip(trained.iterrows(), samplers, strict=True):
        others = parse_overrides(row["overrides"])
        value = number(others.pop(option, _configured(configuration_of, row, option)))
        alike = (row["model"], *(f"{key}={text}" for key, text in sorted(others.items())))
        if row["status"] == "diverged":
            diverged.append((alike, value))
        elif math.isfinite(value) and math.isfinite(row[quality]):
            line = lines.setdefault((*alike[:1], sampler, *alike[1:]), Line())
            line.values.append(value)
            line.rows.append(row)
    for key, line in lines.items():
        line.diverged = [value for alike, value in diverged if alike == (key[0], *key[2:])]
    return {
        " ".join(filter(None, key)): line
        for key, line in lines.items()
        if len({*line.values, *line.diverged}) >= FEWEST_VALUES
    }


def _sampler_names(trained, option):
    """The rows' samplers without what the option changes in their names.

    A name holds the number of steps, and the options of the sampler after it. Where a run has
    several samplers that would be called alike, each keeps its name. The best weights by
    validation are separate from the last ones.
    """
    changed = r"-\d.*" if option.startswith("sampler.") else r"-\d+"
    short = trained["sampler"].map(lambda name: re.sub(changed, "", name, count=1))
    weights = trained["checkpoint"] if "checkpoint" in trained else short.map(lambda _: "last")
    named = trained.assign(short=short, checkpoint=weights)
    columns = ["run", "seed", "overrides", "checkpoint", "short"]
    names = trained["sampler"].where(named[columns].duplicated(keep=False), short)
    return names.where(weights != "best", names + " best").tolist()


def _configured(configuration_of, row, option):
    """What the run's configuration says of an option; nothing of a sampler's, as a run has many."""
    node = {} if option.startswith("sampler.") else configuration_of(row["path"])
    for key in option.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _draw_line(axes, line, quality, color, marker):
    values = np.array(line.values)
    numbers = quality.scale * np.array([row[quality.key] for row in line.rows])
    errors = quality.scale * np.array([row.get(quality.error, math.nan) for row in line.rows])
    distinct = np.unique(values)
    means = [numbers[values == value].mean() for value in distinct]
    axes.plot(distinct, means, color=color, linewidth=1.3, zorder=2)
    for value, height, error, row in zip(values, numbers, errors, line.rows, strict=True):
        axes.errorbar(
            value, height, error if math.isfinite(error) else None, color=color, marker=marker,
            markersize=5, elinewidth=1.1, zorder=3,
            markerfacecolor="white" if row["notes"].startswith(COLLAPSE) else color,
        )  # fmt: skip
    if line.diverged:
        axes.plot(
            line.diverged, np.ones(len(line.diverged)), color=color, marker="x", linestyle="none",
            transform=axes.get_xaxis_transform(), clip_on=False, zorder=3,
        )  # fmt: skip


def _scale_option_axis(axes, lines):
    """Logarithmic beyond a decade; a tick at each value unless they are many."""
    distinct = sorted({value for line in lines for value in (*line.values, *line.diverged)})
    if distinct[0] > 0 and distinct[-1] / distinct[0] > 10:
        axes.set_xscale("log")
        log_ticks(axes.xaxis, distinct[0], distinct[-1])
    if len(distinct) <= _MOST_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(distinct))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _add_legend(figure, lines):
    handles = [
        Line2D(
            [], [], color=PALETTE[index % len(PALETTE)], marker=_MARKERS[index % len(_MARKERS)],
            markersize=5, linewidth=1.3, label=label,
        )
        for index, label in enumerate(lines)
    ]  # fmt: skip
    marks = {
        COLLAPSE: ("o", any(_collapsed(line) for line in lines.values())),
        "training diverged": ("x", any(line.diverged for line in lines.values())),
    }
    handles += [
        Line2D(
            [], [], linestyle="none", marker=marker, color=MUTED, markerfacecolor="white",
            markersize=5, label=label,
        )
        for label, (marker, is_there) in marks.items()
        if is_there
    ]  # fmt: skip
    columns = 1 if max(map(len, lines)) > _LONGEST_LABEL else 3
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=TICK_SIZE,
        frameon=False,
    )  # fmt: skip


def _collapsed(line):
    return any(row["notes"].startswith(COLLAPSE) for row in line.rows)

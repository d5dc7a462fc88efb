"""The learning curves: what validation measured of each model over the seconds of its training."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmark.drawing.style import (
    INK,
    LABEL_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    log_ticks,
    new_figure,
    style_axes,
)
from benchmark.headline import VALIDATION_REJECTED
from benchmark.report.columns import column
from benchmark.report.lines import competing
from benchmark.report.rows import Style
from benchmark.stored_results import StoredRow

_MINUTE, _HOUR = 60, 3600
_TIMES = (1, 2, 5, 10, 20, 30)
_TICKS = (
    *_TIMES,
    *(_MINUTE * time for time in _TIMES),
    *(_HOUR * time for time in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)
_MOST_TICKS = 8
_LARGEST_LINEAR_RATIO = 10  # of the longest training to the shortest


@dataclass(frozen=True)
class Curve:
    """How a model learned.

    Attributes:
        label: What the legend calls it.
        style: How its line looks.
        points: By step: `seconds` and `mean`, means over training seeds, and `std`, NaN of one.
    """

    label: str
    style: Style
    points: pd.DataFrame


@dataclass(frozen=True)
class History:
    """What the trainings of a model measured in validation.

    Attributes:
        model: Its name.
        overrides: Those of its trainings.
        is_ambiguous: Whether another history is of this model too.
        checkpoints: DataFrame of those that were validated: `step`, `seconds`, what validation
            measured, the training's `run` and its `seed`.
    """

    model: str
    overrides: str
    is_ambiguous: bool
    checkpoints: pd.DataFrame

    @property
    def label(self) -> str:
        """The model, with its overrides where it takes them to distinguish it from another."""
        return f"{self.model} {self.overrides}".strip() if self.is_ambiguous else self.model


def learning_curves(histories, group, styles):
    """Draws the headline of quality, as validation measured it, over the seconds of training.

    A point is the mean over the training seeds that have that checkpoint, the band around a curve
    their standard deviation. Trainings that were validated in another way, or not at all, and
    those that diverged are left out.

    Args:
        histories: Result of `histories_of`.
        group: The `Group`.
        styles: Result of `row_styles`; a model looks like its first line.

    Returns:
        A matplotlib `Figure`, or `None` if no training has such values.
    """
    curves = curves_of(histories, group, styles)
    if not curves:
        return None
    quality, points = column(group.headline), pd.concat([curve.points for curve in curves])
    figure = new_figure(9.6, 3.8)
    axes = figure.add_subplot()
    style_axes(axes)
    _scale_quality_axis(axes, quality.scale * points["mean"])
    _scale_time_axis(axes, [curve.points["seconds"] for curve in curves])
    for curve in curves:
        _draw(axes, curve, quality.scale)
    spread = " (mean ± std over seeds)" if points["std"].notna().any() else ""
    axes.set_xlabel("time of training", fontsize=LABEL_SIZE)
    axes.set_ylabel(f"validation {quality.title or quality.key}{spread}", fontsize=LABEL_SIZE)
    title = f"{group.dataset}, preset {group.preset}"
    axes.set_title(title, fontsize=TITLE_SIZE, color=INK, loc="left")
    figure.legend(
        loc="outside lower center", ncols=min(len(curves), 5), fontsize=TICK_SIZE, frameon=False
    )
    return figure


def curves_of(histories, group, styles):
    """Returns the `Curve`s of a group, one for each model and set of overrides that has any."""
    firsts = {}
    for line in competing(group.lines):
        firsts.setdefault((line.first["model"], line.first["overrides"]), line)
    value = f"validation_{group.headline}"
    return [
        Curve(
            each.label,
            styles[firsts[each.model, each.overrides].label],
            _over_seeds(each.checkpoints.rename(columns={value: "value"})),
        )
        for each in histories
    ]


def histories_of(results_dir, group):
    """Returns the `History` of each model and set of overrides that has been validated."""
    value, found = f"validation_{group.headline}", {}
    for line in competing(group.lines):
        runs = found.setdefault((line.first["model"], line.first["overrides"]), {})
        for row in line.rows.to_dict("records"):
            if row["run"] not in runs:  # it is sampled in several ways
                runs[row["run"]] = row["seed"], _stored_history(results_dir, row, value)
    tables = {name: _table(runs, value) for name, runs in found.items()}
    tables = {name: table for name, table in tables.items() if table is not None}
    models = [model for model, _ in tables]
    return [
        History(model, overrides, models.count(model) > 1, table)
        for (model, overrides), table in tables.items()
    ]


def _stored_history(results_dir, row, value):
    """The history of a row's run; `None` without one that has the column `value`.

    Values of another instrument than the row's are not comparable with those of other rows.
    """
    run = StoredRow(results_dir, row["path"]).run
    history = run.history if run is not None else None
    if history is None or value not in history:
        return None
    instruments = row["kid_encoder"], row["classifier"].partition(",")[0]
    is_comparable = run.state.get("validation", {}).get("instrument") in instruments
    return history if is_comparable else None


def _table(runs, value):
    """The validated checkpoints of `(seed, history)` by run; `None` if there is none."""
    seeds = {run: seed for run, (seed, _) in runs.items()}
    histories = {run: history for run, (_, history) in runs.items() if history is not None}
    if not histories:
        return None
    table = pd.concat(histories, names=["run"])
    run = table.index.get_level_values("run")
    table = table[
        [name for name in ("step", "seconds", value, VALIDATION_REJECTED) if name in table]
    ]
    table = table.assign(run=run, seed=run.map(seeds))[table[value].notna()]
    return table.reset_index(drop=True) if len(table) else None


def _over_seeds(values):
    """Means over runs of one seed, then mean and standard deviation over seeds, by step."""
    values = values[["step", "seed", "seconds", "value"]]
    seeds = values.groupby(["step", "seed"], dropna=False).mean().groupby("step")
    return pd.DataFrame(
        {
            "seconds": seeds["seconds"].mean(),
            "mean": seeds["value"].mean(),
            "std": seeds["value"].std(),
        }
    )


def _draw(axes, curve, scale):
    seconds, mean = curve.points["seconds"], scale * curve.points["mean"]
    std = scale * curve.points["std"].fillna(0.0)
    axes.plot(
        seconds, mean, color=curve.style.color, marker=curve.style.marker, markersize=5,
        linewidth=1.4, label=curve.label, zorder=3,
    )  # fmt: skip
    if std.any():
        low = np.maximum(mean - std, axes.get_ylim()[0])  # a logarithmic axis has no negatives
        axes.fill_between(
            seconds, low, mean + std, color=curve.style.color, alpha=0.18, linewidth=0, zorder=2
        )


def _scale_quality_axis(axes, values):
    """Logarithmic, as distances fall fast at first, unless a value is not positive."""
    low, high = values.min(), values.max()
    if low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
        log_ticks(axes.yaxis, low / 1.3, high * 1.3)
    else:
        margin = 0.1 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)


def _scale_time_axis(axes, times):
    """Linear, and logarithmic where one training is much longer than another."""
    ends = [seconds.max() for seconds in times]
    first, last = min(seconds.min() for seconds in times), max(ends)
    if last > _LARGEST_LINEAR_RATIO * min(ends):
        axes.set_xscale("log")
        low, high = first / 1.3, last * 1.3
        ticks = [tick for tick in _TICKS if low <= tick <= high]
        ticks = ticks[:: math.ceil(len(ticks) / _MOST_TICKS) or 1]
    else:
        low, high = 0.0, 1.04 * last
        step = next((tick for tick in _TICKS if high / tick < _MOST_TICKS), _TICKS[-1])
        ticks = np.arange(0, high, step)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock_time(seconds)))


def clock_time(seconds):
    """Writes a round time in the unit in which it is read: `30 s`, `5 min`, `2 h`."""
    for unit, size in (("h", _HOUR), ("min", _MINUTE)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds else "0"

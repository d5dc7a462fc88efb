"""Figures of training: tables of logged losses in, Figures out."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter

from benchmark.drawing.style import (
    INK,
    LABEL_SIZE,
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

_NOT_LOSSES = ("step", "epoch", "images_seen", "seconds", "learning_rate")
_VALIDATION = "validation_"  # start of the columns that hold the quality of samples
_ACCURACY = "accuracy"  # end of the columns that hold a fraction, not a loss


def loss_curves(history, *, title):
    """Draws every logged loss over the images seen: as logged (thin) and smoothed (bold).

    The smoothed line is a centred mean over a twenty-fifth of the logged points. The losses of a
    GAN's two players share the axes, and their sum, which means nothing, is left out. The vertical
    axis is logarithmic where all losses are positive and span more than a decade. Accuracies are
    dashed and have an axis of their own, on the right.

    Args:
        history: DataFrame with `images_seen` (or `step`) and one column per loss.
        title: Title of the figure.

    Returns:
        A matplotlib `Figure`.
    """
    return loss_panels({title: history}, panel_size=(6.0, 3.8))


def loss_panels(histories: Mapping[str, pd.DataFrame], *, panel_size=(3.6, 2.9)):
    """Draws the losses of several runs side by side, each as `loss_curves` does.

    Args:
        histories: Mapping from a title to the history of that run.
        panel_size: Width and height of one panel, in inches.

    Returns:
        A matplotlib `Figure`.
    """
    rows, columns = panel_shape(len(histories))
    figure = new_figure(panel_size[0] * columns, panel_size[1] * rows)
    for index, (title, history) in enumerate(histories.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_losses(axes, history)
        title = wrapped(title, panel_size[0])
        axes.set_title(title, fontsize=TITLE_SIZE, color=INK, loc="left")
    return figure


def _loss_columns(history) -> Sequence[str]:
    numeric = history.select_dtypes("number").columns
    losses = [
        name for name in numeric if name not in _NOT_LOSSES and not name.startswith(_VALIDATION)
    ]
    names = [name for name in losses if history[name].notna().any()]
    if {"generator_loss", "discriminator_loss"} <= set(names):
        names = [name for name in names if name != "loss"]
    return names


def _without_repetition(history, names):
    """Leaves out the total loss where another column, under a name that says more, is the same."""
    others = [name for name in names if name != "loss"]
    if len(others) < len(names) and any(
        np.allclose(history[name], history["loss"], rtol=1e-4, equal_nan=True) for name in others
    ):
        return others
    return names


def _draw_losses(axes, history):
    style_axes(axes)
    over = "images_seen" if "images_seen" in history else "step"
    names = _without_repetition(history, _loss_columns(history))
    accuracies = [name for name in names if name.endswith(_ACCURACY)]
    values = history[names].astype(float).replace([np.inf, -np.inf], np.nan)
    lines = []
    if accuracies:
        right = axes.twinx()
        right.set_ylim(0.0, 1.0)
        right.set_ylabel("accuracy (dashed)", fontsize=LABEL_SIZE)
        style_axes(right, grid=None)
    for name, color in zip(names, PALETTE * math.ceil(len(names) / len(PALETTE)), strict=False):
        points = values[name].dropna()
        position = history.loc[points.index, over]
        window = max(1, len(points) // 25)
        smooth = points.rolling(window, center=True, min_periods=1).mean()
        where, style = (right, "--") if name in accuracies else (axes, "-")
        where.plot(position, points, color=color, linewidth=0.5, alpha=0.35)
        label = name.replace("_", " ")
        lines += where.plot(position, smooth, style, color=color, linewidth=1.6, label=label)
    losses = values.drop(columns=accuracies)
    _scale_losses(axes, losses.to_numpy())
    _mark_divergence(axes, history[over], losses)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(over.replace("_", " "), fontsize=LABEL_SIZE)
    axes.set_ylabel("loss", fontsize=LABEL_SIZE)
    if lines:
        axes.legend(
            handles=lines, loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=4.2,
            ncols=2, fontsize=TICK_SIZE, frameon=False,
        )  # fmt: skip


def _scale_losses(axes, values):
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > 10:
        axes.set_yscale("log")
        log_ticks(axes.yaxis, values.min(), values.max())


def _mark_divergence(axes, position, losses):
    """Marks the place after which no loss was finite."""
    if len(losses) and losses.iloc[-1].isna().all():
        last = losses.dropna(how="all").index
        end = position[last[-1]] if len(last) else position.iloc[0]
        axes.axvline(end, color=INK, linewidth=0.8, linestyle=":")
        axes.annotate(
            "diverged", (end, 1), (-3, -2), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=SMALL_SIZE, color=INK, ha="right", va="top",
        )  # fmt: skip

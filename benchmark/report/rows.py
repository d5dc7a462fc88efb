"""What the rows of a results table are called and how they look, the same in every figure."""

import math
import re
import textwrap
from dataclasses import dataclass

import pandas as pd
from matplotlib.colors import to_rgb

from benchmark.drawing.style import PALETTE

SANITY_MODELS = ("test_images", "noise", "repeated_image")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1.5, 1)), (0, (8, 2)))


@dataclass(frozen=True)
class Style:
    """How one row looks in every chart: its own colour, and its model's marker and dashes."""

    color: tuple
    marker: str
    dashes: tuple


def is_sanity(rows):
    """Marks the sanity rows: test images, noise, one image repeated."""
    return rows["model"].isin(SANITY_MODELS)


def row_labels(rows):
    """Names each row by model and sampler, and by seed, overrides or run where that is needed.

    A sampler with the best weights is called `<sampler>@best`, as its folder is.

    Args:
        rows: DataFrame of results.

    Returns:
        List of distinct strings, one per row.
    """
    samplers = _text(rows, "sampler")
    is_best = (_text(rows, "checkpoint") == "best") & (samplers != "")
    samplers = samplers.where(~is_best, samplers + "@best")
    names = (_text(rows, "model") + " " + samplers).str.strip()
    for column, form in (("seed", " seed {}"), ("overrides", " {}"), ("run", " {}")):
        repeated = names.duplicated(keep=False)
        extra = _text(rows, column)
        tells_apart = extra.groupby(names).transform("nunique") > 1
        chosen = repeated & tells_apart & (extra != "")
        names = names.where(~chosen, names + extra.map(form.format))
    repeats = names.groupby(names).cumcount()
    return [
        name + f" ({repeat + 1})" * (repeat > 0)
        for name, repeat in zip(names, repeats, strict=True)
    ]


def row_styles(*tables):
    """Gives each row that is not a sanity row a look, the same in every chart.

    Seeds of one model and sampler share it, so that their spread shows.

    Args:
        *tables: DataFrames of results whose charts shall match: rows of one label look alike.

    Returns:
        Dict from the row's label to its `Style`.
    """
    trained = [rows[~is_sanity(rows)] for rows in tables]
    models = list(dict.fromkeys(model for rows in trained for model in rows["model"]))
    looks, styles = {}, {}
    for rows in trained:
        for label, model in zip(row_labels(rows), rows["model"], strict=True):
            source = re.sub(r" seed \S+", "", label)
            looks.setdefault(source, _style(len(looks), models.index(model)))
            styles[label] = looks[source]
    return styles


def _style(index, family):
    shade = 0.62 ** (index // len(PALETTE))
    color = tuple(shade * part for part in to_rgb(PALETTE[index % len(PALETTE)]))
    return Style(color, _MARKERS[family % len(_MARKERS)], _DASHES[family % len(_DASHES)])


def sanity_value(rows, model, column):
    values = rows.loc[rows["model"] == model, column].dropna()
    return float(values.iloc[0]) if len(values) else math.nan


def reference_levels(rows):
    levels = {name: sanity_value(rows, name, "kid_mean") for name in ("test_images", "noise")}
    return {name: level for name, level in levels.items() if math.isfinite(level)}


def left_out(rows, speed):
    """Says which measured rows a chart of speed cannot show; empty if it shows them all.

    Args:
        rows: DataFrame of results.
        speed: The column of the chart's speed.
    """
    measured = rows[~is_sanity(rows)]
    unknown = (measured["kid_mean"].notna() & measured[speed].isna()).tolist()
    labels = [label for label, left in zip(row_labels(measured), unknown, strict=True) if left]
    text = f"not shown, as their speed was not measured: {', '.join(labels)}" if labels else ""
    return textwrap.fill(text, 110)


def subject(rows):
    """One title for all charts: the dataset, the sample count and the encoder."""
    trained = rows[~is_sanity(rows)]
    forms = {
        "dataset": "{}",
        "preset": "preset {}",
        "num_samples": "N = {:,.0f}",
        "kid_encoder": "{}",
    }
    parts = []
    for column, form in forms.items():
        known = trained[column].replace("", None).dropna()
        parts += [form.format(known.iloc[0])] if len(known) else []
    return ", ".join(parts)


def _text(rows, column):
    values = rows[column] if column in rows else pd.Series("", index=rows.index)
    return values.map(_plain).astype(str)


def _plain(value):
    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)

"""What the rows of a results table are called and how they look, the same in every figure."""

import math
import textwrap
from dataclasses import dataclass

import pandas as pd
from matplotlib.colors import to_rgb

from benchmark.drawing.style import PALETTE

SANITY_MODELS = ("test_images", "few_images", "repeated_image", "noise")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p")
_LIGHTEST = 0.5  # of the way to white, the last of a model's lines


@dataclass(frozen=True)
class Style:
    """How one line looks in every chart: a shade of its model's colour, and its model's marker."""

    color: tuple
    model_color: tuple
    marker: str


def is_sanity(rows):
    """Marks the sanity rows: test images, noise, one image repeated, few images repeated."""
    return rows["model"].isin(SANITY_MODELS)


def line_identities(rows):
    """What the rows of one line share: model, sampler, checkpoint and overrides, as texts.

    Rows without a seed, of samples made elsewhere, are distinguished by their run.
    """
    parts = {name: _text(rows, name) for name in ("model", "sampler", "checkpoint", "overrides")}
    has_seed = rows["seed"].notna() if "seed" in rows else pd.Series(True, index=rows.index)
    return pd.DataFrame({**parts, "run": _text(rows, "run").where(~has_seed, "")})


def joined(texts, separator):
    """The texts of each row of a DataFrame as one: a Series."""
    first, *others = (texts[name] for name in texts)
    return first.str.cat(others, sep=separator)


def row_labels(rows):
    """Names each row by model and sampler, and by overrides, seeds or run where that is needed.

    A sampler that is called after its model stands alone: `ddpm-100`, not `ddpm ddpm-100`. With the
    best weights it is `<sampler>@best`, as its folder is.

    Args:
        rows: DataFrame of results.

    Returns:
        List of distinct strings, one per row.
    """
    samplers = _text(rows, "sampler")
    is_best = (_text(rows, "checkpoint") == "best") & (samplers != "")
    samplers = samplers.where(~is_best, samplers + "@best")
    models = _text(rows, "model")
    named = [
        f"{sampler}-".startswith(f"{model}-")
        for model, sampler in zip(models, samplers, strict=True)
    ]
    names = samplers.where(named, (models + " " + samplers).str.strip())
    forms = {"overrides": " {}", "seed": " seed {}", "sampling_seed": " sampled {}", "run": " {}"}
    for column, form in forms.items():
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
    """Gives each line, and each of its rows, a look that is the same in every chart.

    Args:
        *tables: DataFrames of results whose charts shall match: lines of one label look alike.

    Returns:
        Dict from the label of a line or a row, sanity rows left out, to its `Style`.
    """
    trained = [rows[~is_sanity(rows)] for rows in tables]
    names_of_lines = {}  # by model
    line_of = {}
    for rows in trained:
        identities = line_identities(rows)
        lines = identities.drop_duplicates()
        names = dict(zip(map(tuple, lines.to_numpy()), row_labels(lines), strict=True))
        for identity, label in zip(
            map(tuple, identities.to_numpy()), row_labels(rows), strict=True
        ):
            siblings = names_of_lines.setdefault(identity[0], [])
            if names[identity] not in siblings:
                siblings.append(names[identity])
            line_of[names[identity]] = line_of[label] = names[identity]
    looks = {
        name: Style(shade(place, index, len(siblings)), shade(place), marker_of(place))
        for place, siblings in enumerate(names_of_lines.values())
        for index, name in enumerate(siblings)
    }
    return {label: looks[name] for label, name in line_of.items()}


def shade(model, place=0, count=1):
    """The colour of a line of model number `model`: the later of its `count` lines, the lighter.

    Beyond the palette, the colours of models begin again, darker.
    """
    dark = 0.62 ** (model // len(PALETTE))
    white = _LIGHTEST * place / max(count - 1, 1)
    base = to_rgb(PALETTE[model % len(PALETTE)])
    return tuple(dark * part + white * (1 - dark * part) for part in base)


def marker_of(model):
    """The marker of model number `model`."""
    return _MARKERS[model % len(_MARKERS)]


def sanity_value(rows, model, column):
    """A column's number of a sanity row, NaN if it is not there."""
    values = rows.loc[rows["model"] == model, column].dropna()
    return float(values.iloc[0]) if len(values) else math.nan


def headline_of(rows):
    """Key of the column that is the headline of quality, as most of the rows say."""
    named = _text(rows, "headline")
    named = named[named.isin(rows.columns)]
    if len(named):
        return named.mode().iloc[0]
    return "kid_digits_mean" if rows["kid_digits_mean"].notna().any() else "kid_mean"


def reference_levels(rows, quality):
    """The numbers of a column of quality that test images and noise have, by name."""
    levels = {name: sanity_value(rows, name, quality) for name in ("test_images", "noise")}
    return {name: level for name, level in levels.items() if math.isfinite(level)}


def left_out(lines, quality, speed):
    """Says which measured lines a chart of speed cannot show; empty if it shows them all.

    Args:
        lines: The `Line`s of a table.
        quality, speed: Keys of the chart's columns.
    """
    labels = [
        line.label
        for line in lines
        if not line.is_check and len(line.values(quality)) and not len(line.values(speed))
    ]
    text = f"not shown, as their speed was not measured: {', '.join(labels)}" if labels else ""
    return textwrap.fill(text, 110)


def subject(rows):
    """One title for all charts: the dataset, the preset, the sample count and the seeds."""
    trained = rows[~is_sanity(rows)]
    forms = {
        "dataset": "{}",
        "preset": "preset {}",
        "num_samples": "N = {:,.0f}",
    }
    parts = []
    for column, form in forms.items():
        known = trained[column].replace("", None).dropna()
        parts += [form.format(known.iloc[0])] if len(known) else []
    counts = trained["seed"].groupby(joined(line_identities(trained), "\n")).nunique()
    least, most = counts[counts > 0].agg(["min", "max"])
    if most > 1:
        parts.append(f"{most:g} seeds" if least == most else f"{least:g} to {most:g} seeds")
    return ", ".join(parts)


def _text(rows, column):
    values = rows[column] if column in rows else pd.Series("", index=rows.index)
    return values.map(as_text).astype(str)


def as_text(value):
    """A value as it is called: empty if it is missing, whole numbers without decimals."""
    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)

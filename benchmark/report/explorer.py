"""The numbers behind the page's interactive charts: means, learning curves and scores."""

import json
import math

from markupsafe import Markup
from matplotlib.colors import to_hex

from benchmark.report import frontier, learning
from benchmark.report.columns import MODELS, column, shown_in
from benchmark.report.lines import competing
from benchmark.report.radar import trilemma_scores

FIRST_X, FIRST_PASSES = "latency_ms_per_image_p50", "network_passes"


def explorer(group, styles, histories):
    """What the page's script draws of a group.

    Args:
        group: The `Group`.
        styles: Result of `row_styles`.
        histories: The `learning.History`s of the group.

    Returns:
        JSON that may stand in an HTML script element; `None` where there is nothing to draw.
    """
    lines = competing(group.lines)
    columns = [each for each in shown_in(MODELS, group.rows, group.headline) if each.better]
    if len(lines) < 2 or len(columns) < 2:
        return None
    scores, rules = trilemma_scores(group.lines)
    curves = frontier.curves_of(group)
    ways = {label: curve.label for curve in curves for label in curve.points["line"]}
    keys = [each.key for each in columns]
    content = {
        "columns": [_described(each) for each in columns],
        "x": FIRST_X if FIRST_X in keys else FIRST_PASSES if FIRST_PASSES in keys else keys[1],
        "y": group.headline if group.headline in keys else keys[0],
        "lines": [
            {
                "label": line.label,
                "way": ways.get(line.label, line.label),
                "color": to_hex(styles[line.label].color),
                "values": {each.key: _value(line, each) for each in columns},
                "scores": _finite(scores.loc[line.label].tolist()),
            }
            for line in lines
        ],
        "learning": _learning(histories, group, styles),
        "rules": [rule for rule in rules if rule],
    }
    # As text in HTML's script element: it must not end it.
    return Markup(json.dumps(content).replace("<", "\\u003c"))


def _described(each):
    return {
        "key": each.key,
        "title": each.heading,
        "corner": each.group,
        "isRatio": each.is_ratio,
    }


def _value(line, each):
    """The mean and the standard deviation of a line, as they are shown; `None` if not measured."""
    return _finite([each.scale * line.mean(each.key), each.scale * line.std(each.key)])


def _finite(values):
    """Numbers, with `None` for those that JSON does not have."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _learning(histories, group, styles):
    scale = column(group.headline).scale
    found = []
    for curve in learning.curves_of(histories, group, styles):
        points = curve.points[["seconds", "mean", "std"]].to_numpy() * [1, scale, scale]
        color = to_hex(curve.style.color)
        found.append(
            {"label": curve.label, "color": color, "points": [_finite(each) for each in points]}
        )
    return found

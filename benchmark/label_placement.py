"""Places the labels of a scatter plot beside their points so that nothing lies on anything else."""

import math

import numpy as np

_RADII_POINTS = (9, 14, 20, 28, 38, 50, 66)
_ANGLES = np.linspace(0, 2 * math.pi, 16, endpoint=False)
_LEADER_FROM_POINTS = 15


def place_labels(axes, points, texts, *, colors, sizes, obstacles=(), fontsize=8):
    """Writes one label per point, greedily at the nearest free place, with a leader line if far.

    Call it when the axes' limits are final: it measures on the canvas and freezes the layout.

    Args:
        axes: The matplotlib axes.
        points: `(x, y)` per label, in data coordinates.
        texts: The labels.
        colors: One colour per label.
        sizes: Diameter of each point's marker, in points.
        obstacles: `(x, y)` polylines in data coordinates that labels should stay off.
        fontsize: Size of the labels, in points.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    pixels = figure.dpi / 72
    centers = axes.transData.transform(np.asarray(points, dtype=float))
    radii = np.asarray(sizes, dtype=float) / 2 * pixels
    taken = [
        _box(center, 2 * radius, 2 * radius) for center, radius in zip(centers, radii, strict=True)
    ]
    taken += [box for line in obstacles for box in _line_boxes(axes, line)]
    limits = axes.get_window_extent().extents
    for index in np.argsort(centers[:, 0]):
        extent = _text_size(axes, texts[index], fontsize)
        offset, box = _best_place(
            centers[index],
            radii[index],
            extent,
            taken,
            limits,
            pixels,
            np.delete(centers, index, 0),
        )
        taken.append(box)
        _write(axes, points[index], texts[index], offset / pixels, colors[index], fontsize)


def _write(axes, point, text, offset, color, fontsize):
    far = np.hypot(*offset) > _LEADER_FROM_POINTS
    arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    axes.annotate(
        text,
        point,
        offset,
        textcoords="offset points",
        ha="center",
        va="center",
        color=color,
        fontsize=fontsize,
        arrowprops=arrow if far else None,
        zorder=5,
    )


def _best_place(center, radius, extent, taken, limits, pixels, others):
    """Returns the offset of the label's centre in pixels, and its box, of the least cost."""
    best = None
    for distance in _RADII_POINTS:
        for angle in _ANGLES:
            direction = np.array([math.cos(angle), math.sin(angle)])
            reach = radius + (distance - 6) * pixels
            offset = direction * (reach + extent / 2)
            box = _box(center + offset, *(extent + 2 * pixels))
            cost = 0.02 * distance * pixels * extent[1] / 10
            cost += sum(_overlap(box, other) for other in taken)
            cost += 10 * _outside(box, limits)
            cost += 50 * _leader_hits(center, center + offset, others, 6 * pixels)
            if best is None or cost < best[0]:
                best = (cost, offset, box)
    return best[1], best[2]


def _text_size(axes, text, fontsize):
    probe = axes.text(0, 0, text, fontsize=fontsize)
    extent = probe.get_window_extent()
    probe.remove()
    return np.array([extent.width, extent.height])


def _box(center, width, height):
    x, y = center
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def _line_boxes(axes, line, step=6.0):
    """Covers a polyline in data coordinates with small boxes in pixels."""
    corners = axes.transData.transform(np.asarray(line, dtype=float))
    boxes = []
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        count = min(400, max(2, int(np.hypot(*(end - start)) / step)))
        boxes += [
            _box(start + (end - start) * share, step, step) for share in np.linspace(0, 1, count)
        ]
    return boxes


def _overlap(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0)


def _outside(box, limits):
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area - _overlap(box, limits)


def _leader_hits(start, end, others, distance):
    """Counts the other points that a leader line from `start` to `end` passes."""
    if not len(others):
        return 0
    along = end - start
    share = np.clip((others - start) @ along / max(along @ along, 1e-9), 0, 1)
    nearest = start + share[:, None] * along
    return int((np.hypot(*(others - nearest).T) < distance).sum())

"""Places the labels of a scatter plot beside their points so that nothing lies on anything else."""

import math

import numpy as np

_GAPS_POINTS = (3, 8, 14, 22, 32, 44, 60)
_ANGLES = np.linspace(0, 2 * math.pi, 16, endpoint=False)
_LEADER_FROM_POINTS = 8
_LINE_BOX_PIXELS = 6.0


def place_labels(axes, points, texts, *, colors, sizes, obstacles=(), fontsize=8):
    """Writes one label per point, greedily at the nearest free place, with a leader line if far.

    Call it when the axes' limits are final: it measures on the canvas and freezes the layout.

    Args:
        axes: The matplotlib axes.
        points: `(x, y)` per label, in data coordinates.
        texts: The labels.
        colors: One colour per label.
        sizes: Diameter of each point's marker, in points.
        obstacles: Polylines of `(x, y)` in data coordinates that labels should stay off.
        fontsize: Size of the labels, in points.
    """
    axes.figure.draw_without_rendering()
    axes.figure.set_layout_engine("none")
    canvas = _Canvas(axes, points, sizes, obstacles)
    for index in np.argsort(canvas.centers[:, 0]):
        gap, offset = canvas.take_place(index, _text_size(axes, texts[index], fontsize))
        line = {"arrowstyle": "-", "color": colors[index], "linewidth": 0.6, "shrinkB": 3}
        axes.annotate(
            texts[index], points[index], offset / canvas.pixels, textcoords="offset points",
            ha="center", va="center", color=colors[index], fontsize=fontsize, zorder=5,
            arrowprops=line if gap >= _LEADER_FROM_POINTS else None,
        )  # fmt: skip


class _Canvas:
    """What is taken on the canvas, in pixels."""

    def __init__(self, axes, points, sizes, obstacles):
        self.pixels = axes.figure.dpi / 72
        self.centers = axes.transData.transform(np.asarray(points, dtype=float))
        self._radii = np.asarray(sizes, dtype=float) / 2 * self.pixels
        self._limits = axes.get_window_extent().extents
        markers = [
            _box(center, 2 * radius, 2 * radius)
            for center, radius in zip(self.centers, self._radii, strict=True)
        ]
        lines = [box for line in obstacles for box in _line_boxes(axes, line)]
        self._taken = np.array(markers + lines)

    def take_place(self, index, size):
        """Takes the cheapest place for a label; returns its gap in points and its offset."""
        best_cost = math.inf
        for gap in _GAPS_POINTS:
            for angle in _ANGLES:
                direction = np.array([math.cos(angle), math.sin(angle)])
                offset = direction * (self._radii[index] + gap * self.pixels + size / 2)
                box = _box(self.centers[index] + offset, *(size + 2 * self.pixels))
                cost = self._cost(index, offset, box) + gap * self.pixels
                if cost < best_cost:
                    best_cost, best = cost, (gap, offset, box)
        self._taken = np.vstack([self._taken, best[2]])
        return best[0], best[1]

    def _cost(self, index, offset, box):
        area = (box[2] - box[0]) * (box[3] - box[1])
        outside = area - _overlaps(box, self._limits[None])[0]
        others = np.delete(self.centers, index, axis=0)
        crossed = _num_near(self.centers[index], offset, others, 6 * self.pixels)
        return _overlaps(box, self._taken).sum() + 10 * outside + 50 * crossed


def _text_size(axes, text, fontsize):
    probe = axes.text(0, 0, text, fontsize=fontsize)
    extent = probe.get_window_extent()
    probe.remove()
    return np.array([extent.width, extent.height])


def _box(center, width, height):
    x, y = center
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def _line_boxes(axes, line):
    """Covers a polyline in data coordinates with small boxes in pixels."""
    corners = axes.transData.transform(np.asarray(line, dtype=float))
    boxes = []
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        count = min(400, max(2, int(np.hypot(*(end - start)) / _LINE_BOX_PIXELS)))
        for fraction in np.linspace(0, 1, count):
            boxes.append(_box(start + (end - start) * fraction, _LINE_BOX_PIXELS, _LINE_BOX_PIXELS))
    return boxes


def _overlaps(box, others):
    """Areas that a box shares with each of the others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(0).prod(axis=1)


def _num_near(start, along, points, distance):
    """Counts the points within `distance` of the line from `start` to `start + along`."""
    fraction = np.clip((points - start) @ along / max(along @ along, 1e-9), 0, 1)
    nearest = start + fraction[:, None] * along
    return int((np.hypot(*(points - nearest).T) < distance).sum())

"""Pictures of images: arrays in, PIL images or Figures out."""

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.drawing.style import (
    CLASS_COLORS,
    INK,
    LABEL_SIZE,
    MUTED,
    PALETTE,
    SMALL_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    log_ticks,
    new_figure,
    style_axes,
    wrapped,
)

_MOST_NAMED_BARS = 32
_CLASS_NAME_INCHES = 0.21
_GIF_GREY_LEVELS = 16
_CAPTION_SIZE, _CAPTION_MARGIN = 13, 4  # pixels


def image_grid(images, *, columns, scale=2, padding=2):
    """Tiles images row by row on white, for a look at many samples at once.

    Args:
        images: uint8 array `(count, height, width, channels)` with 1 or 3 channels.
        columns: Number of images in a row. A last row that is not full is left white.
        scale: Whole factor by which each pixel is repeated.
        padding: White pixels around each image, counted after scaling.

    Returns:
        A `PIL.Image.Image` of mode `L` or `RGB`.

    Raises:
        ValueError: If `images` is not a non-empty uint8 NHWC array of 1 or 3 channels.
    """
    images = _checked_images(images)
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    tile_height, tile_width = height * scale + padding, width * scale + padding
    canvas = np.full(
        (rows * tile_height + padding, columns * tile_width + padding, channels), 255, np.uint8
    )
    for index, image in enumerate(images.repeat(scale, axis=1).repeat(scale, axis=2)):
        top = padding + index // columns * tile_height
        left = padding + index % columns * tile_width
        canvas[top : top + height * scale, left : left + width * scale] = image
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def animation(frames, *, columns, scale=2, captions=(), frame_ms, hold_ms):
    """Shows a process, noise to images for example, as an endless GIF that rests on its end.

    Grey images are written with 16 grey levels: noise compresses badly and the eye sees no more.

    Args:
        frames: uint8 array `(num_frames, count, height, width, channels)`.
        columns: Number of images in a row.
        scale: Whole factor by which each pixel is repeated.
        captions: A line to stand below each frame, or empty.
        frame_ms: Milliseconds that each frame but the last is shown.
        hold_ms: Milliseconds that the last frame is shown.

    Returns:
        The bytes of the GIF file.
    """
    pages = [image_grid(frame, columns=columns, scale=scale) for frame in np.asarray(frames)]
    if captions:
        pages = _captioned(pages, captions)
    pages = [_with_palette(page) for page in pages]
    buffer = io.BytesIO()
    pages[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=pages[1:],
        duration=[frame_ms] * (len(pages) - 1) + [hold_ms],
        loop=0,
    )
    return buffer.getvalue()


def illustration(picture):
    """Draws the illustrations of a model or a sampler, given as arrays.

    Args:
        picture: An `Illustration` (a labelled table of images, such as a forward process), some
            `ClassPoints` or `Bars` of `models.base`, or anything with the attributes of one.

    Returns:
        A matplotlib `Figure`.

    Raises:
        TypeError: If `picture` is none of them.
        ValueError: If labels are given and their number is not that of what they name.
    """
    for attribute, draw in _DRAWN_BY.items():
        if hasattr(picture, attribute):
            return draw(picture)
    raise TypeError(
        f"expected a picture with one of the attributes {', '.join(_DRAWN_BY)}. "
        f"Received: {type(picture).__name__}."
    )


def _draw_image_table(picture):
    images = np.asarray(picture.images)
    rows, columns = images.shape[:2]
    inches = min(0.62, 7.0 / columns)
    longest = max(map(len, picture.row_labels), default=0)
    left = 0.1 + 0.075 * longest + 0.25 * bool(picture.y_label)
    below = 0.1 + 0.22 * bool(picture.column_labels) + 0.22 * bool(picture.x_label)
    figure = new_figure(inches * columns + left + 0.1, inches * rows + below)
    axes = figure.add_subplot()
    padding = 4 if inches > 0.4 else 1
    tile = _show_grid(axes, images.reshape(-1, *images.shape[2:]), columns=columns, padding=padding)
    _label_tiles(axes.xaxis, picture.column_labels, columns, tile.x_center, picture.x_label)
    _label_tiles(axes.yaxis, picture.row_labels, rows, tile.y_center, picture.y_label)
    return figure


def _draw_class_points(picture):
    """A scatter plot; up to ten classes have a colour each and their number at their median."""
    points, classes = np.asarray(picture.points, float), np.asarray(picture.classes)
    figure = new_figure(5.6, 5.2)
    axes = figure.add_subplot()
    style_axes(axes)
    present = np.unique(classes)
    named = len(present) <= len(CLASS_COLORS)
    colors = dict(zip(present, CLASS_COLORS if named else [MUTED] * len(present), strict=False))
    shuffled = np.random.default_rng(0).permutation(len(points))  # no class lies above the others
    axes.scatter(
        *points[shuffled].T, s=4, linewidths=0, alpha=0.7,
        c=[colors[number] for number in classes[shuffled]],
    )  # fmt: skip
    by_class = ", coloured by class" if named else ""
    axes.set_title(f"{len(points):,} images{by_class}", fontsize=TITLE_SIZE, color=INK, loc="left")
    axes.set_xlabel(picture.x_label, fontsize=LABEL_SIZE)
    axes.set_ylabel(picture.y_label, fontsize=LABEL_SIZE)
    if named:
        medians = [np.median(points[classes == number], axis=0) for number in present]
        _name_classes(axes, np.array(medians), colors)
    return figure


def _name_classes(axes, places, colors):
    """Writes each class's name at its place, moved as far as it takes to cover no other name."""
    axes.figure.draw_without_rendering()
    moved = _spread(axes.transData.transform(places), _CLASS_NAME_INCHES * axes.figure.dpi)
    for number, place in zip(colors, axes.transData.inverted().transform(moved), strict=True):
        axes.annotate(
            str(number), place, ha="center", va="center_baseline", fontsize=TICK_SIZE,
            fontweight="bold", color=colors[number],
            bbox={"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": colors[number]},
        )  # fmt: skip


def _spread(points, distance):
    """Moves points apart, pair by pair, until all are `distance` from each other."""
    points = points + np.arange(len(points))[:, None] * 1e-3  # equal points part, too
    for _ in range(500):
        ways = points[:, None] - points[None]
        lengths = np.hypot(ways[..., 0], ways[..., 1]) + 1e9 * np.eye(len(points))
        if (lengths > 0.99 * distance).all():
            break
        pushes = (distance - lengths).clip(0) / lengths / 4
        points = points + (pushes[..., None] * ways).sum(axis=1)
    return points


def _draw_bars(picture):
    """Bars on a logarithmic axis, so that the small ones are seen beside their threshold."""
    values = np.asarray(picture.values, float)
    if len(picture.names) != len(values):
        raise ValueError(f"expected {len(values)} names. Received: {len(picture.names)} names.")
    figure = new_figure(min(3.4 + 0.2 * len(values), 6.2), 3.2)
    axes = figure.add_subplot()
    style_axes(axes, grid="y")
    bottom, top = picture.threshold / 20, max(values.max(), picture.threshold) * 1.8
    colors = [PALETTE[0] if value >= picture.threshold else PALETTE[1] for value in values]
    positions = np.arange(len(values))
    axes.bar(positions, values.clip(bottom) - bottom, bottom=bottom, width=0.75, color=colors)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    log_ticks(axes.yaxis, bottom, top)
    axes.axhline(picture.threshold, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.annotate(
        picture.threshold_label, (1, picture.threshold), (4, 0), va="center",
        xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=SMALL_SIZE,
        color=INK, annotation_clip=False,
    )  # fmt: skip
    shown = positions if len(values) <= _MOST_NAMED_BARS else []
    axes.set_xticks(shown, [picture.names[position] for position in shown])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel(picture.x_label, fontsize=LABEL_SIZE)
    axes.set_ylabel(picture.y_label, fontsize=LABEL_SIZE)
    axes.set_title(picture.title, fontsize=TITLE_SIZE, color=INK, loc="left")
    return figure


_DRAWN_BY = {"images": _draw_image_table, "points": _draw_class_points, "values": _draw_bars}


def _label_tiles(axis, labels, count, center, title):
    if labels and len(labels) != count:
        raise ValueError(f"expected {count} labels. Received: {len(labels)} labels.")
    shown = range(0, count, math.ceil(count / 12)) if labels else []
    axis.set_ticks([center(index) for index in shown], [labels[index] for index in shown])
    axis.set_label_text(title)
    axis.label.set_size(LABEL_SIZE)


def sample_strips(strips, *, colors=None):
    """Shows a few images of each source in one labelled line, for comparison by eye.

    Args:
        strips: Mapping from a label to a uint8 array `(count, height, width, channels)`.
        colors: Optional mapping from a label to the colour it is written in.

    Returns:
        A matplotlib `Figure`.
    """
    columns = max(len(images) for images in strips.values())
    labels = [wrapped(label, 5.2) for label in strips]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    figure = new_figure(0.5 * columns + 0.3 + 0.085 * longest, 0.5 * len(strips) + 0.1)
    canvas = np.concatenate([_filled_up(images, columns) for images in strips.values()])
    axes = figure.add_subplot()
    tile = _show_grid(axes, canvas, columns=columns)
    axes.set_xticks([])
    axes.set_yticks([tile.y_center(row) for row in range(len(strips))], labels)
    for text, label in zip(axes.get_yticklabels(), strips, strict=True):
        text.set_color((colors or {}).get(label, INK))
        text.set_fontsize(LABEL_SIZE)
    return figure


class _Tiles:
    """Where the centres of a drawn grid's images are, in pixels of the grid."""

    def __init__(self, height, width, padding):
        self._height, self._width, self._padding = height, width, padding

    def x_center(self, column):
        return self._padding + column * (self._width + self._padding) + self._width / 2 - 0.5

    def y_center(self, row):
        return self._padding + row * (self._height + self._padding) + self._height / 2 - 0.5


def _show_grid(axes, images, *, columns, scale=3, padding=4):
    grid = image_grid(images, columns=columns, scale=scale, padding=padding)
    axes.imshow(grid, cmap="gray", vmin=0, vmax=255)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=TICK_SIZE, labelcolor=INK)
    height, width = np.shape(images)[1:3]
    return _Tiles(height * scale, width * scale, padding)


def _checked_images(images):
    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or images.shape[3] not in (1, 3):
        raise ValueError(
            "expected images of shape (count, height, width, 1 or 3), count at least 1. "
            f"Received: shape={images.shape}."
        )
    if images.dtype != np.uint8:
        raise ValueError(f"expected images of dtype uint8. Received: dtype={images.dtype}.")
    return images


def _captioned(pages, captions):
    """Writes a line below each page, on pages wide enough for the longest line."""
    font = ImageFont.load_default(_CAPTION_SIZE)
    longest = max(math.ceil(font.getlength(caption)) for caption in captions)
    width, height = max(pages[0].width, longest + 2 * _CAPTION_MARGIN), pages[0].height
    below = _CAPTION_SIZE + 2 * _CAPTION_MARGIN
    captioned = []
    for page, caption in zip(pages, captions, strict=True):
        canvas = Image.new(page.mode, (width, height + below), "white")
        canvas.paste(page, ((width - page.width) // 2, 0))
        place = (width // 2, height + below // 2)
        ImageDraw.Draw(canvas).text(place, caption, fill="black", font=font, anchor="mm")
        captioned.append(canvas)
    return captioned


def _with_palette(image):
    if image.mode == "L":
        step = 255 / (_GIF_GREY_LEVELS - 1)
        levels = np.rint(np.rint(np.asarray(image) / step) * step).astype(np.uint8)
        return Image.fromarray(levels)
    return image.quantize(256, dither=Image.Dither.NONE)


def _filled_up(images, count):
    images = _checked_images(images)
    blank = np.full((count - len(images), *images.shape[1:]), 255, np.uint8)
    return np.concatenate([images, blank])

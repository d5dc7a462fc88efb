import io
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from benchmark.drawing import figures, style


def flat_images(*values, channels=1):
    return np.stack([np.full((4, 4, channels), value, np.uint8) for value in values])


def test_image_grid_puts_each_image_in_its_place():
    grid = np.asarray(figures.image_grid(flat_images(10, 20, 30), columns=2, scale=3, padding=2))
    assert grid.shape == (2 + 2 * 14, 2 + 2 * 14)
    assert (grid[2:14, 2:14] == 10).all()
    assert (grid[2:14, 16:28] == 20).all()
    assert (grid[16:28, 2:14] == 30).all()
    white = grid.copy()
    white[2:14, 2:14] = white[2:14, 16:28] = white[16:28, 2:14] = 255
    assert (white == 255).all()


def test_image_grid_repeats_pixels_without_blur():
    image = np.array([[0, 200], [100, 50]], np.uint8)[None, :, :, None]
    grid = np.asarray(figures.image_grid(image, columns=1, scale=2, padding=0))
    expected = [[0, 0, 200, 200], [0, 0, 200, 200], [100, 100, 50, 50], [100, 100, 50, 50]]
    np.testing.assert_array_equal(grid, expected)


def test_image_grid_keeps_colours():
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[..., 1] = 77
    grid = figures.image_grid(image, columns=5)
    assert grid.mode == "RGB"
    assert grid.getpixel((4, 4)) == (0, 77, 0)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4, 1), np.float32),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 2), np.uint8),
        np.zeros((0, 4, 4, 1), np.uint8),
    ],
)
def test_image_grid_refuses_what_is_no_image(images):
    with pytest.raises(ValueError, match="Received"):
        figures.image_grid(images, columns=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_animation_holds_its_last_frame(channels):
    frames = np.stack(
        [flat_images(value, 255 - value, channels=channels) for value in (0, 85, 255)]
    )
    gif = Image.open(io.BytesIO(figures.animation(frames, columns=2, frame_ms=80, hold_ms=1500)))
    durations = []
    for index in range(gif.n_frames):
        gif.seek(index)
        durations.append(gif.info["duration"])
        shown = np.asarray(gif.convert("RGB"))[4, 4]
        assert np.abs(shown.astype(int) - frames[index, 0, 0, 0, 0]).max() <= 9
    assert durations == [80, 80, 1500]
    assert gif.info["loop"] == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_caption_stands_below_its_frame(channels):
    frames = np.full((2, 4, 4, 4, channels), 85, np.uint8)
    captions = ["step 1", "step 1,000,000 of a long training"]
    options = {"columns": 2, "frame_ms": 80, "hold_ms": 80}
    plain = Image.open(io.BytesIO(figures.animation(frames, **options)))
    gif = Image.open(io.BytesIO(figures.animation(frames, captions=captions, **options)))
    assert gif.height > plain.height and gif.width > 150  # as wide as the longest line
    lines = []
    for index in range(gif.n_frames):
        gif.seek(index)
        below = np.asarray(gif.convert("L"))[plain.height :]
        assert (below < 128).any() and (below[:, [0, -1]] == 255).all()
        lines.append(below)
    assert (lines[0] < 128).sum() < (lines[1] < 128).sum()


def test_animation_of_noise_stays_small():
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 28, 28, 1), np.uint8)
    assert len(figures.animation(noise, columns=8, frame_ms=80, hold_ms=80)) < 300_000


def test_illustration_labels_rows_and_columns():
    picture = SimpleNamespace(
        images=np.zeros((2, 3, 8, 8, 1), np.uint8), row_labels=["a", "b"],
        column_labels=["0", "5", "9"], x_label="timestep", y_label="image",
    )  # fmt: skip
    axes = figures.illustration(picture).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "5", "9"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    first, second = axes.get_yticks()
    assert second - first == 8 * 3 + 4


def class_points(points, classes):
    return SimpleNamespace(
        points=np.array(points, float), classes=np.array(classes), x_label="latent 1",
        y_label="latent 2",
    )  # fmt: skip


def test_classes_are_named_where_they_are_in_their_colour():
    random = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    classes = np.repeat([2, 5, 7], 50)
    points = centers.repeat(50, axis=0) + random.normal(size=(150, 2))
    axes = figures.illustration(class_points(points, classes)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["2", "5", "7"]
    for text, center in zip(axes.texts, centers, strict=True):
        assert np.hypot(*(text.get_position() - center)) < 0.5
    drawn = axes.collections[0]
    assert len(drawn.get_offsets()) == 150
    for (x, y), color in zip(drawn.get_offsets(), drawn.get_facecolors(), strict=True):
        nearest = np.argmin(np.hypot(*(centers - [x, y]).T))
        assert to_hex(color) == axes.texts[nearest].get_color()
    assert len({text.get_color() for text in axes.texts}) == 3


def test_names_of_classes_in_one_place_do_not_cover_each_other():
    classes = np.arange(100) % 10
    points = np.random.default_rng(0).normal(size=(100, 2)) * 0.01
    points[0], points[1] = (5, 5), (-5, -5)
    figure = figures.illustration(class_points(points, classes))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    places = axes.transData.transform([text.get_position() for text in axes.texts])
    apart = np.hypot(*(places[:, None] - places[None]).T) + 1e9 * np.eye(10)
    assert apart.min() > 0.2 * figure.dpi


def test_many_classes_have_no_names():
    axes = figures.illustration(class_points(np.eye(30)[:, :2], np.arange(30))).axes[0]
    assert not axes.texts
    assert "class" not in axes.get_title(loc="left")


def bars(values, threshold=0.01):
    return SimpleNamespace(
        values=np.array(values, float), names=tuple(map(str, range(len(values)))),
        threshold=threshold, threshold_label="small", title="what it says", x_label="x",
        y_label="y",
    )  # fmt: skip


def test_bars_below_the_threshold_have_a_colour_of_their_own():
    axes = figures.illustration(bars([2.0, 0.02, 0.005, 0.0])).axes[0]
    colors = [to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(tops[:3], [2.0, 0.02, 0.005])
    assert axes.get_ylim()[0] < 0.01 and axes.get_yscale() == "log"
    assert axes.get_title(loc="left") == "what it says"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2", "3"]


def test_a_hundred_bars_have_no_names():
    assert not figures.illustration(bars(np.ones(100))).axes[0].get_xticklabels()


def test_bars_without_a_name_each_are_refused():
    picture = bars([1.0, 2.0])
    picture.names = ("a",)
    with pytest.raises(ValueError, match="expected 2 names. Received: 1"):
        figures.illustration(picture)


def test_what_is_no_picture_is_refused():
    with pytest.raises(TypeError, match="images, points, values. Received: SimpleNamespace"):
        figures.illustration(SimpleNamespace())


def test_sample_strips_pads_short_rows_with_white():
    strips = {"test images": flat_images(*range(5)), "vae decoder": flat_images(1, 2)}
    axes = figures.sample_strips(strips, colors={"vae decoder": "#D55E00"}).axes[0]
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == list(strips)
    assert labels[1].get_color() == "#D55E00"
    drawn = np.asarray(axes.images[0].get_array())
    assert (drawn[20:, 40:] == 255).all()
    assert (drawn[20:32, 4:16] == 1).all()


def test_long_labels_are_broken_between_their_overrides():
    label = "dcgan generator model.latent_dim=1 model.optimizer.learning_rate=0.02"
    lines = style.wrapped(label, 2.0).split("\n")
    assert lines == [
        "dcgan generator",
        "model.latent_dim=1",
        "model.optimizer.learning_rate=0.02",
    ]
    assert style.wrapped("ddpm ddim-50", 2.0) == "ddpm ddim-50"


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (7, (3, 3))]
)
def test_panels_are_at_most_three_in_a_row(count, shape):
    assert style.panel_shape(count) == shape

import itertools

import numpy as np
import pandas as pd
import pytest

from benchmark.report.charts import class_histograms, pareto, pareto_front
from benchmark.report.rows import row_styles


def label_boxes(figure, rows):
    """The boxes, in pixels, of the points' labels."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    names = set(row_styles(rows))
    return {
        text.get_text(): super(type(text), text).get_window_extent()
        for text in axes.texts
        if text.get_text() in names
    }


def of_seeds(rows, count):
    """The rows as `count` seeds would give them, close together."""
    trained, sanity = rows[rows["status"] != "sanity"], rows[rows["status"] == "sanity"]
    spread = [
        trained.assign(
            seed=seed,
            kid_mean=trained["kid_mean"] * (1 + 0.06 * seed),
            latency_ms_per_image_p50=trained["latency_ms_per_image_p50"] * (1 + 0.05 * seed),
        )
        for seed in range(count)
    ]
    return pd.concat([*spread, sanity], ignore_index=True)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_pareto_labels_every_point_without_overlap(rows, num_seeds):
    rows = of_seeds(rows, num_seeds)
    figure = pareto(rows)
    boxes = label_boxes(figure, rows)
    assert set(boxes) == set(row_styles(rows))
    for (_, first), (_, second) in itertools.combinations(boxes.items(), 2):
        assert not first.overlaps(second)
    frame = figure.axes[0].get_window_extent()
    for box in boxes.values():
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_pareto_labels_lie_on_no_bubble(rows):
    figure = pareto(rows)
    boxes = label_boxes(figure, rows)
    axes = figure.axes[0]
    for collection in axes.collections:
        (center,) = axes.transData.transform(collection.get_offsets())
        radius = np.sqrt(collection.get_sizes()[0]) / 2 * figure.dpi / 72
        for box in boxes.values():
            nearest = np.clip(center, (box.x0, box.y0), (box.x1, box.y1))
            assert np.hypot(*(nearest - center)) > radius - 1


def test_pareto_bubble_area_is_proportional_to_coverage(rows):
    sizes = [bubble.get_sizes()[0] for bubble in pareto(rows).axes[0].collections]
    coverage = rows.loc[rows["status"] == "finished", "coverage"]
    np.testing.assert_allclose(np.array(sizes) / sizes[0], coverage / coverage[0])


def test_pareto_is_logarithmic_and_shows_floor_and_ceiling(rows):
    axes = pareto(rows).axes[0]
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert low < 0.2 and high > 400
    texts = [text.get_text() for text in axes.texts]
    assert "test images\n0.20" in texts
    assert "noise\n400.00" in texts
    title = axes.get_title(loc="left")
    assert "mnist" in title and "N = 5,000" in title and "inception_v3" in title


@pytest.mark.parametrize("model", ["test_images", "vae"])
@pytest.mark.parametrize("kid", [-0.0004, 0.0])
def test_pareto_shows_a_kid_that_is_not_positive(rows, model, kid):
    rows.loc[rows["model"] == model, "kid_mean"] = kid
    figure = pareto(rows)
    axes = figure.axes[0]
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] < 1000 * kid
    figure.draw_without_rendering()
    heights = [axes.transData.transform((1, value))[1] for value in (1000 * kid, 12.3, 400)]
    bottom, top = axes.get_window_extent().y0, axes.get_window_extent().y1
    assert bottom < heights[0] < heights[1] < heights[2] < top


def test_pareto_of_one_row_without_sanity_rows(rows):
    figure = pareto(rows.iloc[:1])
    assert set(label_boxes(figure, rows)) == {"ddpm ddpm-200"}


def test_pareto_marks_unmeasured_coverage_and_skips_unmeasured_rows(rows):
    rows["coverage"] = np.nan
    rows.loc[1, "kid_mean"] = np.nan
    rows.loc[2, "latency_ms_per_image_p50"] = np.nan
    figure = pareto(rows)
    assert not figure.axes[0].collections
    assert set(label_boxes(figure, rows)) == {"ddpm ddpm-200", "vae decoder", "dcgan generator"}


def test_pareto_of_nothing_is_none(rows, diverged_row):
    assert pareto(pd.concat([rows[rows["status"] == "sanity"], diverged_row])) is None


def test_pareto_front_by_hand():
    costs = [[3, 1], [1, 3], [2, 2], [2, 2.5], [3, 3], [1, 4]]
    assert pareto_front(costs) == [1, 2, 0]


def test_pareto_front_counts_ties_once():
    assert pareto_front([[1, 1], [1, 1], [2, 1]]) == [0]


def test_class_histograms_show_shares():
    figure = class_histograms({"a": [30, 10], "b": [0, 5]}, [100, 100], ["cat", "dog"])
    first, second = figure.axes
    assert [bar.get_height() for bar in first.patches] == [0.75, 0.25]
    assert [bar.get_height() for bar in second.patches] == [0.0, 1.0]
    assert [text.get_text() for text in first.get_xticklabels()] == ["cat", "dog"]
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[0] == 0 and first.get_ylim()[1] >= 1


def test_class_histograms_sort_many_modes():
    counts = np.zeros(1000, int)
    counts[::2] = 7
    one = np.eye(1000, dtype=int)[3] * 2000
    figure = class_histograms({"half": counts, "one": one}, np.arange(1000), range(1000))
    for axes, modes in zip(figure.axes, (500, 1), strict=True):
        bottom, top = axes.get_ylim()
        shares = axes.patches[0].get_data().values
        np.testing.assert_allclose(shares[:modes], 1 / modes)
        np.testing.assert_array_equal(shares[modes:], bottom)  # nothing is seen of them
        assert 0 < bottom < 1 / np.arange(1000).sum() and top >= 1.0
        assert axes.get_yscale() == "log"
        assert (np.diff(axes.lines[0].get_ydata()) <= 0).all()


def test_class_histograms_of_many_modes_may_be_empty(tmp_path):
    figure = class_histograms({"none": np.zeros(1000)}, np.ones(1000), range(1000))
    figure.savefig(tmp_path / "none.png")
    bottom = figure.axes[0].get_ylim()[0]
    assert bottom == pytest.approx(0.0005)
    assert (figure.axes[0].patches[0].get_data().values == bottom).all()


def test_class_histograms_of_nothing_generated():
    axes = class_histograms({"dcgan": [0, 0]}, [1, 1], "01").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0, 0]


def test_pareto_names_the_rows_whose_speed_is_not_known(rows, external_row):
    def note(figure):
        return figure.legends[0].get_title().get_text().strip()

    assert note(pareto(rows)) in ("", "None")
    both = pd.concat([rows, external_row], ignore_index=True)
    figure = pareto(both)
    assert "my_model external" in note(figure)
    assert set(label_boxes(figure, both)) == set(row_styles(rows))


def test_pareto_needs_a_speed(external_row):
    assert pareto(external_row) is None

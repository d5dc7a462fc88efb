import itertools

import numpy as np
import pandas as pd
import pytest

from benchmark.report.charts import class_histograms, pareto, pareto_front
from benchmark.report.groups import group_rows
from benchmark.report.rows import row_styles


def chart(rows):
    (group,) = group_rows(rows)
    return pareto(group)


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


def bars(figure):
    """The error bars, as arrays of their two ends, with the number of their points."""
    lines = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    ends = [line for line in lines if np.isfinite(line).all() and not (line[:, 0] == [0, 1]).all()]
    return [line for line in ends if (line[0] != line[1]).sum() == 1]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_pareto_labels_every_line_once_without_overlap(rows, seeds):
    for table in (rows, seeds):
        figure = chart(table)
        boxes = label_boxes(figure, table)
        names = "dcgan generator,ddpm ddim-10,ddpm ddim-50,ddpm-200,vae decoder"
        assert ",".join(sorted(boxes)) == names
        for (_, first), (_, second) in itertools.combinations(boxes.items(), 2):
            assert not first.overlaps(second)
        frame = figure.axes[0].get_window_extent()
        for box in boxes.values():
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1
            assert frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_pareto_labels_lie_on_no_bubble(rows):
    figure = chart(rows)
    boxes = label_boxes(figure, rows)
    axes = figure.axes[0]
    for collection in axes.collections:
        (center,) = axes.transData.transform(collection.get_offsets())
        radius = np.sqrt(collection.get_sizes()[0]) / 2 * figure.dpi / 72
        for box in boxes.values():
            nearest = np.clip(center, (box.x0, box.y0), (box.x1, box.y1))
            assert np.hypot(*(nearest - center)) > radius - 1


def test_pareto_bubbles_lie_at_means_with_bars_over_seeds(seeds):
    figure = chart(seeds)
    part = seeds[seeds["model"] == "vae"]
    x, y = part["latency_ms_per_image_p50"], 1e3 * part["kid_mean"]
    centers = [tuple(bubble.get_offsets()[0]) for bubble in figure.axes[0].collections]
    assert any(np.allclose(center, (x.mean(), y.mean())) for center in centers)
    assert len(centers) == 5 and len(bars(figure)) == 10
    spans = [np.ptp(bar, axis=0) for bar in bars(figure)]
    assert any(np.allclose(span, (2 * x.std(), 0)) for span in spans)
    assert any(np.allclose(span, (0, 2 * y.std())) for span in spans)
    assert "bars: ± std over seeds" in legend_of(figure)
    assert "std over seeds" in figure.axes[0].get_ylabel()


def test_pareto_of_single_seeds_has_their_standard_errors(rows):
    figure = chart(rows)
    assert "bars: ± standard error" in legend_of(figure)
    assert [np.ptp(bar, axis=0) for bar in bars(figure)] == [pytest.approx([0, 2 * 1.1])] * 5
    rows["kid_se"] = np.nan
    figure = chart(rows)
    assert bars(figure) == [] and not any("bars" in text for text in legend_of(figure))


def test_pareto_front_is_that_of_the_means_and_named_where_it_is_drawn(seeds):
    def steps(figure):
        lines = figure.axes[0].lines
        return [line for line in lines if line.get_drawstyle().startswith("steps")]

    figure = chart(seeds)
    (front,) = steps(figure)
    on_front = ("dcgan", "ddpm ddim-10", "ddpm ddim-50", "ddpm-200", "vae")
    means = seeds[seeds["status"] == "finished"].groupby("sampler")[
        ["latency_ms_per_image_p50", "kid_mean"]
    ].mean()  # fmt: skip
    assert len(front.get_xdata()) == len(on_front)
    np.testing.assert_allclose(sorted(front.get_xdata()), sorted(means.iloc[:, 0]))
    assert "Pareto front of the means" in legend_of(figure)
    alone = chart(seeds[seeds["model"].isin(["vae", "noise"])])
    assert not steps(alone) and "Pareto front of the means" not in legend_of(alone)


def test_pareto_of_a_number_that_should_be_high_has_its_front_above(seeds):
    figure = chart(seeds.assign(headline="density"))
    axes = figure.axes[0]
    (front,) = (line for line in axes.lines if line.get_drawstyle().startswith("steps"))
    order = np.argsort(front.get_xdata())
    assert (np.diff(front.get_ydata()[order]) > 0).all()
    assert axes.get_ylabel().startswith("Density")


def test_pareto_bubble_area_is_proportional_to_coverage(rows):
    sizes = [bubble.get_sizes()[0] for bubble in chart(rows).axes[0].collections]
    coverage = rows.loc[rows["status"] == "finished"].sort_values(
        ["model", "network_passes"], ascending=[True, False]
    )["coverage"].to_numpy()  # fmt: skip
    np.testing.assert_allclose(np.array(sizes) / sizes[0], coverage / coverage[0])


def test_pareto_shows_what_test_images_score(rows):
    axes = chart(rows).axes[0]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < 0.2
    assert "test images\n0.20" in [text.get_text() for text in axes.texts]
    title = axes.get_title(loc="left")
    assert "mnist" in title and "N = 5,000" in title


@pytest.mark.parametrize(("kid", "scale"), [(0.0004, "log"), (-0.0004, "symlog")])
def test_pareto_is_logarithmic_over_a_wide_range(rows, kid, scale):
    rows.loc[rows["model"] == "test_images", "kid_mean"] = kid
    rows.loc[0, "kid_mean"] = 0.0008
    figure = chart(rows)
    axes = figure.axes[0]
    assert axes.get_yscale() == scale
    figure.draw_without_rendering()
    heights = [axes.transData.transform((1, value))[1] for value in (1000 * kid, 0.8, 71)]
    bottom, top = axes.get_window_extent().y0, axes.get_window_extent().y1
    assert bottom < heights[0] < heights[1] < heights[2] < top


def test_pareto_shows_a_kid_that_is_not_positive(rows):
    rows.loc[rows["model"] == "vae", "kid_mean"] = -0.0004
    axes = chart(rows).axes[0]
    assert axes.get_ylim()[0] < -0.4


def test_pareto_of_one_row_without_sanity_rows(rows):
    figure = chart(rows.iloc[:1])
    assert set(label_boxes(figure, rows)) == {"ddpm-200"}


def test_pareto_marks_unmeasured_coverage_and_skips_unmeasured_rows(rows):
    rows["coverage"] = np.nan
    rows.loc[1, "kid_mean"] = np.nan
    rows.loc[2, "latency_ms_per_image_p50"] = np.nan
    figure = chart(rows)
    assert not figure.axes[0].collections
    assert set(label_boxes(figure, rows)) == {"ddpm-200", "vae decoder", "dcgan generator"}


def test_pareto_of_nothing_is_none(diverged_row, external_row):
    assert chart(diverged_row) is None
    assert chart(external_row) is None  # it has no speed


def test_pareto_front_by_hand():
    costs = [[3, 1], [1, 3], [2, 2], [2, 2.5], [3, 3], [1, 4]]
    assert pareto_front(costs) == [1, 2, 0]


def test_pareto_front_counts_ties_once():
    assert pareto_front([[1, 1], [1, 1], [2, 1]]) == [0]


def test_class_histograms_show_fractions():
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
        fractions = axes.patches[0].get_data().values
        np.testing.assert_allclose(fractions[:modes], 1 / modes)
        np.testing.assert_array_equal(fractions[modes:], bottom)  # nothing is seen of them
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


def test_pareto_names_the_lines_whose_speed_is_not_known(rows, external_row):
    def note(figure):
        return figure.legends[0].get_title().get_text().strip()

    assert note(chart(rows)) in ("", "None")
    both = pd.concat([rows, external_row], ignore_index=True)
    figure = chart(both)
    assert "my_model external" in note(figure)
    assert set(label_boxes(figure, both)) == set(row_styles(rows))

import numpy as np
import pandas as pd
import pytest

from benchmark.report.radar import radar, trilemma_scores


def set_kid(rows, **values):
    for model, kid in values.items():
        rows.loc[rows["model"] == model, "kid_mean"] = kid


def test_quality_is_the_log_share_between_noise_and_floor(rows):
    set_kid(rows, test_images=0.004, noise=0.4, vae=0.04, dcgan=0.4)
    rows.loc[0, "kid_mean"] = 0.004
    scores, rules = trilemma_scores(rows)
    assert scores.loc["ddpm ddpm-200", "quality"] == pytest.approx(1)
    assert scores.loc["vae decoder", "quality"] == pytest.approx(0.5)
    assert scores.loc["dcgan generator", "quality"] == pytest.approx(0)
    assert "1 = 4 " in rules[0] and "0 = 400 " in rules[0]


def test_quality_stays_between_zero_and_one(rows):
    set_kid(rows, vae=-0.001, dcgan=0.9)
    scores, _ = trilemma_scores(rows)
    assert scores.loc["vae decoder", "quality"] == pytest.approx(1)
    assert scores.loc["dcgan generator", "quality"] == pytest.approx(0)


def test_a_floor_below_its_own_uncertainty_is_replaced_by_it(rows):
    set_kid(rows, test_images=-0.0001, vae=0.0011)
    scores, rules = trilemma_scores(rows)
    assert scores.loc["vae decoder", "quality"] == pytest.approx(1)
    assert "standard deviation" in rules[0]


def test_speed_spans_a_tenth_to_ten_thousand(rows):
    rows.loc[:4, "images_per_second"] = [0.1, 10_000, 10 ** (-1 + 2.5), 1.0, 10.0]
    scores, rules = trilemma_scores(rows)
    np.testing.assert_allclose(scores["speed"], [0, 1, 0.5, 0.2, 0.4], atol=1e-12)
    assert "1 = 10,000, 0 = 0.1" in rules[1]


def test_speed_widens_by_whole_decades(rows):
    rows.loc[3, "images_per_second"] = 25_000
    scores, rules = trilemma_scores(rows)
    assert "1 = 100,000" in rules[1]
    assert scores["speed"].max() < 1


def test_diversity_is_coverage_over_that_of_the_test_images(rows):
    scores, rules = trilemma_scores(rows)
    assert scores.loc["vae decoder", "diversity"] == pytest.approx(0.471 / 0.962)
    assert "0.962" in rules[2]


def test_diversity_falls_back_to_modes(rows):
    rows["coverage"] = np.nan
    rows.loc[rows["model"] == "dcgan", "modes_covered"] = 7
    scores, rules = trilemma_scores(rows)
    assert scores.loc["dcgan generator", "diversity"] == pytest.approx(0.7)
    assert "modes" in rules[2]


def test_radar_draws_closed_lines_of_the_complete_rows(rows):
    rows.loc[3, "images_per_second"] = np.nan
    figure = radar(rows)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ddpm ddpm-200", "ddpm ddim-50", "ddpm ddim-10", "dcgan generator"]
    lines = [line for line in figure.axes[0].lines if line.get_label() in labels]
    for line in lines:
        points = np.column_stack(line.get_data())
        assert points.shape == (4, 2)
        np.testing.assert_array_equal(points[0], points[-1])


def test_radar_legend_lies_beside_the_triangle(rows):
    figure = radar(rows)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert not legend.overlaps(figure.axes[0].get_window_extent())
    assert not legend.overlaps(figure._suptitle.get_window_extent())
    assert legend.x1 <= figure.bbox.x1


def test_radar_without_sanity_rows_states_other_ends(rows):
    figure = radar(rows.iloc[:5])
    assert "decade" in figure._supxlabel.get_text()


def test_radar_of_nothing_is_none(rows, diverged_row):
    assert radar(rows.iloc[5:]) is None
    rows["images_per_second"] = np.nan
    assert radar(rows) is None


def test_rows_without_speed_are_named_and_not_drawn(rows, external_row):
    assert "not shown" not in radar(rows).get_supxlabel()
    figure = radar(pd.concat([rows, external_row], ignore_index=True))
    assert "my_model external" in figure.get_supxlabel()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == 5 and "my_model external" not in names
    assert radar(external_row) is None

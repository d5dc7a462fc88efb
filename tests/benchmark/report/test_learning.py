import itertools
import json

import numpy as np
import pandas as pd
import pytest

from benchmark.report.group_figures import caption
from benchmark.report.groups import group_rows
from benchmark.report.learning import clock_time, curves_of, histories_of, learning_curves
from benchmark.report.rows import row_styles

CLASSIFIER = "classifier 0a0a0a0a @28"
HEADLINE = "fid_digits"


@pytest.fixture
def written(tmp_path):
    """Writes what a run of the rows has stored of its training."""

    def write(path, seconds, values, *, column=f"validation_{HEADLINE}", instrument=CLASSIFIER):
        folder = tmp_path.joinpath(*path.split("/")[:4])
        folder.mkdir(parents=True, exist_ok=True)
        steps = 100 * np.arange(1, len(values) + 1)
        counts = {"step": steps, "images_seen": 64 * steps, "seconds": seconds}
        history = pd.DataFrame({**counts, column: values})
        history.to_csv(folder / "history.csv", index=False)
        validation = {"instrument": instrument, "sampler": "any"}
        (folder / "run.json").write_text(json.dumps({"validation": validation}))

    return write


def with_classifier(rows):
    return rows.assign(headline=HEADLINE, fid_digits=5.0, classifier=f"{CLASSIFIER}, accuracy 99%")


def group_of(rows):
    (group,) = group_rows(rows)
    return group


def curves(folder, rows):
    group = group_of(rows)
    found = curves_of(histories_of(folder, group), group, row_styles(rows))
    return {curve.label: curve for curve in found}


def draw(folder, rows):
    group = group_of(rows)
    return learning_curves(histories_of(folder, group), group, row_styles(rows))


def write_all(written, rows, scale=1.0):
    trained = rows[rows["status"] == "finished"].drop_duplicates("run")
    for index, path in enumerate(trained["path"]):
        seconds = scale**index * np.array([50.0, 100.0, 150.0, 200.0])
        written(path, seconds, [np.nan, 40.0 - index, np.nan, 20.0 - index])


def test_a_curve_is_of_means_over_seeds_at_each_checkpoint(seeds, tmp_path, written):
    rows = with_classifier(seeds)
    paths = rows.loc[rows["model"] == "vae", "path"]
    written(paths.iloc[0], [10, 20, 30], [np.nan, 8.0, 4.0])
    written(paths.iloc[1], [12, 24, 36], [np.nan, 10.0, 6.0])
    written(paths.iloc[2], [14, 28, 42], [np.nan, 12.0, 8.0])
    (curve,) = curves(tmp_path, rows).values()
    points = curve.points.reset_index()
    assert points["step"].tolist() == [200, 300] and points["seconds"].tolist() == [24, 36]
    assert points["mean"].tolist() == [10, 6] and points["std"].tolist() == [2, 2]


def test_a_model_has_one_curve_and_the_look_of_its_first_line(rows, tmp_path, written):
    rows = with_classifier(rows)
    write_all(written, rows)
    found = curves(tmp_path, rows)
    assert list(found) == ["dcgan", "ddpm", "vae"]
    assert found["ddpm"].style == row_styles(rows)["ddpm-200"]
    assert len(found["ddpm"].points) == 2 and found["ddpm"].points["std"].isna().all()
    axes = draw(tmp_path, rows).axes[0]
    assert len(axes.lines) == 3 and not axes.collections
    assert "validation classifier FID" == axes.get_ylabel()


def test_options_that_differ_are_curves_of_their_own(rows, tmp_path, written):
    vae = with_classifier(rows[rows["model"] == "vae"])
    again = vae.assign(overrides="model.latent_dim=2", run="f1f1f1f1")
    again["path"] = again["path"].str.replace("0e0e0e0e", "f1f1f1f1")
    both = pd.concat([vae, again], ignore_index=True)
    write_all(written, both)
    assert list(curves(tmp_path, both)) == ["vae", "vae model.latent_dim=2"]


def test_bands_show_the_deviation_over_seeds(seeds, tmp_path, written):
    rows = with_classifier(seeds)
    write_all(written, rows)
    axes = draw(tmp_path, rows).axes[0]
    assert len(axes.collections) == 3 and "std over seeds" in axes.get_ylabel()
    for band, curve in zip(axes.collections, curves(tmp_path, rows).values(), strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        top = (curve.points["mean"] + curve.points["std"]).max()
        assert heights.max() == pytest.approx(top)


@pytest.mark.parametrize(
    "different", [{"column": "validation_kid"}, {"instrument": "classifier 1b1b1b1b @28"}]
)
def test_what_was_validated_in_another_way_is_left_out(rows, tmp_path, written, different):
    rows = with_classifier(rows)
    write_all(written, rows)
    path = rows.loc[rows["model"] == "vae", "path"].iloc[0]
    written(path, [10.0, 20.0], [2.0, 1.0], **different)
    assert list(curves(tmp_path, rows)) == ["dcgan", "ddpm"]
    for path in rows.loc[rows["status"] == "finished", "path"]:
        written(path, [10.0, 20.0], [2.0, 1.0], **different)
    assert draw(tmp_path, rows) is None


def test_without_histories_there_is_no_figure(rows, diverged_row, tmp_path, written):
    assert draw(tmp_path, with_classifier(rows)) is None
    written(diverged_row["path"][0], [1.0], [9.0])
    assert draw(tmp_path, diverged_row) is None


def ticks_of(figure):
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (left, right), labels = axes.get_xlim(), axes.get_xticklabels()
    return [label for label in labels if left <= label.get_position()[0] <= right]


@pytest.mark.parametrize(
    ("scale", "axis", "expected"),
    [
        (1.0, "linear", {"0", "1 min", "3 min"}),
        (20.0, "log", {"2 min", "10 min", "10 h"}),
    ],
)
def test_times_are_read_in_minutes_and_no_labels_overlap(
    rows, tmp_path, written, scale, axis, expected
):
    rows = with_classifier(rows)
    write_all(written, rows, scale)
    figure = draw(tmp_path, rows)
    assert figure.axes[0].get_xscale() == axis
    ticks = ticks_of(figure)
    assert expected <= {tick.get_text() for tick in ticks} and len(ticks) <= 8
    boxes = [tick.get_window_extent() for tick in ticks]
    assert not any(left.overlaps(right) for left, right in itertools.combinations(boxes, 2))
    legend, frame = figure.legends[0].get_window_extent(), figure.bbox
    assert legend.y1 < min(box.y0 for box in boxes)
    assert frame.x0 <= legend.x0 and legend.x1 <= frame.x1


def test_a_value_that_is_not_positive_is_shown(rows, tmp_path, written):
    rows = with_classifier(rows)
    write_all(written, rows)
    assert draw(tmp_path, rows).axes[0].get_yscale() == "log"
    written(rows["path"][0], [10.0, 20.0], [3.0, -0.001])
    axes = draw(tmp_path, rows).axes[0]
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] < -0.001


def test_the_caption_names_the_samplers(rows):
    samplers = {"ddpm": "dpm-10", "vae": "decoder-mean", "dcgan": "generator"}
    rows = with_classifier(rows)
    rows = rows.assign(validation_sampler=rows["model"].map(samplers).fillna(""))
    text = caption("learning", group_of(rows))
    assert "classifier FID of few samples against as many test images" in text
    assert "generator (dcgan), dpm-10 (ddpm), decoder-mean (vae)" in text
    assert "lower is better" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (20, "20 s"), (60, "1 min"), (1800, "30 min"), (7200, "2 h")]
)
def test_round_times_are_written_in_their_unit(seconds, text):
    assert clock_time(seconds) == text

import numpy as np
import pandas as pd
import pytest

from benchmark.report.frontier import curves_of, frontier
from benchmark.report.groups import group_rows


def group_of(rows):
    (group,) = group_rows(rows)
    return group


def in_steps(rows, sampler, values, **others):
    """A copy of the first row of the DDPM for each number of passes."""
    row = rows[rows["model"] == "ddpm"].iloc[0]
    return pd.DataFrame(
        [
            {
                **row, "sampler": sampler.format(passes), "network_passes": passes,
                "kid_mean": value,
                "path": f"{row['path']}{sampler.format(passes)}{others.get('seed', 0)}", **others,
            }
            for passes, value in values.items()
        ]
    )  # fmt: skip


def curves(rows):
    return {curve.label: curve.points for curve in curves_of(group_of(rows))}


def test_the_steps_of_one_sampler_are_a_curve_and_other_models_points(rows):
    flow = in_steps(rows, "euler-{}", {4: 0.05, 1: 0.2, 16: 0.02}, model="flow")
    found = curves(pd.concat([rows[rows["model"] != "ddpm"], flow]))
    assert list(found) == ["dcgan generator", "flow euler", "vae decoder"]
    assert found["flow euler"]["passes"].tolist() == [1, 4, 16]
    assert found["flow euler"]["mean"].tolist() == pytest.approx([200.0, 50.0, 20.0])  # x 1000
    assert found["vae decoder"]["passes"].tolist() == [1]


def test_spacings_and_best_weights_are_curves_of_their_own(rows):
    values = {2: 0.1, 4: 0.05, 8: 0.03}
    parts = [
        in_steps(rows, "dpm-{}", values),
        in_steps(rows, "dpm-{}-log_snr", values),
        in_steps(rows, "dpm-{}", values, checkpoint="best"),
    ]
    found = curves(pd.concat([*parts, rows[rows["status"] == "sanity"]]))
    assert set(found) == {"ddpm dpm", "ddpm dpm-log_snr", "ddpm dpm@best"}


def test_a_point_is_the_mean_over_seeds(rows):
    values = {2: 0.1, 4: 0.05, 8: 0.03}
    other = {passes: value + 0.02 for passes, value in values.items()}
    both = [
        in_steps(rows, "ddim-{}", values, seed=10),
        in_steps(rows, "ddim-{}", other, seed=11, run="b"),
    ]
    found = curves(pd.concat([*both, rows[rows["status"] == "sanity"]]))["ddpm ddim"]
    assert found["mean"].tolist() == pytest.approx([110.0, 60.0, 40.0])
    assert found["std"].tolist() == pytest.approx([20.0 / np.sqrt(2.0)] * 3)


def test_other_options_make_another_curve(rows):
    values = {2: 0.1, 4: 0.05, 8: 0.03}
    parts = [
        in_steps(rows, "ddim-{}", values),
        in_steps(rows, "ddim-{}", values, overrides="model.base_width=64", run="b"),
    ]
    found = curves(pd.concat([*parts, rows[rows["status"] == "sanity"]]))
    assert list(found) == ["ddpm ddim", "ddpm ddim model.base_width=64"]


def test_two_numbers_of_steps_are_no_curve(rows):
    assert frontier(group_of(rows)) is None  # ddim-50 and ddim-10


def test_the_figure_names_every_curve_and_point(rows):
    flow = in_steps(rows, "euler-{}", {1: 0.2, 4: 0.05, 100: 0.02}, model="flow")
    figure = frontier(group_of(pd.concat([rows, flow])))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [
        "dcgan generator", "ddpm-200", "ddpm ddim", "flow euler", "vae decoder"
    ]  # fmt: skip
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    ticks = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    assert ticks == [1, 2, 4, 8, 16, 32, 64, 128]

import numpy as np
import pandas as pd
import pytest

from benchmark.report.collapse import COLLAPSE
from benchmark.report.sweeps import find_sweeps, parse_overrides, sweeps


def varied(rows, option, values, **others):
    """A copy of the VAE's row for each value, with a run, an override and a KID of its own."""
    vae = rows[rows["model"] == "vae"].iloc[0]
    return pd.DataFrame(
        [
            {
                **vae,
                "overrides": f"{option}={value}",
                "run": f"run{index}",
                "path": f"runs/mnist/vae/run{index}/samplers/decoder",
                "kid_mean": 0.08 / (index + 1),
                **others,
            }
            for index, value in enumerate(values)
        ]
    )


def swept(rows, *parts):
    """The sanity rows and these parts, as a group of a table would be."""
    return pd.concat([*parts, rows[rows["status"] == "sanity"]], ignore_index=True)


def only_line(rows, configurations=None):
    ((option, lines),) = find_sweeps(rows, (configurations or {}).get).items()
    ((label, line),) = lines.items()
    return option, label, line


def test_an_option_of_three_values_is_a_sweep(rows):
    option, label, line = only_line(swept(rows, varied(rows, "model.latent_dim", [2, 4, 8])))
    assert (option, label, line.values) == ("model.latent_dim", "vae decoder", [2, 4, 8])


@pytest.mark.parametrize("values", [[2, 4], [2, 4, 4], ["a", "b", "c"], ["[1]", "[2]", "true"]])
def test_fewer_values_or_no_numbers_are_none(rows, values):
    assert not find_sweeps(swept(rows, varied(rows, "model.latent_dim", values)), {}.get)


def test_rows_as_they_are_have_no_sweep(rows):
    assert sweeps(rows, {}.get) == {}


def test_a_run_without_the_override_has_its_configured_value(rows):
    both = swept(rows, rows[rows["model"] == "vae"], varied(rows, "model.latent_dim", [2, 8]))
    assert not find_sweeps(both, {}.get)
    path = rows.loc[rows["model"] == "vae", "path"].iloc[0]
    _, _, line = only_line(both, {path: {"model": {"latent_dim": 16}}})
    assert sorted(line.values) == [2, 8, 16]


def test_other_overrides_make_another_line(rows):
    plain = varied(rows, "model.latent_dim", [2, 4, 8])
    wide = varied(rows, "model.latent_dim", [2, 4, 8])
    wide["overrides"] += " model.beta=4"
    few = varied(rows, "model.latent_dim", [2, 4])
    few["overrides"] += " experiment=vae_latent2"
    lines = find_sweeps(swept(rows, plain, wide, few), {}.get)["model.latent_dim"]
    assert list(lines) == ["vae decoder", "vae decoder model.beta=4"]


def test_models_make_lines_of_one_figure(rows):
    dcgan = varied(rows, "model.latent_dim", [2, 4, 8], model="dcgan", sampler="generator")
    both = swept(rows, varied(rows, "model.latent_dim", [2, 4, 8]), dcgan)
    (figure,) = sweeps(both, {}.get).values()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["vae decoder", "dcgan generator"]


def test_steps_in_the_name_of_the_sampler_are_no_other_sampler(rows):
    """ddpm-100, ddpm-200, ddpm-500 are one line; ddim-50 and ddim-10 of each run stay two."""
    parts = []
    for steps in (100, 200, 500):
        for sampler in (f"ddpm-{steps}", "ddim-50", "ddim-10"):
            part = varied(rows, "model.schedule.num_timesteps", [steps], sampler=sampler)
            parts.append(part.assign(model="ddpm", run=f"run{steps}"))
    lines = find_sweeps(swept(rows, *parts), {}.get)["model.schedule.num_timesteps"]
    assert sorted(lines) == ["ddpm ddim-10", "ddpm ddim-50", "ddpm ddpm"]
    assert all(line.values == [100, 200, 500] for line in lines.values())


def test_the_best_and_the_last_weights_are_two_lines(rows):
    last = varied(rows, "model.latent_dim", [2, 4, 8]).assign(checkpoint="last")
    lines = find_sweeps(swept(rows, last, last.assign(checkpoint="best")), {}.get)[
        "model.latent_dim"
    ]
    assert list(lines) == ["vae decoder", "vae decoder best"]


def test_an_option_of_the_sampler_is_swept_over_one_run(rows):
    parts = [
        varied(rows, "sampler.eta", [eta], sampler=f"ddim-50{name}").assign(model="ddpm", run="r")
        for eta, name in ((0, ""), (0.5, "-eta0.5"), (1, "-eta1"))
    ]
    _, label, line = only_line(swept(rows, *parts))
    assert (label, line.values) == ("ddpm ddim", [0, 0.5, 1])


def test_the_figure_shows_each_row_the_mean_of_seeds_and_the_floor(rows):
    first = varied(rows, "model.latent_dim", [2, 4, 64])
    second = first.assign(seed=1, kid_mean=first["kid_mean"] + 0.01)
    (figure,) = sweeps(swept(rows, first, second), {}.get).values()
    axes = figure.axes[0]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "model.latent_dim"
    assert list(axes.get_xticks()) == [2, 4, 64]
    through = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    means = 1e3 * first["kid_mean"].to_numpy() + 5
    np.testing.assert_allclose(through.get_ydata(), means)
    assert len(axes.containers) == 6
    spans = [bar.get_segments()[0][:, 1] for bar in axes.collections]
    assert all(high - low == pytest.approx(2 * 1.1) for low, high in spans)
    assert "test images\n0.20" in [text.get_text() for text in axes.texts]


def test_less_than_a_decade_is_linear(rows):
    (figure,) = sweeps(swept(rows, varied(rows, "model.beta", [0.5, 1, 4])), {}.get).values()
    assert figure.axes[0].get_xscale() == "linear"


@pytest.mark.parametrize(
    ("kids", "scale"), [([0.1, 0.02, 0.01], "linear"), ([0.1, 0.01, 0.001], "log")]
)
def test_kid_is_logarithmic_over_a_wide_range_alone(rows, kids, scale):
    part = varied(rows, "model.latent_dim", [2, 4, 8]).assign(kid_mean=kids)
    (figure,) = sweeps(swept(rows, part), {}.get).values()
    assert figure.axes[0].get_yscale() == scale


def test_zero_and_a_negative_kid_are_drawn(rows):
    part = varied(rows, "model.label_smoothing", [0, 0.1, 20]).assign(kid_mean=[-0.001, 0.01, 0.1])
    (figure,) = sweeps(swept(rows, part), {}.get).values()
    assert figure.axes[0].get_xscale() == "linear"
    low, _ = figure.axes[0].get_ylim()
    assert low < -1


def test_collapsed_and_diverged_runs_are_shown_as_what_they_are(rows, diverged_row):
    part = varied(rows, "model.latent_dim", [2, 4])
    part.loc[0, "notes"] = f"{COLLAPSE}: 2 of 10 modes covered"
    diverged = diverged_row.assign(model="vae", overrides="model.latent_dim=8", sampler="")
    (figure,) = sweeps(swept(rows, part, diverged), {}.get).values()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["vae decoder", "mode collapse", "training diverged"]
    axes = figure.axes[0]
    (cross,) = (line for line in axes.lines if line.get_marker() == "x")
    assert list(cross.get_xdata()) == [8]
    points = {bar[0].get_xdata()[0]: bar[0].get_markerfacecolor() for bar in axes.containers}
    assert points[2] == "white" != points[4]


def test_overrides_are_read_as_they_are_written():
    text = "model.latent_dim=2 model.widths=[32,64] sampler.eta=0.5"
    assert parse_overrides(text) == {
        "model.latent_dim": "2",
        "model.widths": "[32,64]",
        "sampler.eta": "0.5",
    }
    assert parse_overrides("") == {}

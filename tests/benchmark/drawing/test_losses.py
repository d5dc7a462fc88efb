import numpy as np
import pandas as pd
import pytest

from benchmark.drawing.losses import loss_curves


def history(**losses):
    count = len(next(iter(losses.values())))
    return pd.DataFrame(
        {"step": range(count), "images_seen": range(0, 64 * count, 64), "seconds": 1.0, **losses}
    )


def test_losses_of_both_players_share_the_axes_without_their_sum():
    losses = {
        name: np.linspace(1, 2, 50) for name in ("generator_loss", "discriminator_loss", "loss")
    }
    axes = loss_curves(history(**losses), title="dcgan").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "generator loss",
        "discriminator loss",
    ]
    assert axes.get_title(loc="left") == "dcgan"


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (np.linspace(1, 2, 50), {"noise loss", "image loss"}),
        (np.linspace(1, 2, 50) * 1.01, {"loss", "noise loss", "image loss"}),
    ],
)
def test_a_total_that_repeats_one_of_the_losses_is_left_out(loss, names):
    losses = {"loss": loss, "noise_loss": np.linspace(1, 2, 50), "image_loss": np.full(50, 0.5)}
    axes = loss_curves(history(**losses), title="ddpm").axes[0]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == names


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        (np.geomspace(1, 0.01, 50), "log"),
        (np.linspace(1, 2, 50), "linear"),
        (np.linspace(100, -1, 50), "linear"),
    ],
)
def test_losses_are_logarithmic_where_it_fits(loss, scale):
    axes = loss_curves(history(loss=loss), title="").axes[0]
    assert axes.get_yscale() == scale


def test_the_quality_measured_in_validation_is_no_loss():
    axes = loss_curves(history(loss=[2.0, 1.0], validation_fid=[9.0, 8.0]), title="").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["loss"]


def test_accuracies_have_an_axis_of_their_own():
    losses = {"generator_loss": [2.0, 1.0], "real_accuracy": [0.01, 0.6]}
    left, right = loss_curves(history(**losses), title="").axes
    assert [len(axes.lines) for axes in (left, right)] == [2, 2]
    assert right.get_ylim() == (0.0, 1.0) and left.get_yscale() == "linear"
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "generator loss",
        "real accuracy",
    ]


def test_the_smoothed_loss_is_a_centred_mean():
    loss = np.random.default_rng(0).normal(size=250)
    axes = loss_curves(history(loss=loss), title="").axes[0]
    raw, smooth = (line.get_ydata() for line in axes.lines)
    np.testing.assert_array_equal(raw, loss)
    assert smooth[100] == pytest.approx(loss[95:105].mean())


def test_a_diverged_loss_is_drawn_up_to_its_end_and_marked():
    loss = np.ones(50)
    loss[30:] = np.nan
    axes = loss_curves(history(loss=loss), title="").axes[0]
    assert [text.get_text() for text in axes.texts] == ["diverged"]
    assert axes.lines[-1].get_xdata()[0] == 29 * 64


def test_an_infinite_loss_is_not_drawn():
    axes = loss_curves(history(loss=[1.0, np.inf, 2.0]), title="").axes[0]
    assert np.isfinite(axes.lines[0].get_ydata()).all()

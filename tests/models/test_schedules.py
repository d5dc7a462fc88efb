import keras
import numpy as np
import pytest
from keras import ops

from benchmark import config as configuration
from benchmark.cli import build
from models.schedules import (
    SPACINGS,
    ContinuousCosineSchedule,
    CosineSchedule,
    LinearSchedule,
    VariancePreservingSchedule,
    draw_fractions,
)
from tests.conftest import options


def linear(num_timesteps=200):
    return LinearSchedule(num_timesteps=num_timesteps, reference_timesteps=1000)


def continuous():
    return ContinuousCosineSchedule(min_signal_rate=0.02, max_signal_rate=0.95)


@pytest.mark.parametrize("num_timesteps", [50, 200, 1000])
@pytest.mark.parametrize("build", [linear, lambda count: CosineSchedule(num_timesteps=count)])
def test_a_schedule_ends_in_noise(build, num_timesteps):
    alpha_bars = build(num_timesteps).alpha_bars
    assert alpha_bars.shape == (num_timesteps,)
    assert 0.0 < alpha_bars[-1] < 1e-4
    assert alpha_bars[0] > 0.95
    assert (np.diff(alpha_bars) < 0).all()


@pytest.mark.parametrize("preset", options("preset"))
@pytest.mark.parametrize("schedule", options("model/schedule"))
def test_every_configured_schedule_ends_in_noise_whatever_its_number_of_steps(
    compose_config, schedule, preset
):
    for num_timesteps in (None, 60, 200) if schedule != "continuous_cosine" else (None,):
        overrides = [f"model/schedule={schedule}", f"preset={preset}", "sampler=ddim"]
        overrides += [f"model.schedule.num_timesteps={num_timesteps}"] if num_timesteps else []
        settings = configuration.validate(compose_config(*overrides))
        path = build("model.schedule", settings["model"]["schedule"]).path(1)
        assert path.num_timesteps in (num_timesteps, settings["model"]["schedule"]["num_timesteps"])
        assert 0.0 < np.sqrt(path.alpha_bars[0]) <= 0.02 + 1e-9


def test_the_linear_schedule_at_1000_steps_is_that_of_the_paper():
    expected = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(linear(1000).alpha_bars, expected, rtol=1e-12)


def test_betas_are_taken_as_they_are_without_a_reference():
    schedule = LinearSchedule(num_timesteps=300, beta_end=0.04, reference_timesteps=None)
    expected = np.cumprod(1.0 - np.linspace(1e-4, 0.04, 300))
    np.testing.assert_allclose(schedule.alpha_bars, expected, rtol=1e-12)


def test_too_few_timesteps_for_the_betas_are_refused():
    with pytest.raises(ValueError, match="num_timesteps=10"):
        linear(10)


def test_the_cosine_schedule_by_hand():
    """Nichol and Dhariwal 2021, eq. 17, where no beta is cut off."""
    alpha_bars = CosineSchedule(num_timesteps=4).alpha_bars
    levels = [np.cos((step / 4 + 0.008) / 1.008 * np.pi / 2) ** 2 for step in range(5)]
    np.testing.assert_allclose(alpha_bars[:3], np.array(levels[1:4]) / levels[0], rtol=1e-12)
    assert alpha_bars[3] == pytest.approx(alpha_bars[2] * 0.001)


def test_the_variance_preserving_schedule_by_hand():
    """For T = 2 at times 0.5005 and 1: with 0.1 s + 9.95 s^2 at the images' time of 0.001."""
    alpha_bars = VariancePreservingSchedule(num_timesteps=2).alpha_bars
    start, middle, end = 0.00010995, 2.5425274875, 10.05
    np.testing.assert_allclose(alpha_bars, [np.exp(start - middle), np.exp(start - end)], rtol=1e-6)


@pytest.mark.parametrize("num_timesteps", [1, 2, 4, 8])
def test_the_variance_preserving_schedule_integrates_its_rate(num_timesteps):
    """-log(alpha_bar) is the integral of beta(s) = 0.1 + 19.9 s from the images' time on."""
    alpha_bars = VariancePreservingSchedule(num_timesteps=num_timesteps).alpha_bars
    for step, alpha_bar in enumerate(alpha_bars, start=1):
        end = 0.001 + 0.999 * step / num_timesteps
        times = np.linspace(0.001, end, 1001)
        integral = np.trapezoid(0.1 + 19.9 * times, times)
        assert -np.log(alpha_bar) == pytest.approx(integral, rel=1e-9)


def test_the_continuous_schedule_keeps_to_its_rates():
    path = continuous().path(10, "linspace")
    np.testing.assert_allclose(np.sqrt(path.alpha_bars[[0, -1]]), [0.02, 0.95], rtol=1e-9)
    np.testing.assert_allclose(path.times, 1.0 - path.alpha_bars)
    trailing = continuous().path(2)  # times 1 and 1/2
    middle = (np.arccos(0.95) + np.arccos(0.02)) / 2
    np.testing.assert_allclose(np.sqrt(trailing.alpha_bars), [0.02, np.cos(middle)], rtol=1e-9)


@pytest.mark.parametrize("schedule", [linear(), continuous()])
def test_stratified_times_cover_the_way_evenly_and_are_uniform(schedule):
    """A batch of 8 has one image in each eighth of the way, with an offset drawn anew."""
    seed_generator = keras.random.SeedGenerator(0)
    fractions = np.stack([draw_fractions(8, seed_generator, True) for _ in range(200)])
    np.testing.assert_array_equal(np.floor(8 * fractions), np.tile(np.arange(8), (200, 1)))
    offsets = 8 * fractions[:, 0]
    assert offsets.min() < 0.05 and offsets.max() > 0.95 and 0.4 < offsets.mean() < 0.6
    times, _, _ = schedule.draw(8, seed_generator, stratified=True)
    assert (np.diff(ops.convert_to_numpy(times)) > 0).all()


@pytest.mark.parametrize("rates", [(0.0, 0.9), (0.5, 0.4), (0.1, 1.0)])
def test_wrong_rates_are_refused(rates):
    with pytest.raises(ValueError, match="min_signal_rate"):
        ContinuousCosineSchedule(min_signal_rate=rates[0], max_signal_rate=rates[1])


@pytest.mark.parametrize("build", [linear, continuous])
def test_training_draws_all_of_the_way(build):
    schedule = build()
    times, signal_rates, noise_rates = (
        ops.convert_to_numpy(values)
        for values in schedule.draw(4000, keras.random.SeedGenerator(0))
    )
    np.testing.assert_allclose(signal_rates**2 + noise_rates**2, 1.0, atol=1e-6)
    if schedule.num_timesteps is None:
        np.testing.assert_allclose(times, noise_rates**2, atol=1e-6)
        assert 0.02 <= signal_rates.min() < 0.05 and 0.9 < signal_rates.max() <= 0.95
    else:
        assert set(times) == set(range(200))
        np.testing.assert_allclose(signal_rates**2, schedule.alpha_bars[times], atol=1e-5)


@pytest.mark.parametrize("num_steps", [1, 3, 7, 10, 199, 200])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_time_steps_fall(num_steps, spacing):
    times = linear().path(num_steps, spacing).times
    assert len(times) == num_steps
    assert times[0] <= 199 and times[-1] >= 0
    assert (np.diff(times) < 0).all()
    if spacing != "leading":
        assert times[0] == 199
    if spacing == "leading" or (spacing == "linspace" and num_steps > 1):
        assert times[-1] == 0


def half_log_snr(alpha_bars):
    return 0.5 * np.log(alpha_bars / (1.0 - alpha_bars))


@pytest.mark.parametrize("build", [linear, lambda: linear(1000)])
def test_log_snr_spacing_takes_the_nearest_time_steps(build):
    """Ten even stretches from the noisiest level to the clearest one, where the walk ends."""
    schedule = build()
    levels = half_log_snr(schedule.alpha_bars)
    wanted = levels[-1] + (levels[0] - levels[-1]) * np.arange(10) / 10
    times = schedule.path(10, "log_snr").times
    assert times[0] == len(levels) - 1
    for time, level in zip(times, wanted, strict=True):
        assert abs(levels[time] - level) == np.abs(levels - level).min()


def test_log_snr_spacing_is_exact_where_time_is_continuous():
    levels = half_log_snr(continuous().path(8, "log_snr").alpha_bars)
    clearest = half_log_snr(0.95**2)
    np.testing.assert_allclose(np.diff(levels), (clearest - levels[0]) / 8, rtol=1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_steps_are_all_time_steps(spacing):
    np.testing.assert_array_equal(linear().path(200, spacing).times, np.arange(200)[::-1])

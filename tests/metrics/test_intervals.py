import numpy as np
import pytest

from metrics.intervals import wilson_interval, with_interval


# Newcombe (1998), Two-sided confidence intervals for the single proportion, table I, method 3.
@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_agrees_with_published_intervals(count, total, low, high):
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(total - count, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_the_ends_are_exact():
    assert wilson_interval(0, 1000)[0] == 0.0
    assert wilson_interval(1000, 1000)[1] == 1.0


@pytest.mark.parametrize("fraction", [0.03, 0.3])
def test_it_holds_the_true_fraction_as_often_as_it_says(fraction):
    counts = np.random.default_rng(0).binomial(400, fraction, 3000)
    intervals = {count: wilson_interval(count, 400, 0.9) for count in set(counts.tolist())}
    held = [intervals[count][0] <= fraction <= intervals[count][1] for count in counts.tolist()]
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)


def test_a_fraction_gets_its_ends_beside_it():
    low, high = wilson_interval(7, 30)
    assert with_interval("copied_fraction", 7 / 30, 30) == {
        "copied_fraction": 7 / 30,
        "copied_fraction_low": low,
        "copied_fraction_high": high,
    }


@pytest.mark.parametrize("wrong", [(-1, 5), (6, 5), (0, 0), (1, 5, 1.0), (1, 5, 0.0)])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="Received: "):
        wilson_interval(*wrong)

import numpy as np
import pytest

from metrics.intervals import wilson_interval


def test_the_published_example():
    # Newcombe 1998, table I: 81 of 263 and 15 of 148, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_both_ends_mirror_each_other():
    low, high = wilson_interval(29, 29)
    assert high == 1.0
    assert (1.0 - high, 1.0 - low) == pytest.approx(wilson_interval(0, 29))


def test_it_holds_the_true_fraction_as_often_as_it_says():
    counts = np.random.default_rng(0).binomial(200, 0.03, size=4000)
    intervals = [wilson_interval(int(count), 200) for count in counts]
    assert np.mean([low <= 0.03 <= high for low, high in intervals]) == pytest.approx(
        0.95, abs=0.02
    )


@pytest.mark.parametrize("arguments", [(1, 0), (3, 2), (-1, 2), (1, 2, 1.0)])
def test_impossible_counts_are_refused(arguments):
    with pytest.raises(ValueError, match="0 <= count <= total"):
        wilson_interval(*arguments)

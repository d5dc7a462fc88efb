import itertools

import numpy as np
import pytest
from scipy import stats

from benchmark.report.comparison import (
    best,
    disagreement,
    f_statistic,
    holm,
    told_apart,
    variance_components,
    welch,
)

# Three examples of Welch's test, with t and its degrees of freedom, that the encyclopedias print
# (en.wikipedia.org/wiki/Welch%27s_t-test): equal variances, unequal ones, unequal sizes.
FIRST = (
    [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4],
    [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4],
    0.021,
)
SECOND = (
    [17.2, 20.9, 22.6, 18.1, 21.7, 21.4, 23.5, 24.2, 14.7, 21.8],
    [
        21.5,
        22.8,
        21.0,
        23.0,
        21.6,
        23.6,
        22.5,
        20.7,
        23.4,
        21.8,
        20.7,
        21.7,
        21.5,
        22.5,
        23.6,
        21.5,
        22.5,
        23.5,
        21.5,
        21.8,
    ],
    0.149,
)
THIRD = (
    [19.8, 20.4, 19.6, 17.8, 18.5, 18.9, 18.3, 18.9, 19.5, 22.0],
    [
        28.2,
        26.6,
        20.1,
        23.3,
        25.2,
        22.1,
        17.7,
        27.6,
        20.6,
        13.7,
        23.2,
        17.5,
        20.6,
        18.0,
        23.9,
        21.6,
        24.3,
        20.4,
        24.0,
        13.2,
    ],
    0.036,
)


@pytest.mark.parametrize(("one", "two", "p"), [FIRST, SECOND, THIRD])
def test_welch_gives_the_published_p_values(one, two, p):
    assert welch(one, two) == pytest.approx(p, abs=6e-4)
    assert welch(two, one) == pytest.approx(welch(one, two), rel=1e-12)


def test_welch_by_hand():
    """Means 2 and 5, variances 1: t = 3 / sqrt(2 / 3), four degrees of freedom."""
    expected = 2 * stats.t.sf(3 / np.sqrt(2 / 3), 4)
    assert welch([1, 2, 3], [4, 5, 6]) == pytest.approx(expected, rel=1e-12)


def test_numbers_that_never_vary_are_known():
    assert welch([1, 1], [1, 1, 1]) == 1.0
    assert welch([1, 1], [100, 100]) == 0.0
    assert 0 < welch([1, 1], [1.5, 2.5]) < 1


def test_a_single_seed_cannot_be_tested():
    with pytest.raises(ValueError, match="Received: 1 and 3"):
        welch([1.0], [1.0, 2.0, 3.0])


def test_holm_by_hand():
    """0.005 <= 0.05 / 4 and 0.01 <= 0.05 / 3, but 0.03 > 0.05 / 2 ends it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.02, 0.03, 0.06]) == [False, False, False]
    assert holm([]) == []


def test_told_apart_is_symmetric_and_leaves_single_seeds_out():
    apart = told_apart([[1.0, 1.1, 0.9], [5.0, 5.1, 4.9], [1.05, 0.95, 1.1], [9.0]])
    assert apart.tolist() == [
        [False, True, False, False],
        [True, False, True, False],
        [False, True, False, False],
        [False, False, False, False],
    ]


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_equal_lines_are_seldom_told_apart(num_seeds):
    """Of 600 tables of five equal lines, 2 % have a pair told apart; without Holm, a quarter."""
    random = np.random.default_rng(0)
    tables = random.normal(size=(600, 5, num_seeds))
    rate = np.mean([told_apart(samples).any() for samples in tables])
    naive = np.mean([
        any(welch(one, two) < 0.05 for one, two in itertools.combinations(samples, 2))
        for samples in tables
    ])  # fmt: skip
    assert rate < 0.05 < 0.15 < naive


def test_lines_far_apart_are_told_apart():
    """Of five seeds, means that differ by eight standard deviations are found in nine of ten."""
    random = np.random.default_rng(0)
    shifts = 8.0 * np.arange(5)[:, None]
    found = [told_apart(shifts + random.normal(size=(5, 5)))[0, 1:].all() for _ in range(100)]
    assert np.mean(found) > 0.9


def test_the_best_are_all_that_share_the_best_mean():
    assert best([3, 1, 1, 2], "lower") == [1, 2]
    assert best([3, np.nan, 1], "higher") == [0]
    assert best([np.nan], "lower") == []


def test_f_by_hand():
    """Group means 2 and 5, grand mean 3.5: between 13.5 / 1, within 4 / 4."""
    found = f_statistic([[1, 2, 3], [4, 5, 6], [7]])
    assert (found.f, found.between, found.within) == (pytest.approx(13.5), 1, 4)
    assert found.p == pytest.approx(stats.f.sf(13.5, 1, 4))


def test_f_needs_two_lines_of_two_seeds_that_differ():
    assert f_statistic([[1, 2], [3]]) is None
    assert f_statistic([[1, 1], [3, 3]]) is None


def test_variance_components_by_hand():
    """Within 0.5; between 2 * (1.5 - 3.5)^2 * 2 = 16; (16 - 0.5) / 2 = 7.75."""
    found = variance_components([[1, 2], [5, 6]])
    assert found.sampling == pytest.approx(np.sqrt(0.5))
    assert found.training == pytest.approx(np.sqrt(7.75))


@pytest.mark.parametrize("sizes", [[4] * 400, [2, 3, 7] * 133])
def test_known_variance_components_are_found_again(sizes):
    random = np.random.default_rng(0)
    samples = [3.0 * random.normal() + 0.5 * random.normal(size=size) for size in sizes]
    found = variance_components(samples)
    assert found.training == pytest.approx(3.0, rel=0.1)
    assert found.sampling == pytest.approx(0.5, rel=0.1)


def test_what_seeds_do_not_tell_is_unknown():
    assert np.isnan(variance_components([[1.0], [2.0]])).all()
    training, sampling = variance_components([[1.0, 2.0]])
    assert np.isnan(training) and sampling == pytest.approx(np.sqrt(0.5))
    assert variance_components([[1, 3], [1, 3]]).training == 0


def test_disagreement_counts_and_names_the_reversed_pairs():
    found = disagreement([3, 2, 1, np.nan], [3, 1, 2, 9])
    assert found.reversed_pairs == [(1, 2)] and found.num_pairs == 3
    assert found.tau == pytest.approx(1 / 3)
    assert disagreement([1, 2], [1, 1]).reversed_pairs == []

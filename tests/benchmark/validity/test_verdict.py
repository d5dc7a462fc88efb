import math

import numpy as np
import pytest

from benchmark.validity import verdict
from benchmark.validity.sets import DAMAGES, DIVERSITY, MEMORISED, QUALITY, UNDAMAGED
from benchmark.validity.verdict import kendall, rank_candidates, z_score

BY_STRENGTH = (1.0, 2.0, 3.0)  # what a number shows where it sees a damage


def table(**shown):
    """Values of numbers by damage: `shown[column][damage name]` at its three strengths, else 0.

    Each has two draws, a hundredth up and down.
    """

    def pair(value):
        return [value - 0.01, value + 0.01]

    values = {UNDAMAGED: {column: pair(0.0) for column in shown}}
    for damage in DAMAGES:
        for index, strength in enumerate(damage.strengths):
            values[damage.name, strength] = {
                column: pair(levels.get(damage.name, (0.0,) * 3)[index])
                for column, levels in shown.items()
            }
    return values


def seeing(kinds, levels=BY_STRENGTH, but=()):
    return {d.name: levels for d in DAMAGES if d.kind in kinds and d.name not in but}


def winner(values, has_classifier=True):
    ranked = rank_candidates(values, DAMAGES, spread_factor=1.0, has_classifier=has_classifier)
    return ranked[0].column


def test_z_by_hand():
    damaged, undamaged = [4.0, 6.0], [1.0, 1.0]  # variances 2 and 0
    assert z_score(damaged, undamaged, sign=1.0, spread_factor=1.0) == pytest.approx(4.0)
    assert z_score(damaged, undamaged, sign=-1.0, spread_factor=2.0) == pytest.approx(-2.0)


def test_z_without_the_spread_of_damaged_sets():
    """It matters where damaged sets differ from each other, as few images do."""
    damaged, undamaged = [50.0, 150.0], [0.0, 2.0]
    told_apart = z_score(damaged, undamaged, sign=1.0, spread_factor=1.0)
    unlike = z_score(damaged, undamaged, sign=1.0, spread_factor=1.0, pooled=False)
    assert told_apart == pytest.approx(99 / np.sqrt((5000 + 2) / 2))
    assert unlike == pytest.approx(99 / np.sqrt(2))


def test_z_of_numbers_that_do_not_vary():
    assert z_score([2.0, 2.0], [1.0, 1.0], sign=1.0, spread_factor=1.0) == math.inf
    assert z_score([2.0, 2.0], [1.0, 1.0], sign=-1.0, spread_factor=1.0) == -math.inf
    assert z_score([1.0, 1.0], [1.0, 1.0], sign=1.0, spread_factor=1.0) == 0.0


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([[0.0], [1.0], [2.0]], 1.0),
        ([[2.0], [1.0], [0.0]], -1.0),
        ([[0.0], [2.0], [1.0]], 1 / 3),
        ([[1.0, 1.0], [1.0, 2.0]], 0.5),
        ([[5.0, 0.0], [5.0, 0.0]], 0.0),
    ],
)
def test_kendall_by_hand(groups, expected):
    assert kendall(groups) == pytest.approx(expected)


def test_kendall_is_scipys_without_ties():
    from scipy.stats import kendalltau

    values = np.random.default_rng(0).normal(size=12)
    expected = kendalltau(np.arange(12), values).statistic
    assert kendall([[value] for value in values]) == pytest.approx(expected)


def test_seeing_the_quality_damages_comes_first():
    """One that sees all quality damages beats one that misses one and sees all of diversity."""
    values = table(
        kid_mean=seeing([QUALITY]),
        kid_digits_mean=seeing([QUALITY, DIVERSITY], (10.0, 20.0, 30.0), but=["holes"]),
    )
    assert winner(values) == "kid_mean"


def test_seeing_collapse_comes_second():
    values = table(
        kid_mean=seeing([QUALITY], (10.0, 20.0, 30.0)),
        kid_digits_mean=seeing([QUALITY, DIVERSITY], (1.0, 3.0, 2.0)),
    )
    assert winner(values) == "kid_digits_mean"


def test_the_order_comes_third_and_the_weakest_strength_last():
    everything = [QUALITY, DIVERSITY]
    values = table(
        kid_mean=seeing(everything, (10.0, 30.0, 20.0)),
        fid=seeing(everything, (1.0, 2.0, 3.0)),
        fid_digits=seeing(everything, (1.5, 2.0, 3.0)),
    )
    assert winner(values) == "fid_digits"
    del values[UNDAMAGED]["fid_digits"]  # not measured
    assert winner(values) == "fid"


def test_memorised_images_decide_nothing():
    everything = seeing([QUALITY, DIVERSITY])
    values = table(
        kid_mean={**everything, MEMORISED.name: (0.0, 0.0, 0.0)},
        fid={**seeing([QUALITY, DIVERSITY], (0.9, 1.9, 2.9)), MEMORISED.name: (5.0, 6.0, 7.0)},
    )
    assert winner(values) == "kid_mean"


def test_without_a_classifier_its_numbers_cannot_win():
    values = table(kid_mean={}, kid_digits_mean=seeing([QUALITY, DIVERSITY]))
    assert winner(values) == "kid_digits_mean"
    assert winner(values, has_classifier=False) == "kid_mean"


def test_a_number_for_which_higher_is_better_is_turned_round():
    down = {name: tuple(-v for v in levels) for name, levels in seeing([QUALITY]).items()}
    values = table(density=down, precision=seeing([QUALITY]))
    density, precision = rank_candidates(values, DAMAGES, spread_factor=1.0, has_classifier=True)
    assert density.column == "density" and not density.unseen
    assert density.mean_tau > 0.99 and density.weakest_z > 3
    assert len(precision.unseen) == 5 and precision.mean_tau < -0.99  # it praises the damage


def test_across_compares_the_weakest_of_one_damage_with_the_strongest_of_another():
    shown = seeing([QUALITY])
    by_one = {**shown, "holes": (0.1, 0.2, 0.3)}  # all with holes look better than any other damage
    values = table(kid_mean=shown, fid=by_one)
    scores = {
        score.column: score
        for score in rank_candidates(values, DAMAGES, spread_factor=1.0, has_classifier=True)
    }
    assert scores["kid_mean"].across == pytest.approx(1.0)
    assert scores["fid"].across == pytest.approx((16 - 4) / 20)
    assert scores["fid"].mean_tau == pytest.approx(1.0)


def test_the_rule_is_stated_with_its_bound():
    assert f"{verdict.SEEN:g} or more" in verdict.RULE

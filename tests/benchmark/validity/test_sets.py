import numpy as np
import pytest

from benchmark.validity import sets
from benchmark.validity.sets import (
    DROPPED,
    FEW,
    HOLES,
    NOISE,
    SUPERPOSED,
    TEST,
    damaged,
    plan_draws,
    undamaged,
)

LABELS = np.arange(1000) % 10


@pytest.fixture
def draw():
    return plan_draws(num_images=1000, num_samples=200, seed=1).draws[1]


def sizes(parts):
    return {name: len(rows) for name, rows in parts}


def test_draws_share_no_image():
    plan = plan_draws(num_images=1000, num_samples=200, seed=1)
    rows = np.concatenate([draw.rows for draw in plan.draws])
    assert len(plan.draws) == 5 and plan.spread_factor == 1.0 and not plan.is_jackknife
    np.testing.assert_array_equal(np.sort(rows), np.arange(1000))
    for draw in plan.draws:
        assert not set(draw.rows) & set(draw.reserve)
        assert len(draw.rows) + len(draw.reserve) == 1000


def test_draws_have_an_upper_limit():
    assert len(plan_draws(num_images=1000, num_samples=10, seed=1).draws) == 5


@pytest.mark.parametrize("num_samples", [400, 1000, 5000])
def test_too_few_images_for_draws_give_a_jackknife(num_samples):
    plan = plan_draws(num_images=1000, num_samples=num_samples, seed=1)
    whole = min(num_samples, 1000)
    assert plan.is_jackknife and plan.num_samples == whole and len(plan.draws) == 5
    counts = np.bincount(np.concatenate([draw.rows for draw in plan.draws]))
    assert set(counts[counts > 0]) == {4} and (counts > 0).sum() == whole


@pytest.mark.parametrize("num_samples", [200, 1000])
def test_the_spread_is_the_standard_error_of_one_set(num_samples):
    """Of a mean over 200 or 1,000 normal numbers that is their deviation over sqrt(N)."""
    generator, errors = np.random.default_rng(0), []
    for repeat in range(200):
        numbers = generator.normal(0.0, 3.0, 1000)
        plan = plan_draws(num_images=1000, num_samples=num_samples, seed=repeat)
        means = [numbers[draw.rows].mean() for draw in plan.draws]
        errors.append(plan.spread_factor * np.std(means, ddof=1))
    expected = 3.0 / np.sqrt(num_samples)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(expected, rel=0.1)


def test_some_images_are_damaged_and_more_at_the_next_strength(draw):
    before = set()
    for strength, count in zip(HOLES.strengths, (20, 60, 200), strict=True):
        parts = damaged(HOLES, strength, draw, LABELS, seed=0)
        assert sizes(parts).get("holes") == count
        assert sizes(parts).get(TEST, 0) == 200 - count
        rows = np.concatenate([rows for _, rows in parts])
        np.testing.assert_array_equal(np.sort(rows), np.sort(draw.rows))
        chosen = set(dict(parts)["holes"])
        assert before < chosen
        before = chosen


def test_damage_of_all_images_takes_the_pool_of_its_strength(draw):
    ((name, rows),) = damaged(NOISE, 32.0, draw, LABELS, seed=0)
    assert name == "noise 32"
    np.testing.assert_array_equal(rows, undamaged(draw)[0][1])


@pytest.mark.parametrize("strength", [100.0, 50.0, 20.0])
def test_few_images_fill_the_set(draw, strength):
    ((name, rows),) = damaged(FEW, strength, draw, LABELS, seed=0)
    _, counts = np.unique(rows, return_counts=True)
    assert name == TEST and len(rows) == 200 and len(counts) == strength
    assert set(counts) == {200 / strength}


def test_a_jackknife_leaves_out_a_part_of_the_few_images():
    plan = plan_draws(num_images=1000, num_samples=1000, seed=1)
    found = [set(damaged(FEW, 20.0, draw, LABELS, seed=0)[0][1]) for draw in plan.draws]
    assert {len(rows) for rows in found} == {16}
    assert len(set.union(*found)) == 20


@pytest.mark.parametrize("strength", DROPPED.strengths)
def test_dropped_classes_are_replaced_by_others(draw, strength):
    ((_, rows),) = damaged(DROPPED, strength, draw, LABELS, seed=0)
    assert len(rows) == len(set(rows)) == 200
    assert len(set(LABELS[rows])) == 10 - strength


def test_each_draw_lacks_other_classes_and_strengths_are_nested():
    plan = plan_draws(num_images=1000, num_samples=200, seed=1)

    def left(draw, strength):
        return frozenset(LABELS[damaged(DROPPED, strength, draw, LABELS, seed=0)[0][1]])

    assert len({left(draw, 3.0) for draw in plan.draws}) > 1
    assert all(left(draw, 5.0) < left(draw, 3.0) < left(draw, 1.0) for draw in plan.draws)


def test_a_fifth_is_unrecognisable(draw):
    rejected = np.arange(0, 1000, 2)
    parts = dict(sets.unrecognisable(draw, rejected))
    assert len(parts[SUPERPOSED.name]) == 40 and len(parts[TEST]) == 160
    assert set(parts[SUPERPOSED.name]) <= set(rejected)


def test_classes_are_dropped_only_where_enough_are_left():
    assert DROPPED in sets.applicable(10)
    assert DROPPED not in sets.applicable(5)
    assert DROPPED not in sets.applicable(None)

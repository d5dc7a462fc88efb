import numpy as np
import pytest

from metrics.outliers import (
    HELD_OUT_KINDS,
    RECOGNISABLE_KINDS,
    TRAINED_KINDS,
    draw_outliers,
)

KINDS = {**TRAINED_KINDS, **HELD_OUT_KINDS, **RECOGNISABLE_KINDS}


def images_of(shape, count=30):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def draw(kind, images, count=24, seed=0):
    return KINDS[kind](np.random.default_rng(seed), count, images)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 3), (17, 20, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fits_any_images_and_its_seed_repeats_it(kind, shape):
    images = images_of(shape)
    outliers = draw(kind, images)
    assert outliers.dtype == np.uint8 and outliers.shape == (24, *shape)
    np.testing.assert_array_equal(draw(kind, images), outliers)
    # They differ from one another, and vary over more than two greys in all.
    assert len(np.unique(outliers.reshape(24, -1), axis=0)) > 20 or kind == "chequered boards"
    assert np.ptp(outliers) > 150


@pytest.mark.parametrize("kind", [*TRAINED_KINDS, *HELD_OUT_KINDS])
def test_no_junk_is_a_copy(kind, mnist_test):
    images = mnist_test[0][:200]
    outliers = draw(kind, images, count=50).reshape(50, -1).astype(int)
    flat = images.reshape(200, -1).astype(int)
    nearest = [np.abs(flat - outlier).mean(axis=1).min() for outlier in outliers]
    blank = kind == "blank images"  # the black one is near to a thin 1
    assert np.sort(nearest)[1 if blank else 0] > 4


def test_recognisable_ones_lie_near_to_their_images(mnist_test):
    images = mnist_test[0][:50]
    for kind in RECOGNISABLE_KINDS:
        change = np.abs(draw(kind, images, count=50).astype(int) - images.astype(int))
        assert 0.5 < change.mean() < 40


def test_groups_share_no_kind():
    assert len(KINDS) == sum(map(len, (TRAINED_KINDS, HELD_OUT_KINDS, RECOGNISABLE_KINDS)))


def test_the_trained_kinds_are_drawn_equally_often_in_random_order():
    images = images_of((8, 8, 1))
    marks = {
        f"kind {mark}": lambda generator, count, images, mark=mark: np.full(
            (count, 8, 8, 1), mark, np.uint8
        )
        for mark in range(4)
    }
    drawn = draw_outliers(count=40, images=images, seed=0, kinds=marks)[:, 0, 0, 0]
    assert np.bincount(drawn).tolist() == [10] * 4
    assert np.any(np.diff(drawn.astype(int)) < 0)
    assert len(draw_outliers(count=7, images=images, seed=[0, 1])) == 7
    first, other = (draw_outliers(count=20, images=images, seed=[0, epoch]) for epoch in (0, 1))
    assert not np.array_equal(first, other)


def test_shuffling_moves_pixels_and_keeps_them(mnist_test):
    images = mnist_test[0][:1]
    for kind, least, most in (
        ("all pixels shuffled", 0.9, 1.0),
        ("60 % of the pixels shuffled", 0.4, 0.6),
    ):
        places = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(1, 28, 28, 1)
        shuffled = draw(kind, places, count=1)
        assert least <= np.mean(shuffled != places) <= most
        np.testing.assert_array_equal(np.sort(shuffled, axis=None), np.sort(places, axis=None))
        assert draw(kind, images, count=1).sum() == images.sum()


def test_mosaics_are_made_of_patches_of_the_images():
    # Each image is of one grey, so that each patch is.
    images = np.arange(40, 240, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 28, 28, 1), np.uint8
    )
    fine, coarse = draw("mosaics of patches", images, count=2)
    for mosaic, size in ((fine, 4), (coarse, 7)):
        blocks = mosaic.reshape(28 // size, size, 28 // size, size)
        assert np.all(blocks == blocks[:, :1, :, :1])
        assert len(np.unique(blocks)) > 10

import numpy as np
import pytest

from benchmark.datasets.mnist import load_mnist
from benchmark.validity import damages
from benchmark.validity.pools import make_pool
from benchmark.validity.sets import DAMAGES, DROPPED, FEW, MEMORISED, TEST, pool_name

MADE_OF_TEST_IMAGES = [d for d in DAMAGES if d not in (FEW, DROPPED, MEMORISED)]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Two hundred test digits."""
    dataset = load_mnist(cache_dir=tmp_path_factory.mktemp("cache"))
    return np.array(dataset.test_images[:200])


def change(images, others):
    return np.abs(images.astype(float) - others).mean()


@pytest.mark.parametrize("damage", MADE_OF_TEST_IMAGES, ids=lambda damage: damage.name)
def test_a_pool_is_damaged_images_the_same_for_the_same_seed(damage, digits):
    before = digits.copy()
    for strength in damage.strengths:
        name = pool_name(damage, strength)
        pool = make_pool(name, digits, 7)
        assert pool.dtype == np.uint8 and pool.shape == digits.shape
        changed = (pool != digits).any(axis=(1, 2, 3))
        assert changed.mean() > 0.99
        np.testing.assert_array_equal(pool, make_pool(name, digits, 7))
    np.testing.assert_array_equal(digits, before)


@pytest.mark.parametrize("damage", [d for d in MADE_OF_TEST_IMAGES if not d.of_some])
def test_a_stronger_damage_changes_more(damage, digits):
    changes = [change(make_pool(pool_name(damage, s), digits, 7), digits) for s in damage.strengths]
    assert changes == sorted(changes)
    assert changes[0] < 0.7 * changes[-1]


def test_an_unknown_pool_is_refused(digits):
    assert make_pool(TEST, digits, 7) is digits
    with pytest.raises(ValueError, match="no pool"):
        make_pool("scratches 3", digits, 7)


def test_noise_has_the_stated_deviation():
    grey = np.full((20, 28, 28, 1), 128, np.uint8)
    noisy = damages.add_noise(grey, 16.0, seed=1)
    assert noisy.std() == pytest.approx(16.0, rel=0.02)
    assert noisy.mean() == pytest.approx(128.0, abs=0.5)
    assert (damages.add_noise(grey, 16.0, seed=2) != noisy).any()


def test_noise_stays_in_range():
    white = np.full((4, 28, 28, 1), 250, np.uint8)
    noisy = damages.add_noise(white, 64.0, seed=1)
    assert noisy.max() == 255 and noisy.mean() > 150  # nothing wraps around


def test_blur_keeps_brightness_and_spreads_a_point():
    image = np.zeros((1, 29, 29, 1), np.uint8)
    image[0, 14, 14] = 255
    blurred = damages.blur(image, 1.0)[0, :, :, 0].astype(float)
    assert blurred.sum() == pytest.approx(255, rel=0.1)
    distances = np.arange(29) - 14.0
    deviation = np.sqrt((blurred.sum(axis=0) * distances**2).sum() / blurred.sum())
    assert deviation == pytest.approx(29 / 28, rel=0.1)


def test_channels_are_blurred_apart():
    image = np.zeros((1, 28, 28, 3), np.uint8)
    image[..., 0] = 200
    assert damages.blur(image, 1.5)[..., 1:].max() == 0


def test_a_hole_is_a_black_square_on_the_content(digits):
    light = np.maximum(digits, 1)  # so that the whole square shows
    holed = damages.cut_holes(light, seed=3)
    lost = ((holed == 0) & (light > 0))[..., 0]
    assert (lost.sum(axis=(1, 2)) == 64).all()
    assert (lost.any(axis=2).sum(axis=1) == 8).all() and (lost.any(axis=1).sum(axis=1) == 8).all()
    np.testing.assert_array_equal(np.where(lost[..., None], light, holed), light)
    strokes = digits[..., 0] > 127
    assert (strokes & lost).any(axis=(1, 2)).mean() > 0.95


def test_holes_grow_with_the_image_and_a_black_image_is_no_error():
    holed = damages.cut_holes(np.zeros((2, 56, 56, 3), np.uint8), seed=0)
    assert holed.max() == 0
    white = damages.cut_holes(np.full((2, 56, 56, 3), 255, np.uint8), seed=0)
    assert ((white == 0).sum(axis=(1, 2, 3)) == 3 * 16 * 16).all()


def test_swapped_halves_are_of_two_images(digits):
    swapped = damages.swap_halves(digits, seed=5)
    partners = damages.partners(len(digits), 5)
    np.testing.assert_array_equal(swapped[:, :14], digits[:, :14])
    np.testing.assert_array_equal(swapped[:, 14:], digits[partners, 14:])


def test_superposed_images_keep_the_brighter_pixel(digits):
    both = damages.superpose(digits, seed=5)
    partners = damages.partners(len(digits), 5)
    assert (both >= digits).all() and (both >= digits[partners]).all()
    assert ((both == digits) | (both == digits[partners])).all()


@pytest.mark.parametrize("count", [2, 3, 100])
def test_partners_are_others_and_each_is_taken_once(count):
    partners = damages.partners(count, seed=4)
    assert (partners != np.arange(count)).all()
    np.testing.assert_array_equal(np.sort(partners), np.arange(count))


def test_one_image_has_no_partner():
    with pytest.raises(ValueError, match="at least 2"):
        damages.partners(1, seed=4)

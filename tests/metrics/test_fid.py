import numpy as np
import pytest

from metrics.base import Evaluation
from metrics.fid import FID, fid, fid_standard_error


def gaussian(count, *, shift=0.0, scale=1.0, seed=0, dimension=8):
    return np.random.default_rng(seed).normal(shift, scale, (count, dimension))


def test_agrees_with_torch_fidelity(reference, reference_features):
    assert fid(**reference_features) == pytest.approx(reference["fid"], rel=1e-6)


def test_hand_computed_case():
    # One dimension: (m_r - m_g)^2 + (s_r - s_g)^2, with s_r^2 = 2 and s_g^2 = 8.
    distance = fid(
        real_features=np.array([[0.0], [2.0]]), generated_features=np.array([[3.0], [7.0]])
    )
    assert distance == pytest.approx(4.0**2 + (np.sqrt(8) - np.sqrt(2)) ** 2, rel=1e-12)


@pytest.mark.parametrize("count", [5, 40])
def test_fewer_samples_than_dimensions_take_the_same_formula(count):
    # Dimensions in which nothing varies change no distance, whichever root is taken.
    real, generated = gaussian(count, dimension=3), gaussian(count, shift=1.0, seed=1, dimension=3)
    wide = [np.hstack([f, np.zeros((count, 30))]) for f in (real, generated)]
    expected = fid(real_features=real, generated_features=generated)
    assert fid(real_features=wide[0], generated_features=wide[1]) == pytest.approx(
        expected, rel=1e-9
    )


def test_a_set_has_no_distance_to_itself_and_a_shift_adds_its_square():
    real = gaussian(200)
    assert fid(real_features=real, generated_features=real) == pytest.approx(0.0, abs=1e-9)
    moved = fid(real_features=real, generated_features=real + 0.5)
    assert moved == pytest.approx(8 * 0.5**2, rel=1e-9)


def test_symmetric_and_grows_with_the_scale():
    real = gaussian(500)
    others = [gaussian(500, scale=scale, seed=1) for scale in (1.0, 1.5, 2.0)]
    there = [fid(real_features=real, generated_features=other) for other in others]
    back = [fid(real_features=other, generated_features=real) for other in others]
    assert there == pytest.approx(back, rel=1e-9)
    assert there == sorted(there)


def test_too_few_samples_says_how_many():
    with pytest.raises(ValueError, match="Received: 1 real and 4 generated"):
        fid(real_features=gaussian(1), generated_features=gaussian(4))


class Pixels:
    name, label, weights_hash = "pixels", "pixels 0 @2", "0"

    def __call__(self, images, progress=None):
        return images.reshape(len(images), -1).astype(np.float32) / 255


def test_metric_compares_with_the_large_reference_under_its_own_name():
    generator = np.random.default_rng(0)
    real, generated, reference = (
        generator.integers(0, high, (count, 2, 2, 1), dtype=np.uint8)
        for count, high in ((20, 256), (20, 100), (60, 200))
    )
    judged = Evaluation(
        real_images=real,
        generated_images=generated,
        reference_images=reference,
        seed=0,
        encoders={"pixels": Pixels()},
    )
    expected = fid(real_features=Pixels()(reference), generated_features=Pixels()(generated))
    for num_groups in (None, 11):  # 20 samples are too few for 11 groups
        metric = FID(encoder="pixels", prefix="fid_pixels", num_groups=num_groups)
        assert metric(judged) == {"fid_pixels": expected}
    numbers = FID(encoder="pixels", prefix="fid_pixels", num_groups=5)(judged)
    assert numbers["fid_pixels"] == expected and numbers["fid_pixels_se"] > 0
    assert judged.details["fid_pixels"]["num_reference"] == 60
    assert judged.details["fid_pixels"]["num_generated"] == 20


def test_features_that_are_always_zero_change_nothing():
    real, generated = gaussian(40), gaussian(30, shift=1.0, seed=1)
    padded = [np.pad(rows, ((0, 0), (3, 50))) for rows in (real, generated)]
    plain = fid(real_features=real, generated_features=generated)
    assert fid(real_features=padded[0], generated_features=padded[1]) == pytest.approx(plain)


def test_the_standard_error_is_the_spread_over_draws():
    real = gaussian(2000, seed=99)
    draws = [gaussian(400, shift=0.1, scale=1.1, seed=seed) for seed in range(120)]
    distances = [fid(real_features=real, generated_features=draw) for draw in draws]
    errors = [fid_standard_error(real_features=real, generated_features=draw) for draw in draws]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(distances, ddof=1), rel=0.2)


def test_two_groups_are_half_the_difference_of_the_halves():
    real, generated = gaussian(50), gaussian(40, shift=0.5, seed=1)
    halves = [fid(real_features=real, generated_features=generated[k::2]) for k in (0, 1)]
    error = fid_standard_error(real_features=real, generated_features=generated, num_groups=2)
    assert error == pytest.approx(abs(halves[0] - halves[1]) / 2)


def test_too_few_samples_for_the_groups_say_so():
    with pytest.raises(ValueError, match="num_groups=20, 50 real and 39 generated"):
        fid_standard_error(real_features=gaussian(50), generated_features=gaussian(39))

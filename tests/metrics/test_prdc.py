import tracemalloc

import numpy as np
import pytest

from metrics import distances as distances_module
from metrics.base import Evaluation
from metrics.prdc import PRDC, prdc


def gaussian(count, *, shift=0.0, seed=0, dimension=8):
    return np.random.default_rng(seed).normal(shift, 1.0, (count, dimension))


@pytest.mark.parametrize("tile", [128, 301, 2048])
def test_equals_the_authors_implementation(monkeypatch, reference, reference_features, tile):
    monkeypatch.setattr(distances_module, "TILE", tile)
    assert prdc(**reference_features, nearest_k=5) == pytest.approx(reference["prdc_k5"], rel=1e-14)


def test_hand_computed_case():
    # On a line with k = 1: real balls 0 (radius 1), 1 (1), 4 (3); generated balls 1.5 (8.5), 10
    # (8.5). 1.5 lies in the balls of 1 and 4, as 0 is 1.5 away; 10 lies in none. Real 0, 1 and 4
    # lie in the ball of 1.5.
    numbers = prdc(
        real_features=np.array([[0.0], [1.0], [4.0]]),
        generated_features=np.array([[1.5], [10.0]]),
        nearest_k=1,
    )
    assert numbers == pytest.approx(
        {"precision": 0.5, "recall": 1.0, "density": 1.0, "coverage": 2 / 3}
    )


def test_a_point_on_the_sphere_is_outside():
    numbers = prdc(
        real_features=np.array([[0.0], [2.0]]),
        generated_features=np.array([[-2.0], [40.0]]),
        nearest_k=1,
    )
    assert numbers["precision"] == numbers["density"] == numbers["coverage"] == 0.0


def test_precision_and_recall_are_not_swapped():
    # Samples from a part of the real region: all plausible, much missing.
    real, narrow = gaussian(600), 0.2 * gaussian(600, seed=1)
    numbers = prdc(real_features=real, generated_features=narrow)
    assert numbers["precision"] > 0.95
    assert numbers["recall"] < 0.3
    mirrored = prdc(real_features=narrow, generated_features=real)
    assert mirrored["precision"] == numbers["recall"]
    assert mirrored["recall"] == numbers["precision"]


def test_the_same_distribution_scores_near_one():
    numbers = prdc(real_features=gaussian(800), generated_features=gaussian(800, seed=1))
    assert numbers["density"] == pytest.approx(1.0, abs=0.1)
    assert numbers["coverage"] > 0.9


def test_a_collapsed_sampler_covers_little():
    real = gaussian(500)
    collapsed = np.repeat(real[:1], 500, axis=0) + 1e-3 * gaussian(500, seed=1)
    numbers = prdc(real_features=real, generated_features=collapsed)
    assert numbers["recall"] < 0.01
    assert numbers["coverage"] < 0.05


def test_features_that_are_always_zero_change_nothing():
    real, generated = gaussian(300), gaussian(280, shift=0.3, seed=1)
    padding = ((0, 0), (3, 5))
    padded = {
        "real_features": np.pad(real, padding),
        "generated_features": np.pad(generated, padding),
    }
    plain = prdc(real_features=real, generated_features=generated)
    assert prdc(**padded) == plain


def test_memory_stays_flat():
    tracemalloc.start()
    real, generated = gaussian(6000, dimension=4), gaussian(6000, dimension=4, seed=1)
    prdc(real_features=real, generated_features=generated)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    full_matrix = 8 * 6000**2
    assert peak < full_matrix / 1.5


def test_too_few_samples_says_how_many():
    with pytest.raises(ValueError, match="nearest_k=5, 5 real and 9 generated"):
        prdc(real_features=gaussian(5), generated_features=gaussian(9))
    assert PRDC(nearest_k=5).minimum_samples == 6


class Pixels:
    name, label, weights_hash = "digits", "digits 0 @2", "0"

    def __call__(self, images, progress=None):
        return images.reshape(len(images), -1).astype(np.float32)


def test_metric_names_its_numbers_by_its_suffix():
    generator = np.random.default_rng(0)
    real, generated = generator.integers(0, 256, (2, 30, 2, 2, 1), dtype=np.uint8)
    judged = Evaluation(real_images=real, generated_images=generated, seed=0, classifier=Pixels())
    numbers = PRDC(encoder="digits", suffix="_digits", nearest_k=3)(judged)
    plain = prdc(real_features=Pixels()(real), generated_features=Pixels()(generated), nearest_k=3)
    assert numbers == {f"{name}_digits": fraction for name, fraction in plain.items()}
    assert judged.details["prdc_digits"]["nearest_k"] == 3

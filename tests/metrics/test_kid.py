import numpy as np
import pytest

from metrics import kid as kid_module
from metrics.base import Evaluation
from metrics.kid import (
    KID,
    draw_subsets,
    kid,
    sums_across_by_full_matrix,
    sums_across_by_subset,
    sums_within_by_full_matrix,
    sums_within_by_subset,
)
from metrics.mmd import KERNELS, PolynomialKernel, squared_mmd


def gaussian(count, *, shift=0.0, seed=0, dimension=16):
    return np.random.default_rng(seed).normal(shift, 1.0, (count, dimension))


@pytest.mark.parametrize(("num_subsets", "subset_size"), [(20, 500), (100, 1000)])
def test_agrees_with_torch_fidelity(reference, reference_features, num_subsets, subset_size):
    expected = reference[f"kid_{num_subsets}x{subset_size}"]
    mean, std = kid(**reference_features, num_subsets=num_subsets, subset_size=subset_size)
    assert mean == pytest.approx(expected["mean"], rel=1e-6)
    assert std == pytest.approx(expected["std"], rel=1e-6)


def test_hand_computed_case():
    # d = 1, so k(x, y) = (x y + 1)^3. Within real {0, 1}: k = 1; within generated {1, 2}: k = 27.
    # Across: k(0, 1) = k(0, 2) = 1, k(1, 1) = 8, k(1, 2) = 27; mean 37 / 4.
    mean, std = kid(
        real_features=np.array([[0.0], [1.0]]),
        generated_features=np.array([[1.0], [2.0]]),
        num_subsets=3,
        subset_size=2,
    )
    assert mean == pytest.approx(1 + 27 - 2 * 37 / 4, rel=1e-12)
    assert std == pytest.approx(0.0, abs=1e-12)


def test_subsets_are_drawn_alternately_without_replacement():
    real, generated = draw_subsets(
        num_real=9, num_generated=7, num_subsets=2, subset_size=5, seed=2020
    )
    generator = np.random.RandomState(2020)
    for i in range(2):
        np.testing.assert_array_equal(real[i], generator.choice(9, 5, replace=False))
        np.testing.assert_array_equal(generated[i], generator.choice(7, 5, replace=False))


@pytest.mark.parametrize("tile", [64, 4096])
def test_full_matrix_and_subset_ways_agree_with_the_definition(monkeypatch, tile):
    monkeypatch.setattr(kid_module, "TILE", tile)
    real, generated = gaussian(300), gaussian(250, shift=0.5, seed=1)
    kernel = PolynomialKernel(16)
    rows = draw_subsets(num_real=300, num_generated=250, num_subsets=7, subset_size=90, seed=0)
    within, across = [], []
    for i, j in zip(*rows, strict=True):
        matrix = (real[i] @ real[i].T / 16 + 1) ** 3
        within.append(matrix.sum() - np.trace(matrix))
        across.append(np.sum((real[i] @ generated[j].T / 16 + 1) ** 3))
    for method in (sums_within_by_full_matrix, sums_within_by_subset):
        np.testing.assert_allclose(method(real, rows[0], kernel), within, rtol=1e-9)
    for method in (sums_across_by_full_matrix, sums_across_by_subset):
        np.testing.assert_allclose(method(real, generated, *rows, kernel), across, rtol=1e-9)


def test_a_set_against_itself_is_no_sum_within_it():
    features, kernel = gaussian(30), PolynomialKernel(16)
    rows = np.arange(20).reshape(2, 10)
    diagonal = [np.trace(kernel(features[i], features[i])) for i in rows]
    for within, across in (
        (sums_within_by_full_matrix, sums_across_by_full_matrix),
        (sums_within_by_subset, sums_across_by_subset),
    ):
        np.testing.assert_allclose(
            across(features, features, rows, rows, kernel) - within(features, rows, kernel),
            diagonal,
            rtol=1e-9,
        )


def test_the_way_taken_changes_neither_mean_nor_deviation(monkeypatch, reference_features):
    options = {**reference_features, "num_subsets": 10, "subset_size": 600}
    by_full_matrix = kid(**options)
    monkeypatch.setattr(kid_module, "sums_within_by_full_matrix", sums_within_by_subset)
    monkeypatch.setattr(kid_module, "sums_across_by_full_matrix", sums_across_by_subset)
    by_subset = kid(**options)
    assert by_subset != by_full_matrix  # another order of summation: both ways really ran
    assert by_subset == pytest.approx(by_full_matrix, rel=1e-9)


def test_large_sets_with_few_small_subsets_never_build_the_full_matrix(monkeypatch):
    def refuse(*_):
        raise AssertionError("the full kernel matrix was built")

    monkeypatch.setattr(kid_module, "sums_within_by_full_matrix", refuse)
    monkeypatch.setattr(kid_module, "sums_across_by_full_matrix", refuse)
    mean, _ = kid(
        real_features=gaussian(2000),
        generated_features=gaussian(2000, shift=1.0, seed=1),
        num_subsets=3,
        subset_size=100,
    )
    assert mean > 0.5


def test_real_against_real_is_near_zero_and_unbiased():
    means = [
        kid(
            real_features=gaussian(400, seed=2 * seed),
            generated_features=gaussian(400, seed=2 * seed + 1),
            num_subsets=10,
            subset_size=200,
        )[0]
        for seed in range(20)
    ]
    assert min(means) < 0 < max(means)
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(len(means))


def test_grows_with_the_shift():
    real = gaussian(400)
    shifted = [
        kid(
            real_features=real,
            generated_features=gaussian(400, shift=shift, seed=1),
            num_subsets=10,
            subset_size=200,
        )[0]
        for shift in (0.0, 0.25, 0.5, 1.0)
    ]
    assert shifted == sorted(shifted)
    assert shifted[-1] > 100 * abs(shifted[0])


def test_symmetric_in_the_whole_sets():
    options = {"num_subsets": 1, "subset_size": 300}
    real, generated = gaussian(300), gaussian(300, shift=0.3, seed=1)
    there = kid(real_features=real, generated_features=generated, **options)[0]
    back = kid(real_features=generated, generated_features=real, **options)[0]
    assert there == pytest.approx(back, rel=1e-9)


def test_float32_features_are_summed_in_float64(reference_features):
    options = {"num_subsets": 5, "subset_size": 500}
    doubled = {name: f.astype(np.float64) for name, f in reference_features.items()}
    assert kid(**reference_features, **options) == kid(**doubled, **options)


def test_features_that_are_always_zero_count_in_the_kernel_s_gamma():
    real, generated = gaussian(300), gaussian(280, shift=0.3, seed=1)
    options = {"num_subsets": 5, "subset_size": 100}
    plain = kid(real_features=real, generated_features=generated, **options)
    padding = ((0, 0), (0, 16))
    padded = kid(
        real_features=np.pad(real, padding),
        generated_features=np.pad(generated, padding),
        **options,
    )
    # gamma = 1 / 32 instead of 1 / 16 on the same products.
    scaled = kid(
        real_features=real / np.sqrt(2), generated_features=generated / np.sqrt(2), **options
    )
    assert padded == pytest.approx(scaled, rel=1e-9)
    assert padded != pytest.approx(plain, rel=1e-2)


def test_too_few_samples_says_how_many():
    with pytest.raises(ValueError, match="subset_size=1000.*Received: 999 real and 1200"):
        kid(real_features=gaussian(999), generated_features=gaussian(1200))
    with pytest.raises(ValueError, match="Received: num_subsets=0"):
        kid(real_features=gaussian(9), generated_features=gaussian(9), num_subsets=0)


class FirstPixels:
    name, label, weights_hash = "pixels", "pixels 0 @4", "0"

    def __call__(self, images, progress=None):
        return images.reshape(len(images), -1).astype(np.float32) / 255


def pixels_evaluation():
    generator = np.random.default_rng(0)
    real = generator.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    reference = generator.integers(0, 256, (90, 4, 4, 1), dtype=np.uint8)
    generated = generator.integers(0, 128, (50, 4, 4, 1), dtype=np.uint8)
    return Evaluation(
        real_images=real,
        generated_images=generated,
        reference_images=reference,
        seed=0,
        encoders={"pixels": FirstPixels()},
    )


def test_metric_compares_all_samples_with_the_large_reference():
    evaluation = pixels_evaluation()
    metric = KID(prefix="kid_pixels", num_subsets=4, subset_size=30)
    numbers = metric(evaluation)
    features = {
        "real_features": FirstPixels()(evaluation.reference_images),
        "generated_features": FirstPixels()(evaluation.generated_images),
    }
    found = squared_mmd(**features, kernel=PolynomialKernel(16))
    mean, std = kid(**features, num_subsets=4, subset_size=30)
    assert numbers == {
        "kid_pixels_mean": found.value,
        "kid_pixels_se": found.standard_error,
        "kid_pixels_std": std,
    }
    assert mean != found.value
    assert metric.minimum_samples == 30
    assert evaluation.details["kid_pixels"] == {
        "encoder": "pixels 0 @4",
        "weights_hash": "0",
        "num_reference": 90,
        "num_generated": 50,
        "kernel": "polynomial",
        "degree": 3,
        "gamma": 1 / 16,
        "coef0": 1.0,
        "se_given_reference": found.standard_error_given_real,
        "subsets": {"mean": mean, "std": std, "num_subsets": 4, "subset_size": 30, "seed": 2020},
    }


def test_another_kernel_is_an_option():
    evaluation = pixels_evaluation()
    metric = KID(prefix="kid_rbf", kernel="rbf", num_subsets=None)
    numbers = metric(evaluation)
    reference = FirstPixels()(evaluation.reference_images)
    kernel = KERNELS["rbf"](reference)
    found = squared_mmd(
        real_features=reference,
        generated_features=FirstPixels()(evaluation.generated_images),
        kernel=kernel,
    )
    assert numbers == {"kid_rbf_mean": found.value, "kid_rbf_se": found.standard_error}
    assert evaluation.details["kid_rbf"]["bandwidth"] == kernel.bandwidth
    assert "subsets" not in evaluation.details["kid_rbf"]
    assert metric.minimum_samples == 4
    with pytest.raises(ValueError, match="one of polynomial, rbf. Received: kernel=linear"):
        KID(kernel="linear")


def test_sums_within_the_reference_are_kept_by_its_content(monkeypatch):
    evaluation, calls = pixels_evaluation(), []

    def count(name):
        computed = getattr(kid_module, name)

        def call(features, *arguments):
            calls.append((name, len(features)))
            return computed(features, *arguments)

        monkeypatch.setattr(kid_module, name, call)

    count("sums_within")
    count("subset_sums_within")
    metric = KID(num_subsets=4, subset_size=30)
    first = metric(evaluation)
    whole, subsets, samples = (
        ("sums_within", 90),
        ("subset_sums_within", 90),
        ("subset_sums_within", 50),
    )
    assert calls == [whole, subsets, samples]
    assert metric(pixels_evaluation()) == first  # other arrays of the same content
    assert calls[3:] == [samples]
    fewer = pixels_evaluation()
    fewer.generated_images = fewer.generated_images[:40]  # subsets are drawn otherwise
    assert metric(fewer) == KID(num_subsets=4, subset_size=30)(fewer)
    evaluation.reference_features()[0, 0] += 0.25  # the same array of another content
    assert metric(evaluation) == KID(num_subsets=4, subset_size=30)(evaluation) != first

import itertools

import numpy as np
import pytest

from metrics import mmd
from metrics.kid import kid
from metrics.mmd import (
    KERNELS,
    PolynomialKernel,
    RBFKernel,
    median_bandwidth,
    squared_mmd,
    sums_across,
    sums_within,
)


def gaussian(count, *, shift=0.0, seed=0, dimension=16):
    return np.random.default_rng(seed).normal(shift, 1.0, (count, dimension))


def column(*values):
    return np.array(values, dtype=np.float64)[:, None]


def by_definition(real, generated, kernel):
    """The U-statistic as three loops over pairs."""
    within = [
        np.mean([kernel(rows[i : i + 1], rows[j : j + 1])[0, 0] for i, j in pairs])
        for rows in (real, generated)
        for pairs in [list(itertools.permutations(range(len(rows)), 2))]
    ]
    across = [kernel(x[None], y[None])[0, 0] for x in real for y in generated]
    return within[0] + within[1] - 2.0 * np.mean(across)


def test_hand_computed_case_of_unequal_sizes():
    # d = 1: k(x, y) = (x y + 1)^3. Real -1, 0, 1, 0: the six pairs give 1, 0, 1, 1, 1, 1, in the
    # mean 5 / 6. Generated 0, 1, 2, 0, 0: one pair gives 27, nine give 1, in the mean 36 / 10.
    # Across: from 0 always 1; from -1: 1, 0, -1, 1, 1; from 1: 1, 8, 27, 1, 1; in all 10 + 2 + 38.
    found = squared_mmd(
        real_features=column(-1, 0, 1, 0),
        generated_features=column(0, 1, 2, 0, 0),
        kernel=PolynomialKernel(1),
    )
    assert found.value == pytest.approx(5 / 6 + 36 / 10 - 2 * 50 / 20, rel=1e-12)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("tile", [3, 1024])
def test_tiles_add_up_to_the_definition(monkeypatch, name, tile):
    monkeypatch.setattr(mmd, "TILE", tile)
    real, generated = gaussian(11), gaussian(7, shift=0.5, seed=1)
    kernel = KERNELS[name](real)
    found = squared_mmd(real_features=real, generated_features=generated, kernel=kernel)
    assert found.value == pytest.approx(by_definition(real, generated, kernel), rel=1e-10)
    plain = kernel(generated, generated)
    np.fill_diagonal(plain, 0.0)
    within, across = sums_within(generated, kernel), sums_across(real, generated, kernel)
    np.testing.assert_allclose(within.rows, plain.sum(axis=1), rtol=1e-10)
    assert within.squares == pytest.approx(np.sum(plain**2), rel=1e-10)
    np.testing.assert_allclose(across.rows, kernel(real, generated).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(across.columns, kernel(real, generated).sum(axis=0), rtol=1e-10)
    assert across.squares == pytest.approx(np.sum(kernel(real, generated) ** 2), rel=1e-10)


def test_it_is_the_mean_over_all_pairs_of_subsets():
    real, generated = gaussian(6, dimension=3), gaussian(5, shift=0.4, seed=1, dimension=3)
    kernel = PolynomialKernel(3)
    estimates = [
        by_definition(real[list(i)], generated[list(j)], kernel)
        for i in itertools.combinations(range(6), 3)
        for j in itertools.combinations(range(5), 3)
    ]
    found = squared_mmd(real_features=real, generated_features=generated, kernel=kernel)
    assert found.value == pytest.approx(np.mean(estimates), rel=1e-10)


def test_it_is_torch_fidelity_s_of_one_subset_of_all(reference_features):
    count = min(map(len, reference_features.values()))
    features = {name: rows[:count] for name, rows in reference_features.items()}
    found = squared_mmd(**features, kernel=KERNELS["polynomial"](features["real_features"]))
    assert found.value == pytest.approx(
        kid(**features, num_subsets=1, subset_size=count)[0], rel=1e-9
    )
    mean, std = kid(**features, num_subsets=20, subset_size=500)
    assert abs(found.value - mean) < std


def test_rbf_is_that_of_a_naive_double_loop():
    left, right = gaussian(5), gaussian(4, seed=1)
    expected = [[np.exp(-np.sum((x - y) ** 2) / (2 * 1.5**2)) for y in right] for x in left]
    np.testing.assert_allclose(RBFKernel(1.5)(left, right), expected, rtol=1e-12)


def test_bandwidth_is_the_median_distance_of_different_rows(monkeypatch):
    assert median_bandwidth(column(0, 1, 3)) == 2.0  # of 1, 2, 3
    monkeypatch.setattr(mmd, "BANDWIDTH_ROWS", 3)
    assert median_bandwidth(column(0, 50, 1, 50, 3)) == 2.0  # evenly spaced rows: 0, 1, 3
    with pytest.raises(ValueError, match="`bandwidth` must be positive. Received: 0.0"):
        KERNELS["rbf"](np.ones((9, 2)))


def test_rbf_sees_what_has_the_same_mean_and_covariance_and_skew():
    generator = np.random.default_rng(0)
    real = generator.normal(size=(800, 2))
    two_values = generator.choice([-1.0, 1.0], (800, 2))  # mean 0, variance 1, no skew
    for name, is_seen in (("polynomial", False), ("rbf", True)):
        kernel = KERNELS[name](real)
        found = squared_mmd(real_features=real, generated_features=two_values, kernel=kernel)
        assert (found.value > 3 * found.standard_error) is is_seen


def test_the_parts_of_the_variance_are_those_of_centred_matrices():
    real, generated = gaussian(9), gaussian(8, shift=0.5, seed=1)
    kernel = PolynomialKernel(16)
    across = kernel(real, generated)
    across -= across.mean(axis=0) + across.mean(axis=1, keepdims=True) - across.mean()
    assert sums_across(real, generated, kernel).degenerate_variance == pytest.approx(
        np.sum(across**2) / (8 * 7), rel=1e-9
    )
    within = kernel(real, real)
    np.fill_diagonal(within, 0.0)
    rows = within.sum(axis=1) / 7  # U-centring: N - 2 for N - 1
    within -= rows[:, None] + rows[None, :] - within.sum() / (8 * 7)
    np.fill_diagonal(within, 0.0)
    assert sums_within(real, kernel).degenerate_variance == pytest.approx(
        np.sum(within**2) / (9 * 6), rel=1e-9
    )


def repeated_draws(kernel_name, scales, shift, count=200):
    """Estimates from draws of two normal populations, one of them moved along the first axis."""
    generator, move = np.random.default_rng(0), np.eye(len(scales))[0] * shift
    draw = lambda rows: generator.normal(size=(rows, len(scales))) * scales  # noqa: E731
    kernel = KERNELS[kernel_name](draw(300))
    return [
        squared_mmd(real_features=draw(80), generated_features=draw(50) + move, kernel=kernel)
        for _ in range(count)
    ]


def stated_over_true(found):
    """Root mean square of the standard errors over the deviation of the values."""
    deviation = np.std([one.value for one in found], ddof=1)  # of 200 draws: 5 % of error
    return np.sqrt(np.mean([one.standard_error**2 for one in found])) / deviation


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_standard_error_is_the_deviation_over_repeated_draws(name, shift):
    found = repeated_draws(name, np.ones(100), shift)
    assert stated_over_true(found) == pytest.approx(1.0, abs=0.15)


def test_where_one_direction_rules_it_is_too_large_only_for_equal_populations():
    # Estimates of z have so large an error that cutting them at zero shows. Without the part that
    # is noise of the row means it would be 2 for equal populations.
    scales = np.array([1.0] + [0.1] * 19)
    equal = stated_over_true(repeated_draws("polynomial", scales, 0.0))
    assert 1.0 < equal < 1.7
    apart = stated_over_true(repeated_draws("polynomial", scales, 1.0))
    assert apart == pytest.approx(1.0, abs=0.15)


def test_standard_error_beside_fixed_real_rows_is_that_of_the_samples_alone():
    generator = np.random.default_rng(0)
    real, kernel = generator.normal(size=(60, 8)), PolynomialKernel(8)
    within_real = sums_within(real, kernel)
    found = [
        squared_mmd(
            real_features=real,
            generated_features=generator.normal(size=(50, 8)) + 0.3,
            kernel=kernel,
            within_real=within_real,
        )
        for _ in range(200)
    ]
    deviation = np.std([one.value for one in found], ddof=1)
    stated = np.sqrt(np.mean([one.standard_error_given_real**2 for one in found]))
    assert stated == pytest.approx(deviation, rel=0.15)
    assert all(one.standard_error > one.standard_error_given_real for one in found)


def test_standard_error_of_real_digits_is_that_of_the_bootstrap(mnist_train, mnist_test):
    # Halves of digits as features; the bootstrap draws from both sets, apart from equal rows.
    real, generated = (
        images[:count].reshape(count, -1)[:, 300:600] / 255.0
        for images, count in ((mnist_train[0], 300), (mnist_test[0] // 2, 200))
    )
    kernel = PolynomialKernel(300)
    generator = np.random.default_rng(0)
    k_xx, k_yy, k_xy = kernel(real, real), kernel(generated, generated), kernel(real, generated)
    values = []
    for _ in range(300):
        i, j = generator.integers(0, 300, 300), generator.integers(0, 200, 200)
        different_x, different_y = i[:, None] != i[None, :], j[:, None] != j[None, :]
        within = k_xx[np.ix_(i, i)][different_x].mean() + k_yy[np.ix_(j, j)][different_y].mean()
        values.append(within - 2.0 * k_xy[np.ix_(i, j)].mean())
    found = squared_mmd(real_features=real, generated_features=generated, kernel=kernel)
    assert found.standard_error == pytest.approx(np.std(values), rel=0.15)


def test_symmetric_in_the_sets():
    real, generated = gaussian(50), gaussian(40, shift=0.3, seed=1)
    kernel = PolynomialKernel(16)
    there = squared_mmd(real_features=real, generated_features=generated, kernel=kernel)
    back = squared_mmd(real_features=generated, generated_features=real, kernel=kernel)
    assert there.value == pytest.approx(back.value, rel=1e-9)
    assert there.standard_error == pytest.approx(back.standard_error, rel=1e-9)


def test_features_that_are_always_zero_change_nothing():
    real, generated = gaussian(30), gaussian(20, shift=0.3, seed=1)
    padded = [np.pad(rows, ((0, 0), (0, 5))) for rows in (real, generated)]
    kernel = PolynomialKernel(16)
    plain = squared_mmd(real_features=real, generated_features=generated, kernel=kernel)
    assert plain == squared_mmd(
        real_features=padded[0], generated_features=padded[1], kernel=kernel
    )


def test_too_few_samples_says_how_many():
    with pytest.raises(ValueError, match="Received: 9 real and 3 generated"):
        squared_mmd(
            real_features=gaussian(9), generated_features=gaussian(3), kernel=PolynomialKernel(16)
        )

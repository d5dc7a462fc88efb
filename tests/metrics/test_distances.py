import numpy as np
import pytest

from metrics import distances as distances_module
from metrics.distances import (
    distance_tiles,
    distance_tiles_within,
    nearest_neighbours,
    squared_distances,
    squared_radii,
)


@pytest.fixture
def points():
    generator = np.random.default_rng(0)
    return generator.normal(size=(40, 3)), generator.normal(size=(50, 3))


def by_definition(left, right):
    return ((left[:, None] - right[None]) ** 2).sum(-1)


@pytest.fixture(params=[7, 11, 2048])
def tile(request, monkeypatch):
    monkeypatch.setattr(distances_module, "TILE", request.param)


def test_squared_distances_are_those_of_the_definition(points):
    np.testing.assert_allclose(squared_distances(*points), by_definition(*points), atol=1e-12)


def test_tiles_cover_all_pairs_once(points, tile):
    whole = np.full((40, 50), np.nan)
    for rows, columns, distances in distance_tiles(*points):
        assert np.isnan(whole[rows, columns]).all()
        whole[rows, columns] = distances
    np.testing.assert_allclose(whole, by_definition(*points), atol=1e-12)


def test_tiles_within_a_set_cover_each_pair_once_or_by_its_mirror_image(points, tile):
    features = points[0]
    whole = np.full((40, 40), np.nan)
    for rows, columns, distances in distance_tiles_within(features):
        assert np.isnan(whole[rows, columns]).all()
        whole[rows, columns] = distances
        whole[columns, rows] = distances.T
    np.testing.assert_allclose(whole, by_definition(features, features), atol=1e-12)


def test_radii_leave_the_point_itself_out(points, tile):
    features = points[1]
    distances = np.sort(by_definition(features, features), axis=1)
    np.testing.assert_allclose(squared_radii(features, 3), distances[:, 3], rtol=1e-9)


def test_nearest_neighbours_are_sorted_and_right(points, tile):
    found, rows = nearest_neighbours(*points, 4)
    expected = by_definition(*points)
    np.testing.assert_array_equal(rows, np.argsort(expected, axis=1)[:, :4])
    np.testing.assert_allclose(found, np.sort(expected, axis=1)[:, :4], atol=1e-12)


def test_a_query_that_is_a_reference_is_not_its_own_neighbour(points, tile):
    references = points[1]
    chosen = np.array([3, 49, 20])
    found, rows = nearest_neighbours(references[chosen], references, 2, own_rows=chosen)
    expected = by_definition(references[chosen], references)
    expected[np.arange(3), chosen] = np.inf
    np.testing.assert_array_equal(rows, np.argsort(expected, axis=1)[:, :2])
    assert (found > 0).all()


def test_distances_of_bytes_are_exact():
    images = np.random.default_rng(0).integers(0, 256, (20, 784), dtype=np.uint8)
    changed = images.copy()
    changed[:, 0] ^= 1
    found, rows = nearest_neighbours(changed, images, 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(20))
    np.testing.assert_array_equal(found[:, 0], 1.0)


def test_distances_of_many_extreme_bytes_are_exact():
    left = np.random.default_rng(0).choice(np.uint8([0, 1, 254, 255]), (8, 5000))
    right = np.stack([np.zeros(5000, np.uint8), np.full(5000, 255, np.uint8), 255 - left[0]])
    expected = by_definition(left.astype(np.int64), right.astype(np.int64))
    np.testing.assert_array_equal(squared_distances(left, right), expected)

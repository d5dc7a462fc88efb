import numpy as np
import pytest

from metrics import distances as distances_module
from metrics.distances import distance_tiles, nearest_neighbours, squared_distances


@pytest.fixture
def points():
    generator = np.random.default_rng(0)
    return generator.normal(size=(40, 3)), generator.normal(size=(50, 3))


def by_definition(left, right):
    return ((left[:, None] - right[None]) ** 2).sum(-1)


@pytest.fixture(params=[(7, 11), (11, 7), (1024, 4096)], ids=str)
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

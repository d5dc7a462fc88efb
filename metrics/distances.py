"""Euclidean distances between all rows of two sets, without the whole matrix in memory."""

from collections.abc import Iterator

import numpy as np

TILE = 1024  # rows and columns of the distance matrix that are in memory at once
BYTE_CENTRE = np.float32(128.0)
EXACT_COLUMNS = 2**24 // 128**2  # float32 has all integers up to 2**24


def squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs of rows, float64 `(N, M)`, never below zero.

    Those of bytes are exact: float32 multiplies them, which takes half the time of float64, and
    sums no more columns at once than it can without rounding.
    """
    if left.dtype == right.dtype == np.uint8:
        left, right = (rows.astype(np.float32) - BYTE_CENTRE for rows in (left, right))
        width = EXACT_COLUMNS
    else:
        left, right = (rows.astype(np.float64, copy=False) for rows in (left, right))
        width = left.shape[1]
    distances = squared_norms(left)[:, None] + squared_norms(right)[None, :]
    for start in range(0, left.shape[1], width):
        columns = slice(start, start + width)
        distances -= 2.0 * (left[:, columns] @ right[:, columns].T)
    return np.maximum(distances, 0.0, out=distances)


def squared_norms(rows: np.ndarray) -> np.ndarray:
    """Squared Euclidean norm of each row, float64 `(N,)`."""
    return np.einsum("nd,nd->n", rows, rows, dtype=np.float64)


def distance_tiles(
    left: np.ndarray, right: np.ndarray
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared distances of all pairs of rows, tile by tile, so that memory stays flat.

    Args:
        left: `(N, D)`.
        right: `(M, D)`.

    Yields:
        Rows of `left`, rows of `right` and the float64 distances of these.
    """
    for rows in _tiles(left):
        for columns in _tiles(right):
            yield rows, columns, squared_distances(left[rows], right[columns])


def distance_tiles_within(features: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared distances of all pairs of rows of one set `(N, D)`, as `distance_tiles`.

    Only the tiles on and above the diagonal are given: the others are their mirror images.
    """
    for rows in _tiles(features):
        for columns in _tiles(features, rows.start):
            yield rows, columns, squared_distances(features[rows], features[columns])


def _tiles(features: np.ndarray, start: int = 0) -> Iterator[slice]:
    for first in range(start, len(features), TILE):
        yield slice(first, min(first + TILE, len(features)))


def squared_radii(features: np.ndarray, nearest_k: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row.

    Args:
        features: `(N, D)`, with N > `nearest_k`.
        nearest_k: which neighbour, the row itself not counted.

    Returns:
        float64 `(N,)`.
    """
    nearest = np.full((len(features), nearest_k), np.inf)

    def add(rows: slice, distances: np.ndarray) -> None:
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        nearest[rows] = np.partition(candidates, nearest_k - 1, axis=1)[:, :nearest_k]

    for rows, columns, distances in distance_tiles_within(features):
        if rows == columns:
            np.fill_diagonal(distances, np.inf)  # not its own neighbour
        else:
            add(columns, distances.T)
        add(rows, distances)
    return nearest.max(axis=1)


def nearest_neighbours(
    queries: np.ndarray,
    references: np.ndarray,
    num_neighbours: int,
    *,
    own_rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of `references` to each row of `queries`, by brute force.

    Args:
        queries: `(N, D)`; bytes are taken as numbers, and their distances are exact.
        references: `(M, D)`, with M > `num_neighbours`; may be a memory map.
        num_neighbours: how many.
        own_rows: integers `(N,)`, the row of `references` that a query is itself and that does
            not count; `None` where the queries are no references.

    Returns:
        Squared distances, float64 `(N, num_neighbours)`, the nearest first, and their rows.
    """
    count = len(queries)
    nearest = np.full((count, num_neighbours), np.inf)
    found = np.zeros((count, num_neighbours), dtype=np.int64)
    for rows, columns, distances in distance_tiles(queries, references):
        if own_rows is not None:
            own = own_rows[rows] - columns.start
            here = np.flatnonzero((0 <= own) & (own < columns.stop - columns.start))
            distances[here, own[here]] = np.inf
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        chosen = np.argpartition(candidates, num_neighbours - 1, axis=1)[:, :num_neighbours]
        numbers = np.broadcast_to(
            np.arange(columns.start, columns.stop), (len(distances), columns.stop - columns.start)
        )
        nearest[rows] = np.take_along_axis(candidates, chosen, axis=1)
        numbers = np.concatenate([found[rows], numbers], axis=1)
        found[rows] = np.take_along_axis(numbers, chosen, axis=1)
    order = np.argsort(nearest, axis=1, kind="stable")
    return np.take_along_axis(nearest, order, axis=1), np.take_along_axis(found, order, axis=1)

"""Optimal assignment of rows to columns, where rows and columns may remain unassigned.

Each track has only a few possible detections, so the pairs form a sparse graph in which the cheapest column of most
rows is free. Only the others need a shortest augmenting path (Jonker and Volgenant, 1987), which is short. The result
is exact, and computed in a fraction of the time of a dense solver.
"""

from heapq import heappop, heappush
from math import inf

import numpy as np
from numpy.typing import NDArray


def assign(
    rows: NDArray[np.int64], columns: NDArray[np.int64], costs: NDArray[np.float64], *, limit: float
) -> NDArray[np.int64]:
    """Choose pairs with distinct rows and columns that minimise the sum of cost - `limit`.

    So a pair with a cost of `limit` or more is never chosen, and the number of pairs is not fixed.

    Args:
        rows: shape (n,): row of each possible pair.
        columns: shape (n,): column of each pair; pairs are unique.
        costs: shape (n,): cost of each pair.
        limit: maximum cost of a pair.

    Returns:
        Indices of the chosen pairs, ascending.
    """
    edges: dict[int, list[tuple[int, float]]] = {}
    position: dict[tuple[int, int], int] = {}
    for index, (row, column, gain) in enumerate(
        zip(rows.tolist(), columns.tolist(), (costs - limit).tolist(), strict=True)
    ):
        if gain < 0:
            edges.setdefault(row, []).append((column, gain))
            position[row, column] = index
    solver = _Solver(edges)
    return np.array(sorted(position[pair] for pair in solver.column_of.items()), dtype=np.int64)


class _Solver:
    """Minimises the total cost of sparse pairs with negative costs; an unassigned row costs 0."""

    def __init__(self, edges: dict[int, list[tuple[int, float]]]) -> None:
        self._edges = edges
        self._price: dict[int, float] = {}  # dual variable of each column; 0 if absent
        self._value = {row: min(cost for _, cost in pairs) for row, pairs in edges.items()}  # dual variable of each row
        self.column_of: dict[int, int] = {}
        self._row_of: dict[int, int] = {}
        waiting = []
        for row, pairs in edges.items():
            column = min(pairs, key=lambda pair: pair[1])[0]
            if column in self._row_of:
                waiting.append(row)
            else:
                self._join(row, column)
        for row in waiting:
            self._augment(row)

    def _join(self, row: int, column: int) -> None:
        self.column_of[row] = column
        self._row_of[column] = row

    def _augment(self, start: int) -> None:
        """Add a row: find the shortest alternating path to a free column, or to a row to leave unassigned."""
        distance: dict[int, float] = {}  # to a column
        before: dict[int, int] = {}  # row from which a column was reached
        final: dict[int, float] = {}  # distance to settled columns
        visited = [(start, 0.0)]
        heap: list[tuple[float, int]] = []
        alone, shortest = start, inf  # row to leave unassigned, and the distance of this
        row, base = start, 0.0
        while True:
            slack = base - self._value[row]
            if slack < shortest:
                alone, shortest = row, slack
            for column, cost in self._edges[row]:
                length = slack + cost - self._price.get(column, 0.0)
                if column not in final and length < distance.get(column, inf):
                    distance[column], before[column] = length, row
                    heappush(heap, (length, column))
            while heap and heap[0][1] in final:
                heappop(heap)
            if not heap or heap[0][0] >= shortest:
                end = self.column_of.pop(alone, None)
                break
            base, end = heappop(heap)
            if end not in self._row_of:
                shortest = base
                break
            final[end] = base
            row = self._row_of[end]
            visited.append((row, base))
        for row, reached in visited:
            self._value[row] += shortest - reached
        for column, reached in final.items():
            self._price[column] = self._price.get(column, 0.0) - (shortest - reached)
        self._flip(end, before, start)

    def _flip(self, end: int | None, before: dict[int, int], start: int) -> None:
        """Assign each row of the path that ends in a column to its next column."""
        while end is not None:
            row = before[end]
            following = self.column_of.get(row)
            self._join(row, end)
            end = following if row != start else None

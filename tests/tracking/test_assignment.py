from itertools import permutations

import numpy as np
from beeagent.tracking.assignment import assign
from hypothesis import given
from hypothesis import strategies as st

# Whole numbers of eighths, so that sums are exact.
costs_strategy = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(-40, 40)),
    max_size=25,
    unique_by=lambda pair: (pair[0], pair[1]),
)


def least(pairs: dict[tuple[int, int], float]) -> float:
    """Return the least sum over all ways to join 5 rows with 5 columns, each pair at 0 at most."""
    return min(
        sum(min(0.0, pairs.get((row, column), 0.0)) for row, column in enumerate(columns))
        for columns in permutations(range(5))
    )


@given(costs_strategy, st.integers(-16, 40))
def test_assignment_is_the_best_of_all(rows: list[tuple[int, int, int]], limit: int) -> None:
    given_pairs = {(row, column): cost / 8 for row, column, cost in rows}
    chosen = assign(
        np.array([row for row, _, _ in rows], dtype=np.int64),
        np.array([column for _, column, _ in rows], dtype=np.int64),
        np.array([cost / 8 for _, _, cost in rows], dtype=np.float64),
        limit=limit / 8,
    )
    assert sorted(set(chosen.tolist())) == chosen.tolist()
    made = [rows[index] for index in chosen.tolist()]
    assert len({row for row, _, _ in made}) == len(made) == len({column for _, column, _ in made})
    gains = {pair: cost - limit / 8 for pair, cost in given_pairs.items()}
    assert all(gains[row, column] < 0 for row, column, _ in made)
    assert sum(gains[row, column] for row, column, _ in made) == least(gains)


def test_assignment_minimises_the_total_cost() -> None:
    rows, columns = np.array([0, 0, 1]), np.array([0, 1, 0])
    chosen = assign(rows, columns, np.array([1.0, 2.0, 1.5]), limit=10.0)
    assert chosen.tolist() == [1, 2]

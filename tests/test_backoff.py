import random

import pytest
from beeagent.backoff import Backoff
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(0.01, 10), st.floats(1, 100), st.integers(0, 2**32))
def test_waits_double_up_to_maximum_and_keep_at_least_half(first: float, factor: float, seed: int) -> None:
    backoff = Backoff(first=first, longest=first * factor, rng=random.Random(seed))  # noqa: S311 - repeatable
    for attempt in range(12):
        ceiling = min(first * 2**attempt, first * factor)
        assert ceiling / 2 <= backoff.next() <= ceiling * (1 + 1e-9)


def test_waits_have_jitter() -> None:
    waits = {Backoff(first=1, longest=1).next() for _ in range(20)}
    assert len(waits) > 10


def test_reset_starts_with_first_wait() -> None:
    backoff = Backoff(first=1, longest=64)
    for _ in range(6):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1


@pytest.mark.parametrize(("first", "longest"), [(0, 1), (-1, 1), (2, 1)])
def test_invalid_ranges_are_rejected(first: float, longest: float) -> None:
    with pytest.raises(ValueError, match="first"):
        Backoff(first=first, longest=longest)

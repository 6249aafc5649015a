"""The reorder buffer returns items in the order of their numbers."""

import threading
from contextlib import suppress
from typing import TypeVar

import pytest
from beeagent.runtime.pipeline import ReorderBuffer, ReorderClosedError
from hypothesis import given
from hypothesis import strategies as st

T = TypeVar("T")

_DEADLINE = 45.0


def _rest(buffer: ReorderBuffer[T]) -> list[T]:
    """Take all items until the buffer is closed and the next number is not in it."""
    items: list[T] = []
    with suppress(ReorderClosedError):
        while True:
            items.append(buffer.get(_DEADLINE))
    return items


@given(order=st.permutations(range(12)))
def test_items_come_out_in_the_order_of_their_numbers(order: list[int]) -> None:
    buffer: ReorderBuffer[str] = ReorderBuffer(12)
    for number in order:
        buffer.put(number, f"item {number}")
    buffer.close()
    assert _rest(buffer) == [f"item {number}" for number in range(12)]


@given(order=st.permutations(range(12)), left_out=st.sets(st.integers(0, 11)))
def test_skipped_numbers_do_not_block(order: list[int], left_out: set[int]) -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(12)
    for number in order:
        if number in left_out:
            buffer.skip(number)
        else:
            buffer.put(number, number)
    buffer.close()
    assert _rest(buffer) == [number for number in range(12) if number not in left_out]


def test_items_of_several_threads_come_out_once_in_order() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(3)
    threads = [
        threading.Thread(target=lambda first=first: [buffer.put(n, n) for n in range(first, 300, 3)], daemon=True)
        for first in range(3)
    ]
    for thread in threads:
        thread.start()
    assert [buffer.get(_DEADLINE) for _ in range(300)] == list(range(300))
    for thread in threads:
        thread.join(_DEADLINE)
        assert not thread.is_alive()


def test_put_too_far_ahead_waits() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(2)
    put = threading.Event()

    def run_ahead() -> None:
        buffer.put(1, 1)
        buffer.put(2, 2)
        put.set()

    thread = threading.Thread(target=run_ahead, daemon=True)
    thread.start()
    assert not put.wait(0.2)
    buffer.put(0, 0)
    assert buffer.get(_DEADLINE) == 0
    assert put.wait(_DEADLINE)
    assert [buffer.get(_DEADLINE), buffer.get(_DEADLINE)] == [1, 2]


def test_close_wakes_both_sides_and_ends_at_first_gap() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(3)
    buffer.put(0, 0)
    buffer.put(2, 2)
    refused = threading.Event()

    def run_ahead() -> None:
        with pytest.raises(ReorderClosedError):
            buffer.put(4, 4)
        refused.set()

    threading.Thread(target=run_ahead, daemon=True).start()
    threading.Timer(0.1, buffer.close).start()
    assert _rest(buffer) == [0]
    assert refused.wait(_DEADLINE)


def test_maxsize_below_1_is_rejected() -> None:
    with pytest.raises(ValueError, match="maxsize must be 1 or more"):
        ReorderBuffer(0)

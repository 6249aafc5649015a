"""What is finished in any order comes out in the order in which it was begun."""

import threading

import pytest
from beeagent.runtime.reorder import ReorderBuffer, ReorderClosedError
from hypothesis import given
from hypothesis import strategies as st

_DEADLINE = 30.0


@given(order=st.permutations(range(12)))
def test_any_order_in_gives_the_numbers_order_out(order: list[int]) -> None:
    buffer: ReorderBuffer[str] = ReorderBuffer(12)
    for number in order:
        buffer.put(number, f"item {number}")
    buffer.close()
    assert list(buffer) == [f"item {number}" for number in range(12)]


@given(order=st.permutations(range(12)), left_out=st.sets(st.integers(0, 11)))
def test_what_is_skipped_holds_nothing_up(order: list[int], left_out: set[int]) -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(12)
    for number in order:
        if number in left_out:
            buffer.skip(number)
        else:
            buffer.put(number, number)
    buffer.close()
    assert list(buffer) == [number for number in range(12) if number not in left_out]


def test_several_threads_put_and_each_item_comes_out_once_in_order() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(3)
    threads = [
        threading.Thread(target=lambda first=first: [buffer.put(n, n) for n in range(first, 300, 3)], daemon=True)
        for first in range(3)
    ]
    for thread in threads:
        thread.start()
    items = iter(buffer)
    assert [next(items) for _ in range(300)] == list(range(300))
    for thread in threads:
        thread.join(_DEADLINE)
        assert not thread.is_alive()


def test_who_is_too_far_ahead_waits_for_those_before() -> None:
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
    items = iter(buffer)
    assert next(items) == 0
    assert put.wait(_DEADLINE)
    assert [next(items), next(items)] == [1, 2]


def test_closing_ends_the_wait_on_both_sides_and_the_iteration_at_the_first_gap() -> None:
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
    assert list(buffer) == [0]
    assert refused.wait(_DEADLINE)


def test_no_room_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="room must be 1 or more"):
        ReorderBuffer(0)

import threading
from collections.abc import Callable
from typing import Literal

import pytest
from beeagent.camera.frame_queue import Handoff, HandoffClosedError
from hypothesis import given
from hypothesis import strategies as st

SOON = 10.0


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("mode", ["newest", "every"])
def test_gives_what_was_put(mode: Literal["newest", "every"]) -> None:
    handoff: Handoff[int | None] = Handoff(mode)
    handoff.put(None)
    assert handoff.get(0) is None
    handoff.put(2)
    assert handoff.get(0) == 2
    assert handoff.replaced == 0


@given(st.lists(st.sampled_from(["put", "get"]), max_size=50))
def test_newest_keeps_only_the_last_and_counts_the_rest(steps: list[str]) -> None:
    handoff: Handoff[int] = Handoff("newest")
    put, taken, waiting = 0, 0, None
    for step in steps:
        if step == "put":
            handoff.put(put)
            waiting, put = put, put + 1
        elif waiting is None:
            with pytest.raises(TimeoutError):
                handoff.get(0)
        else:
            assert handoff.get(0) == waiting
            waiting, taken = None, taken + 1
    assert handoff.replaced == put - taken - (waiting is not None)


def test_every_loses_nothing_and_keeps_the_order_between_two_threads() -> None:
    handoff: Handoff[int] = Handoff("every")

    def produce() -> None:
        for number in range(2000):
            handoff.put(number)
        handoff.close()

    producer = in_thread(produce)
    assert list(handoff) == list(range(2000))
    producer.join(SOON)
    assert not producer.is_alive()
    assert handoff.replaced == 0


def test_every_lets_the_producer_be_one_item_ahead_and_no_more() -> None:
    handoff: Handoff[int] = Handoff("every")
    handoff.put(1)
    second_put = threading.Event()

    def put_second() -> None:
        handoff.put(2)
        second_put.set()

    in_thread(put_second)
    assert not second_put.wait(0.05)
    assert handoff.get(SOON) == 1
    assert second_put.wait(SOON)
    assert handoff.get(SOON) == 2


def test_get_waits_for_an_item() -> None:
    handoff: Handoff[str] = Handoff("newest")
    got: list[str] = []
    taker = in_thread(lambda: got.append(handoff.get()))
    handoff.put("here")
    taker.join(SOON)
    assert got == ["here"]


def test_the_last_item_can_be_taken_after_closing() -> None:
    handoff: Handoff[int] = Handoff("every")
    handoff.put(7)
    handoff.close()
    handoff.close()
    assert handoff.closed
    assert handoff.get() == 7
    with pytest.raises(HandoffClosedError):
        handoff.get()


@pytest.mark.parametrize("mode", ["newest", "every"])
def test_nothing_can_be_put_after_closing(mode: Literal["newest", "every"]) -> None:
    handoff: Handoff[int] = Handoff(mode)
    handoff.close()
    with pytest.raises(HandoffClosedError):
        handoff.put(1)
    assert list(handoff) == []


def test_closing_wakes_a_waiting_taker() -> None:
    handoff: Handoff[int] = Handoff("newest")
    outcome: list[type[Exception]] = []

    def take() -> None:
        try:
            handoff.get()
        except HandoffClosedError as error:
            outcome.append(type(error))

    taker = in_thread(take)
    handoff.close()
    taker.join(SOON)
    assert outcome == [HandoffClosedError]


def test_closing_wakes_a_waiting_producer_and_its_item_is_not_put() -> None:
    handoff: Handoff[int] = Handoff("every")
    handoff.put(1)
    refused = threading.Event()

    def put_second() -> None:
        try:
            handoff.put(2)
        except HandoffClosedError:
            refused.set()

    in_thread(put_second)
    handoff.close()
    assert refused.wait(SOON)
    assert list(handoff) == [1]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode"):
        Handoff("oldest")  # type: ignore[arg-type]

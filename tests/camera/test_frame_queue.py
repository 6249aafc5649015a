import threading
from collections.abc import Callable

import pytest
from beeagent.camera import FrameQueue, QueueClosedError
from hypothesis import given
from hypothesis import strategies as st

SOON = 45.0


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("drop_oldest", [True, False])
def test_get_returns_the_frame(drop_oldest: bool) -> None:  # noqa: FBT001 - parametrised
    queue: FrameQueue[int | None] = FrameQueue(drop_oldest=drop_oldest)
    queue.put(None)
    assert queue.get(0) is None
    queue.put(2)
    assert queue.get(0) == 2
    assert queue.replaced == 0


@given(st.lists(st.sampled_from(["put", "get"]), max_size=50))
def test_drop_oldest_keeps_the_last_and_counts_the_rest(steps: list[str]) -> None:
    queue: FrameQueue[int] = FrameQueue(drop_oldest=True)
    put, taken, waiting = 0, 0, None
    for step in steps:
        if step == "put":
            queue.put(put)
            waiting, put = put, put + 1
        elif waiting is None:
            with pytest.raises(TimeoutError):
                queue.get(0)
        else:
            assert queue.get(0) == waiting
            waiting, taken = None, taken + 1
    assert queue.replaced == put - taken - (waiting is not None)


def test_queue_keeps_all_items_in_order_between_threads() -> None:
    queue: FrameQueue[int] = FrameQueue(drop_oldest=False)

    def produce() -> None:
        for number in range(2000):
            queue.put(number)
        queue.close()

    producer = in_thread(produce)
    assert list(queue) == list(range(2000))
    producer.join(SOON)
    assert not producer.is_alive()
    assert queue.replaced == 0


def test_producer_is_one_item_ahead_at_most() -> None:
    queue: FrameQueue[int] = FrameQueue(drop_oldest=False)
    queue.put(1)
    second_put = threading.Event()

    def put_second() -> None:
        queue.put(2)
        second_put.set()

    in_thread(put_second)
    assert not second_put.wait(0.05)
    assert queue.get(SOON) == 1
    assert second_put.wait(SOON)
    assert queue.get(SOON) == 2


def test_get_waits_for_an_item() -> None:
    queue: FrameQueue[str] = FrameQueue(drop_oldest=True)
    got: list[str] = []
    consumer = in_thread(lambda: got.append(queue.get()))
    queue.put("here")
    consumer.join(SOON)
    assert got == ["here"]


def test_last_item_can_be_taken_after_close() -> None:
    queue: FrameQueue[int] = FrameQueue(drop_oldest=False)
    queue.put(7)
    queue.close()
    queue.close()
    with pytest.raises(QueueClosedError):
        queue.put(8)
    assert queue.get() == 7
    with pytest.raises(QueueClosedError):
        queue.get()


@pytest.mark.parametrize("drop_oldest", [True, False])
def test_put_after_close_raises(drop_oldest: bool) -> None:  # noqa: FBT001 - parametrised
    queue: FrameQueue[int] = FrameQueue(drop_oldest=drop_oldest)
    queue.close()
    with pytest.raises(QueueClosedError):
        queue.put(1)
    assert list(queue) == []


def test_close_wakes_waiting_consumer() -> None:
    queue: FrameQueue[int] = FrameQueue(drop_oldest=True)
    outcome: list[type[Exception]] = []

    def take() -> None:
        try:
            queue.get()
        except QueueClosedError as error:
            outcome.append(type(error))

    consumer = in_thread(take)
    queue.close()
    consumer.join(SOON)
    assert outcome == [QueueClosedError]


def test_close_wakes_waiting_producer_without_its_item() -> None:
    queue: FrameQueue[int] = FrameQueue(drop_oldest=False)
    queue.put(1)
    refused = threading.Event()

    def put_second() -> None:
        try:
            queue.put(2)
        except QueueClosedError:
            refused.set()

    in_thread(put_second)
    queue.close()
    assert refused.wait(SOON)
    assert list(queue) == [1]

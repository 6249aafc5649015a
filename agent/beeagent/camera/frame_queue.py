"""A queue of one item between two threads."""

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from beeagent.errors import BeeagentError

T = TypeVar("T")


class QueueClosedError(BeeagentError):
    """The queue is closed: no item can be put, or all items have been taken."""


class FrameQueue(Generic[T]):
    """A queue of at most one item between a producing and a consuming thread.

    With `drop_oldest`, `put` replaces the item in a full queue and never waits: for frames of a camera. Without, `put`
    waits until the queue is empty, so that no item is lost and the producer is at most one item ahead: for frames of a
    file.

    `close` wakes both sides; after it, an item still in the queue can be taken. Items are taken in the order in which
    they were put. Several producers or consumers are safe, but share the items.

    Args:
        drop_oldest: True if a new item replaces one that was not taken yet.
    """

    def __init__(self, *, drop_oldest: bool) -> None:
        self.drop_oldest = drop_oldest
        # At most one item. A list, so that None can be an item too.
        self._items: list[T] = []
        self._closed = False
        self._replaced = 0
        self._changed = threading.Condition()

    @property
    def replaced(self) -> int:
        """Number of items replaced before they were taken; always 0 without `drop_oldest`."""
        with self._changed:
            return self._replaced

    def put(self, item: T) -> None:
        """Put an item; without `drop_oldest`, wait until the queue is empty.

        Raises:
            QueueClosedError: the queue was closed before the item could be put.
        """
        with self._changed:
            if not self.drop_oldest:
                self._changed.wait_for(lambda: self._closed or not self._items)
            if self._closed:
                raise QueueClosedError("the queue is closed")
            if self._items:
                self._items.clear()
                self._replaced += 1
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> T:
        """Take the item, waiting until there is one.

        Args:
            timeout: maximum number of seconds to wait; None for no limit.

        Raises:
            TimeoutError: no item was put in time.
            QueueClosedError: the queue is closed and its last item was taken.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._items, timeout):
                raise TimeoutError(f"nothing was put into the queue within {timeout} s")
            if not self._items:
                raise QueueClosedError("the queue is closed")
            item = self._items.pop()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Close the queue and wake waiting threads. Idempotent and thread-safe."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Take one item after another until the queue is closed and empty."""
        while True:
            try:
                item = self.get()
            except QueueClosedError:
                return
            yield item

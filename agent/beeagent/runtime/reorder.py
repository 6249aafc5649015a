"""Put what several threads finish in any order back into the order in which it was begun."""

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from beeagent.errors import BeeagentError

T = TypeVar("T")


class ReorderClosedError(BeeagentError):
    """The buffer is closed: nothing can be put any more."""


class ReorderBuffer(Generic[T]):
    """Takes numbered items from several threads, and gives them to one thread in the order of their numbers.

    An item that is too far ahead waits, with the thread that puts it, until the ones before it have been taken. So at
    most `room` items are kept. Every number, from 0 on, must be put or skipped once; closing ends the wait for those
    that are not.

    Args:
        room: how many items to keep, 1 or more.
    """

    def __init__(self, room: int) -> None:
        if room < 1:
            raise ValueError(f"room must be 1 or more, not {room}")
        self._room = room
        self._items: dict[int, T] = {}
        self._skipped: set[int] = set()
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, number: int, item: T) -> None:
        """Give the item of a number; wait until there is room for it.

        Raises:
            ReorderClosedError: the buffer was closed before the item could be put; it was not.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or number < self._next + self._room)
            if self._closed:
                raise ReorderClosedError("the buffer is closed")
            self._items[number] = item
            self._changed.notify_all()

    def skip(self, number: int) -> None:
        """Let the items go on without that of a number, which will not come."""
        with self._changed:
            self._skipped.add(number)
            self._pass_skipped()
            self._changed.notify_all()

    def close(self) -> None:
        """Let nothing more be put. Safe to call twice, from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Take one item after another, until the buffer is closed and the next number is not in it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next in self._items)
                if self._next not in self._items:
                    return
                item = self._items.pop(self._next)
                self._next += 1
                self._pass_skipped()
                self._changed.notify_all()
            yield item

    def _pass_skipped(self) -> None:
        while self._next in self._skipped:
            self._skipped.remove(self._next)
            self._next += 1

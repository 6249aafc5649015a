"""Hand things over from one thread to another through a single slot."""

import threading
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

from beeagent.errors import BeeagentError

T = TypeVar("T")


class HandoffClosedError(BeeagentError):
    """The hand-over is closed: nothing can be put any more, and what was put has been taken."""


class Handoff(Generic[T]):
    """One slot between the thread that produces and the thread that consumes.

    Two ways to treat a slot that is still full when the next item comes:

    - `newest`: the new item takes the place of the old one, which nobody will see. Putting never waits. For
      what passes whether or not anyone looks: frames of a camera.
    - `every`: putting waits until the slot is free. Nothing is lost, and the producer works at most one item
      ahead of what was taken. For what must all be seen: frames of a file, results.

    Closing means that nothing more will be put. It wakes both sides. An item still in the slot can be taken
    after that, so the last one is not lost. Items come out in the order in which they went in.

    Meant for one producer and one consumer; more of either are safe, but share the items among them.

    Args:
        mode: `newest` or `every`.
    """

    def __init__(self, mode: Literal["newest", "every"]) -> None:
        if mode not in ("newest", "every"):
            raise ValueError(f"mode must be 'newest' or 'every', not {mode!r}")
        self._waits = mode == "every"
        # At most one item. A list, so that None can be an item too.
        self._slot: list[T] = []
        self._closed = False
        self._replaced = 0
        self._changed = threading.Condition()

    @property
    def replaced(self) -> int:
        """How many items were replaced before anyone took them; always 0 in mode `every`."""
        with self._changed:
            return self._replaced

    @property
    def closed(self) -> bool:
        """Whether `close` was called; an item may still be waiting."""
        with self._changed:
            return self._closed

    def put(self, item: T) -> None:
        """Put an item into the slot; in mode `every`, wait until it is free.

        Raises:
            HandoffClosedError: the hand-over was closed before the item could be put; it was not.
        """
        with self._changed:
            if self._waits:
                self._changed.wait_for(lambda: self._closed or not self._slot)
            if self._closed:
                raise HandoffClosedError("the hand-over is closed")
            if self._slot:
                self._slot.clear()
                self._replaced += 1
            self._slot.append(item)
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> T:
        """Take the item out of the slot, waiting until there is one.

        Args:
            timeout: seconds to wait at most; None waits until there is an item or the hand-over is closed.

        Raises:
            TimeoutError: nothing came in time.
            HandoffClosedError: the hand-over is closed and its last item was taken.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._slot, timeout):
                raise TimeoutError(f"nothing was handed over within {timeout} s")
            if not self._slot:
                raise HandoffClosedError("the hand-over is closed")
            item = self._slot.pop()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Let nothing more be put, and wake whoever waits. Safe to call twice, from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Take one item after another until the hand-over is closed and empty."""
        while True:
            try:
                item = self.get()
            except HandoffClosedError:
                return
            yield item

"""Letting go of a device that another thread may be using at that moment."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class LastOneOut:
    """Releases something once: at closing, or if a thread is inside then, as soon as that thread comes out.

    Releasing a camera's handle while another thread is blocked in it crashes the process, and waiting for that
    thread may take for ever.

    Args:
        release: lets go of the thing.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._closing = False
        self._released = False

    @property
    def closing(self) -> bool:
        """Whether `close` was called. Who finds it set once inside must leave the thing alone."""
        return self._closing

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Use the thing; one thread at a time."""
        try:
            with self._lock:
                yield
        finally:
            self._release_if_closing()

    def close(self) -> None:
        """Release the thing as soon as nobody is inside. Returns at once; safe to call twice, from any thread."""
        self._closing = True
        self._release_if_closing()

    def _release_if_closing(self) -> None:
        # `close` may find the lock taken by a thread that looked at `closing` before it was set. That thread comes
        # here after it has given the lock back, and finds it set.
        if self._closing and self._lock.acquire(blocking=False):
            try:
                if not self._released:
                    self._released = True
                    self._release()
            finally:
                self._lock.release()

"""How long a piece of work has taken so far."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class WorkClock:
    """Runs while a thread is at a piece of work; any thread may read it.

    By it others see that a thread is stuck, which cannot say so itself.
    """

    def __init__(self) -> None:
        self._began: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """While entered, a piece of work is under way. For one thread, and not to be nested."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._began = None

    @property
    def seconds(self) -> float:
        """For how long the work under way has been; 0 when none is."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

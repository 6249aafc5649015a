"""Keeping time: a clock that tests can replace, and holding to a rate."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time that passes evenly, and a way to wait; a test gives one that needs no waiting."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        """Return after so many seconds, or as soon as the event is set."""
        ...


class MonotonicClock:
    """The real one."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.monotonic()

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        """See `Clock.wait`."""
        interrupt.wait(seconds)


class RateLimit:
    """Lets things through at a limited rate, on the average of any length of time.

    What is let through is due on a grid of equal steps. Something up to half a step early is let through, and
    the next step is counted from the grid, not from it: a camera's frames never arrive exactly on time, and a
    strict rule would drop every other frame of a camera at 30 frames/s held to 30. Steps missed by more than
    one are forgotten, not made up for.

    Args:
        rate: how many a second, above 0.
        clock: where the time comes from.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        if not rate > 0:
            raise ValueError(f"a rate must be above 0, not {rate}")
        self._step = 1 / rate
        self._clock = clock
        self._due: float | None = None

    def seconds_early(self) -> float:
        """How long until the next one is due; 0 when it may come now."""
        return 0.0 if self._due is None else max(0.0, self._due - self._clock.now())

    def admit(self) -> bool:
        """Say whether one that comes now is let through; if so, it is counted."""
        now = self._clock.now()
        if self._due is None:
            self._due = now
        if now < self._due - self._step / 2:
            return False
        behind = now - self._due > self._step
        self._due = (now if behind else self._due) + self._step
        return True

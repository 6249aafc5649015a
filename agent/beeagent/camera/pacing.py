"""Clocks that tests can replace, a rate limit, and files played at their own frame rate."""

import math
import threading
import time
from typing import Protocol

from beeagent.camera.source import Frame, GrabbingSource

_MAX_LAG = 1.0
"""Seconds by which playback may lag and still catch up; a longer lag is accepted."""


class Clock(Protocol):
    """A monotonic clock with an interruptible wait; a test passes one that need not wait."""

    def now(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        """Wait for so many seconds, or until the event is set."""
        ...


class MonotonicClock:
    """The system's clock."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.monotonic()

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        """See `Clock.wait`."""
        interrupt.wait(seconds)


class RateLimit:
    """Admits items at a limited average rate.

    Admitted items are due on a grid of equal steps. An item up to half a step early is admitted, and the next step
    is counted from the grid, not from it: a camera's frames never arrive exactly on time, and a strict rule would
    drop every other frame of a camera at 30 frames/s limited to 30. Steps missed by more than one are not made up for.

    Args:
        rate: items per second, above 0.
        clock: tells the time.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be above 0, not {rate}")
        self._step = 1 / rate
        self._clock = clock
        self._due: float | None = None

    def seconds_early(self) -> float:
        """Return the seconds until the next item is due; 0 if it may come now."""
        return 0.0 if self._due is None else max(0.0, self._due - self._clock.now())

    def admit(self) -> bool:
        """Return whether an item that comes now is admitted; if so, count it."""
        now = self._clock.now()
        if self._due is None:
            self._due = now
        if now < self._due - self._step / 2:
            return False
        behind = now - self._due > self._step
        self._due = (now if behind else self._due) + self._step
        return True


class RealtimeSource(GrabbingSource):
    """Plays a file like a camera: no frame comes sooner than its time. Live.

    Frame n comes n / fps seconds after the first. A reader that is late gets the next frame at once, and the
    following ones too until the lag is made up; dropping what it has no time for is the reader's part, as with a
    camera. On a machine too slow to decode the file at its rate, it plays slower.

    Args:
        source: the file's frames; closed with this source.
        fps: frames per second.
        clock: tells the time and waits.
    """

    live = True

    def __init__(self, source: GrabbingSource, *, fps: float, clock: Clock) -> None:
        if not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"fps must be above 0, not {fps}")
        self.description = source.description
        self._source = source
        self._step = 1 / fps
        self._clock = clock
        self._due: float | None = None
        self._closed = threading.Event()

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        now = self._clock.now()
        if self._due is None or now - self._due > _MAX_LAG:
            self._due = now
        if now < self._due:
            self._clock.wait(self._closed, self._due - now)
        self._due += self._step
        return not self._closed.is_set() and self._source.grab()

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        return self._source.retrieve()

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed.set()
        self._source.close()

"""Clocks, a rate limit, and files played at their own frame rate."""

import math
import threading
import time
from typing import Protocol

from beeagent.camera.source import Frame, GrabbingSource

_MAX_LAG = 1.0
"""Maximum lag in seconds for which playback catches up; a longer lag is accepted."""


class Clock(Protocol):
    """A monotonic clock with an interruptible wait, which tests replace by one that does not wait."""

    def now(self) -> float:
        """Return the seconds since a fixed time; never decreases."""
        ...

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        """Wait until the event is set, at most this number of seconds."""
        ...


class MonotonicClock:
    """The monotonic clock of the system."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.monotonic()

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        """See `Clock.wait`."""
        interrupt.wait(seconds)


class RateLimit:
    """Admits items at a limited average rate.

    Items are due at equal steps. An item up to half a step early is admitted, and the next one is due a step after the
    due time, not after the item: a camera's frames never arrive exactly on time, and a strict rule would drop every
    other frame of a camera at 30 frames/s limited to 30. After a gap of more than one step, missed steps are skipped.

    Args:
        rate: items per second, above 0.
        clock: clock for the due times.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be above 0, not {rate}")
        self._step = 1 / rate
        self._clock = clock
        self._due: float | None = None

    def seconds_early(self) -> float:
        """Return the seconds until the next item is due; 0 if it is due now."""
        return 0.0 if self._due is None else max(0.0, self._due - self._clock.now())

    def admit(self) -> bool:
        """Return True and count an item if it is admitted now."""
        now = self._clock.now()
        if self._due is None:
            self._due = now
        if now < self._due - self._step / 2:
            return False
        behind = now - self._due > self._step
        self._due = (now if behind else self._due) + self._step
        return True


class RealtimeSource(GrabbingSource):
    """Plays a file like a camera, as a live source: no frame is delivered before its time.

    Frame n is due n / fps seconds after the first. A late reader gets frames without delay until it has caught up;
    dropping frames is left to the reader, as with a camera. A machine that cannot decode the file at its rate plays it
    more slowly.

    Args:
        source: source of the file's frames; closed with this source.
        fps: frames per second.
        clock: clock for the due times.
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

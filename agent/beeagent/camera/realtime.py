"""Playing a file like a camera."""

import math
import threading

from beeagent.camera.frame import Frame
from beeagent.camera.pacing import Clock
from beeagent.camera.source import GrabbingSource

_MOST_BEHIND = 1.0
"""Seconds by which playing may lag and still catch up; a longer lag is accepted."""


class RealtimeSource:
    """Gives the frames of a file no sooner than a camera would. A `GrabbingSource`, and live.

    Frame n comes n / fps seconds after the first. Who asks late gets the next frame at once, and the ones after
    it at once too until the lag is made up; it is the reader's part to drop what it has no time for, as with a
    camera. On a machine too slow to decode the file at its rate, it plays slower.

    Args:
        source: the file's frames; it is closed with this one.
        fps: frames a second.
        clock: what time it is, and how to wait.
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
        if self._due is None or now - self._due > _MOST_BEHIND:
            self._due = now
        if now < self._due:
            self._clock.wait(self._closed, self._due - now)
        self._due += self._step
        return not self._closed.is_set() and self._source.grab()

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        return self._source.retrieve()

    def read(self) -> Frame | None:
        """See `FrameSource.read`."""
        return self.retrieve() if self.grab() else None

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed.set()
        self._source.close()

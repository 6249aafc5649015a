"""Frames, what every source of frames offers, and closing a source that another thread is using."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from beeagent.errors import BeeagentError


@dataclass(frozen=True, slots=True)
class Frame:
    """One image and the time of its capture.

    Attributes:
        pixels: uint8, shape (height, width, 3), **BGR** as in OpenCV. Read-only: later stages read it while the
            camera already captures the next frame. The detector converts it to the RGB that models expect, after
            resizing.
        captured_at: wall-clock time of capture, with time zone UTC.
        captured_ns: `time.monotonic_ns()` at capture, for ages and latencies that no clock change can falsify.
        index: number of the frame within its source, from 0.
        name: of the file it came from, if any: the file name, or the path below the folder of a pattern.
        position_s: in a video file, seconds from its beginning.
    """

    pixels: NDArray[np.uint8]
    captured_at: datetime
    captured_ns: int
    index: int
    name: str | None = None
    position_s: float | None = None

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def at_s(self) -> float:
        """Time in seconds, of a clock that does not jump: `captured_ns`, or `position_s` in a video."""
        return self.captured_ns / 1e9 if self.position_s is None else self.position_s


class BadFrameError(BeeagentError):
    """One frame is unusable (a damaged image, a decoding error); the next one may be fine."""


class SourceLostError(BeeagentError):
    """A source delivers no more frames though it should (unplugged, stalled, connection lost); reopen it."""


class SourceUnreachableError(SourceLostError):
    """A network source could not be opened: its host is down, or has nothing at the address."""


class FrameSource(Protocol):
    """A sequence of frames. Used by one thread at a time.

    Attributes:
        description: for logs and errors, without secrets, such as `/dev/video0 (HD Webcam)`.
        live: True where frames pass whether or not they are read (a camera, a stream); False where they wait
            (files).
    """

    description: str
    live: bool

    def read(self) -> Frame | None:
        """Wait for the next frame and return it; None at the end of the source.

        Raises:
            BadFrameError: this frame is unusable; continue reading.
            SourceLostError: the source failed; close it and open it again later.
        """
        ...

    def close(self) -> None:
        """Release the device, file or connection. Safe to call twice, and from another thread."""
        ...


@runtime_checkable
class GrabbingSource(FrameSource, Protocol):
    """A source that waits for a frame and decodes it in two steps, so that skipping a frame is cheap."""

    def read(self) -> Frame | None:
        """Grab and retrieve the next frame; see `FrameSource.read`."""
        return self.retrieve() if self.grab() else None

    def grab(self) -> bool:
        """Wait for the next frame and keep it undecoded; False at the end of the source.

        Raises:
            BadFrameError: this frame is unusable; continue grabbing.
            SourceLostError: the source failed; close it and open it again later.
        """
        ...

    def retrieve(self) -> Frame:
        """Decode the frame grabbed last. Call it once for each.

        Raises:
            BadFrameError: it cannot be decoded; continue grabbing.
            SourceLostError: the source failed; close it and open it again later.
        """
        ...


class DeferredClose:
    """Releases a resource once: when it is closed or, if a thread is using it then, when that thread has finished.

    Releasing a camera's handle while another thread is blocked in it crashes the process, and waiting for that
    thread may take forever.

    Args:
        release: releases the resource.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._closing = False
        self._released = False

    @property
    def closing(self) -> bool:
        """Whether `close` was called. A thread that finds it set within `use` must not touch the resource."""
        return self._closing

    @contextmanager
    def use(self) -> Iterator[None]:
        """Use the resource; one thread at a time."""
        try:
            with self._lock:
                yield
        finally:
            self._release_if_closing()

    def close(self) -> None:
        """Release the resource as soon as no thread uses it. Returns at once; safe to call twice, from any thread."""
        self._closing = True
        self._release_if_closing()

    def _release_if_closing(self) -> None:
        # `close` may find the lock taken by a thread that checked `closing` before it was set. That thread comes
        # here after it has released the lock, and finds it set.
        if self._closing and self._lock.acquire(blocking=False):
            try:
                if not self._released:
                    self._released = True
                    self._release()
            finally:
                self._lock.release()

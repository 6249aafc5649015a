"""Frames, the interface of frame sources, and closing a source that is used by another thread."""

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
        pixels: uint8, shape (height, width, 3), **BGR** as in OpenCV. Read-only, since later stages use it while the
            next frame is captured. The detector converts it to RGB after resizing.
        captured_at: wall-clock time of capture, with time zone UTC.
        captured_ns: `time.monotonic_ns()` at capture, for ages and latencies, which must not depend on clock changes.
        index: number of the frame within its source, from 0.
        name: name of the image or video file, or path below the folder of a pattern; None for other sources.
        position_s: seconds from the beginning of a video file; None for other sources.
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
        """Monotonic time in seconds: `captured_ns`, or `position_s` in a video."""
        return self.captured_ns / 1e9 if self.position_s is None else self.position_s


class BadFrameError(BeeagentError):
    """One frame is unusable (a damaged image, a decoding error); the next one may be usable."""


class SourceLostError(BeeagentError):
    """A source delivers no frames (unplugged, stalled, connection lost); reopen it."""


class SourceUnreachableError(SourceLostError):
    """A network source could not be opened: its host is down, or has no video at the address."""


class FrameSource(Protocol):
    """A sequence of frames. For one thread at a time.

    Attributes:
        description: description for logs and errors, without secrets, such as `/dev/video0 (HD Webcam)`.
        live: True for a camera or stream, which produces frames whether or not they are read; False for files.
    """

    description: str
    live: bool

    def read(self) -> Frame | None:
        """Wait for the next frame and return it; return None at the end of the source.

        Raises:
            BadFrameError: this frame is unusable; continue reading.
            SourceLostError: the source failed; close it and open it again later.
        """
        ...

    def close(self) -> None:
        """Release the device, file or connection. Idempotent and thread-safe."""
        ...


@runtime_checkable
class GrabbingSource(FrameSource, Protocol):
    """A source that waits for a frame and decodes it in two steps, so that skipping a frame is cheap."""

    def read(self) -> Frame | None:
        """Grab and retrieve the next frame; see `FrameSource.read`."""
        return self.retrieve() if self.grab() else None

    def grab(self) -> bool:
        """Wait for the next frame and keep it undecoded; return False at the end of the source.

        Raises:
            BadFrameError: this frame is unusable; continue grabbing.
            SourceLostError: the source failed; close it and open it again later.
        """
        ...

    def retrieve(self) -> Frame:
        """Decode the last grabbed frame. Call it once for each.

        Raises:
            BadFrameError: the frame cannot be decoded; continue grabbing.
            SourceLostError: the source failed; close it and open it again later.
        """
        ...


class DeferredClose:
    """Releases a resource once: when it is closed or, if a thread is using it, when that thread has finished.

    Releasing a camera's handle while another thread is blocked in it would crash the process, and waiting for that
    thread could take forever.

    Args:
        release: function that releases the resource.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._closing = False
        self._released = False

    @property
    def closing(self) -> bool:
        """True if `close` was called. A thread within `use` must then not use the resource."""
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
        """Release the resource as soon as no thread uses it. Returns at once; idempotent and thread-safe."""
        self._closing = True
        self._release_if_closing()

    def _release_if_closing(self) -> None:
        # If the lock is held by a thread that checked `closing` before it was set, that thread calls this method after
        # it has released the lock.
        if self._closing and self._lock.acquire(blocking=False):
            try:
                if not self._released:
                    self._released = True
                    self._release()
            finally:
                self._lock.release()

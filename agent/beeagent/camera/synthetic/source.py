"""The synthetic scene as a source of frames, like a camera or like a file."""

import threading
import time
from datetime import datetime, timezone

from beeagent.camera.pacing import Clock, MonotonicClock
from beeagent.camera.source import Frame, GrabbingSource
from beeagent.camera.synthetic.address import SceneOptions
from beeagent.camera.synthetic.scene import Scene
from beeagent.errors import InputError


class SyntheticSource(GrabbingSource):
    """Frames of a synthetic scene: a frame that is skipped is not drawn.

    Args:
        options: of the scene.
        live: True delivers frames at the scene's rate, as a camera does; False as fast as they are read. Either way
            every frame is one step of the scene after the one before.
        frames: number of frames until the end, 1 or more; None for no end.
        clock: tells the time and waits; None for the system's.

    Raises:
        InputError: `frames` is out of range.
    """

    def __init__(
        self, options: SceneOptions, *, live: bool, frames: int | None = None, clock: Clock | None = None
    ) -> None:
        if frames is not None and frames < 1:
            raise InputError(f"synthetic scene: frames is {frames}; use 1 or more, or leave it out for no end")
        self.description = (
            f"synthetic scene {options.width}x{options.height} at {options.fps:g} fps, seed {options.seed}"
        )
        self.live = live
        self._step = 1 / options.fps
        self._frames = frames
        self._clock = clock if clock is not None else MonotonicClock()
        self._closed = threading.Event()
        self._scene = Scene(options)
        self._next = 0
        self._due: float | None = None
        self._captured: tuple[datetime, int] | None = None

    def grab(self) -> bool:
        """Advance the scene by one frame; a live source waits until it is due.

        Returns:
            False after the last frame or when closed.
        """
        if self._closed.is_set() or self._next == self._frames:
            return False
        if self.live:
            self._await_due()
            if self._closed.is_set():
                return False
        if self._next:
            self._scene.advance()
        self._next += 1
        self._captured = (datetime.now(timezone.utc), time.monotonic_ns())
        return True

    def retrieve(self) -> Frame:
        """Draw the frame grabbed last."""
        if self._captured is None:
            raise RuntimeError("retrieve() comes after grab()")
        captured_at, captured_ns = self._captured
        pixels = self._scene.image()
        return Frame(pixels=pixels, captured_at=captured_at, captured_ns=captured_ns, index=self._next - 1)

    def _await_due(self) -> None:
        """Wait until the next frame is due; if the reader is late by a frame or more, count anew from now."""
        now = self._clock.now()
        if self._due is None or now - self._due > self._step:
            self._due = now
        if now < self._due:
            self._clock.wait(self._closed, self._due - now)
        self._due += self._step

    def close(self) -> None:
        """End the scene; a waiting `grab` or `read` returns at once, without a frame."""
        self._closed.set()

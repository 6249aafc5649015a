"""The synthetic scene as a source of frames, like a camera or like a file."""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

from beeagent.errors import InputError
from beeagent.frames.frame import Frame
from beeagent.frames.source import FrameSource
from beeagent.frames.synthetic.options import SceneOptions
from beeagent.frames.synthetic.scene import Scene


class SyntheticSource(FrameSource):
    """Frames of a synthetic scene.

    Args:
        options: what to draw.
        live: True gives frames at the scene's rate, as a camera does; False gives them as fast as they are asked
            for. Either way every frame is one step of the scene after the one before.
        frames: how many to give before the end, 1 or more; None for no end.
        clock: the monotonic clock in nanoseconds.
        wait: waits for some seconds, or for less when the source is closed.

    Raises:
        InputError: `frames` is out of range.
    """

    def __init__(
        self,
        options: SceneOptions,
        *,
        live: bool,
        frames: int | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        if frames is not None and frames < 1:
            raise InputError(f"synthetic scene: frames is {frames}; use 1 or more, or leave it out for no end")
        self.description = (
            f"synthetic scene {options.width}x{options.height} at {options.fps:g} fps, seed {options.seed}"
        )
        self.live = live
        self._interval = round(1e9 / options.fps)
        self._frames = frames
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait if wait is not None else self._closed.wait
        self._scene = Scene(options)
        self._index = 0
        self._due: int | None = None

    def read(self) -> Frame | None:
        """Draw the next frame; a live source waits until it is due.

        Returns:
            The frame, or None after the last one or when closed.
        """
        if self._closed.is_set() or self._index == self._frames:
            return None
        if self._index:
            self._scene.advance()
        pixels = self._scene.render().pixels
        if self.live:
            self._await_due()
            if self._closed.is_set():
                return None
        frame = Frame(
            pixels=pixels, captured_at=datetime.now(timezone.utc), captured_ns=self._clock(), index=self._index
        )
        self._index += 1
        return frame

    def _await_due(self) -> None:
        """Wait for the next frame's time; a reader that is late by a frame or more starts a new count."""
        now = self._clock()
        if self._due is None or now - self._due > self._interval:
            self._due = now
        while (left := self._due - self._clock()) > 0 and not self._closed.is_set():
            self._wait(left / 1e9)
        self._due += self._interval

    def close(self) -> None:
        """End the scene; a waiting `read` returns at once with None."""
        self._closed.set()

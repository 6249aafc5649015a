"""One picture on its way through the agent."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and when it was taken.

    Attributes:
        pixels: uint8, shape (height, width, 3), **BGR** as OpenCV gives it. Not to be written to: the next
            stages read it while the camera is already at the following frame. The detector turns it into the
            RGB that models expect, after shrinking it.
        captured_at: wall-clock time of capture, with time zone UTC.
        captured_ns: `time.monotonic_ns()` at capture, for ages and latencies that no clock change can falsify.
        index: the number of the frame within its source, from 0.
        name: the file it came from, where there is one: its name, or its path below the folder of a pattern.
        position_s: of a video file, seconds from its beginning.
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

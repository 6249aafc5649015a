"""From the pictures of a live source to its frames."""

import logging
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.capture_format import CaptureFormat
from beeagent.camera.frame import Frame
from beeagent.camera.freeze import FreezeDetector
from beeagent.camera.source import SourceLostError

_LOG = logging.getLogger(__name__)


class LiveFrames:
    """Numbers the pictures of a live source, and ends it when they stand still.

    Args:
        description: of the source, for errors.
        freeze: what tells that the picture stands still, or None not to look.
        wanted: what the source was asked for; a first frame of another size is warned of.
    """

    def __init__(self, description: str, freeze: FreezeDetector | None, *, wanted: CaptureFormat | None = None) -> None:
        self._description = description
        self._freeze = freeze
        self._wanted = wanted or CaptureFormat()
        self._next = 0

    def make(self, pixels: NDArray[np.uint8], *, captured_at: datetime, captured_ns: int) -> Frame:
        """Make the next frame; arguments as those of `Frame`.

        Raises:
            SourceLostError: the picture stands still.
        """
        if self._freeze is not None and self._freeze.is_frozen(pixels):
            raise SourceLostError(f"{self._description}: the picture has not changed for {self._freeze.after:g} s")
        height, width = pixels.shape[:2]
        if self._next == 0 and self._wanted.width and (width, height) != (self._wanted.width, self._wanted.height):
            asked = f"{self._wanted.width}x{self._wanted.height}"
            _LOG.warning("%s: frames are %dx%d, not %s as camera_size asks", self._description, width, height, asked)
        self._next += 1
        return Frame(pixels=pixels, captured_at=captured_at, captured_ns=captured_ns, index=self._next - 1)

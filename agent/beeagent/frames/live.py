"""From the pictures of a live source to its frames."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from beeagent.frames.frame import Frame
from beeagent.frames.freeze import FreezeDetector
from beeagent.frames.source import SourceLostError


class LiveFrames:
    """Numbers the pictures of a live source, and ends it when they stand still.

    Args:
        description: of the source, for errors.
        freeze: what tells that the picture stands still, or None not to look.
    """

    def __init__(self, description: str, freeze: FreezeDetector | None) -> None:
        self._description = description
        self._freeze = freeze
        self._next = 0

    def make(self, pixels: NDArray[np.uint8], *, captured_at: datetime, captured_ns: int) -> Frame:
        """Make the next frame; arguments as those of `Frame`.

        Raises:
            SourceLostError: the picture stands still.
        """
        if self._freeze is not None and self._freeze.is_frozen(pixels):
            raise SourceLostError(f"{self._description}: the picture has not changed for {self._freeze.after:g} s")
        self._next += 1
        return Frame(pixels=pixels, captured_at=captured_at, captured_ns=captured_ns, index=self._next - 1)

"""Noticing a camera that gives the same picture for ever."""

import zlib

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.pacing import Clock

_GRID = 64
_SECOND_LOOK = 1.0
"""Seconds that a source has to show another picture, once it stood still and was opened again: what it shows first may
be a picture that was kept."""


class FreezeDetector:
    """Tells whether the picture has stood still for too long.

    Two pictures of a working sensor never agree in every sample, because of its noise; a driver or an encoder that
    hangs repeats itself exactly. Compared is a grid of samples, about 64 along the shorter side: a hundredth of
    the picture, and still tens of thousands of noisy values. A source without noise (a test picture, an encoder
    that smooths everything away) may stand still rightly, so this can be left out.

    It serves all sources that are opened for one camera, one after the other, so that a camera which is frozen does not
    pass for a working one each time it is opened again.

    Args:
        after: seconds without any change after which the picture counts as frozen, above 0.
        clock: what time it is.
    """

    def __init__(self, *, after: float, clock: Clock) -> None:
        if not after > 0:
            raise ValueError(f"after must be above 0, not {after}")
        self.after = after
        self._clock = clock
        self._fingerprint: tuple[tuple[int, ...], int] | None = None
        self._since = 0.0
        self._frozen = False

    @property
    def frozen(self) -> bool:
        """Whether the picture stood still too long, and has not changed since."""
        return self._frozen

    def begin(self) -> None:
        """Note that a source was opened, whose picture has yet to change."""
        self._since = self._clock.now()

    def is_frozen(self, pixels: NDArray[np.uint8]) -> bool:
        """Look at the next picture.

        Args:
            pixels: uint8, shape (height, width, channels).
        """
        step = max(1, min(pixels.shape[:2]) // _GRID)
        fingerprint = (pixels.shape, zlib.crc32(pixels[::step, ::step].tobytes()))
        now = self._clock.now()
        if fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self._since = now
            self._frozen = False
            return False
        if now - self._since < (min(self.after, _SECOND_LOOK) if self._frozen else self.after):
            return False
        self._frozen = True
        return True

"""Puts small pictures side by side onto one sheet."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_GAP = 4
_CAPTION = 18
_GROUND = 255
_INK = (40, 40, 40)


def fitted(pixels: Pixels, side: int) -> Pixels:
    """Make a picture small enough for a square.

    Args:
        pixels: uint8, shape (height, width, 3).
        side: of the square in pixels.

    Returns:
        uint8: the picture, its longer side `side` pixels long.
    """
    factor = side / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


class ContactSheet:
    """A grid of squares that is filled row by row; each picture has a caption below.

    Args:
        count: how many pictures there will be, 1 or more.
        columns: how many in a row; 0 for a sheet about as wide as it is high.
        side: of the squares in pixels.
    """

    def __init__(self, count: int, *, columns: int, side: int) -> None:
        self._columns = min(count, columns or math.ceil(math.sqrt(count)))
        self._side = side
        self._taken = 0
        rows = math.ceil(count / self._columns)
        height = _GAP + rows * (side + _CAPTION + _GAP)
        self.pixels: Pixels = np.full((height, _GAP + self._columns * (side + _GAP), 3), _GROUND, np.uint8)
        """uint8, BGR: the sheet as far as it is filled."""

    def add(self, pixels: Pixels, caption: str) -> None:
        """Put a picture into the next square.

        Args:
            pixels: uint8, shape (height, width, 3), BGR, no side longer than the square's.
            caption: what to write below; cut if it is long.
        """
        row, column = divmod(self._taken, self._columns)
        self._taken += 1
        left, top = _GAP + column * (self._side + _GAP), _GAP + row * (self._side + _CAPTION + _GAP)
        height, width = pixels.shape[:2]
        x, y = left + (self._side - width) // 2, top + (self._side - height) // 2
        self.pixels[y : y + height, x : x + width] = pixels
        letters = caption.encode("ascii", "replace").decode()  # all that OpenCV's letters have
        while letters and cv2.getTextSize(letters, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] > self._side:
            letters = letters[1:]
        foot = (left, top + self._side + _CAPTION - 6)
        cv2.putText(self.pixels, letters, foot, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)

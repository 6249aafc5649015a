"""Motion: the cells of a frame in which something changed, told apart from light, noise and a shaking camera.

Each frame is shrunk, converted to local contrast (so that more or less light changes little) and compared with a
running mean. Something moves in a cell where enough pixels lie outside of what the mean has around them.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

CELLS = 40
"""Number of cells along the longer side of a frame."""

_SHRINK = 3.2
"""By how much a frame is shrunk before it is compared: 1280x720 to 400x220."""
_MAX_CELL = 15
"""Side of a cell in shrunk pixels, at most; a larger frame is shrunk by more."""
_MEAN_S = 1.0
"""Time constant of the running mean, in seconds."""
_CONTRAST_SIDE = 61
"""Side in shrunk pixels of the square whose mean local contrast is relative to; larger than a bee."""
_LOG_OFFSET = 16.0
"""Added to grey values before the logarithm, so that the noise of a dark image stays small."""

_MIN_DIFFERENCE = 12
"""Difference from which a pixel counts as changed, of 255; about 15 grey values in the middle of the range."""
_NOISE_FACTOR = 6.0
"""A changed pixel differs by at least this many medians of all differences."""
_MAX_NOISE = 6.0
"""Median of all differences from which no noise explains them: most of the frame has changed."""
_MIN_CELL_PIXELS = 2
"""Number of shrunk pixels of a cell that have changed where something moves; a bee of 16 pixels covers 8 to 15."""

_SHAKE_RATIO = 0.15
"""Ratio of moving cells from which the camera may have been shifted."""
_CORRELATION_SHRINK = 3
"""By how much the shrunk frame is shrunk again to find out by how much the camera was shifted."""
_EVERYTHING_RATIO = 0.6
"""Ratio of moving cells from which the whole frame counts as moving, and the running mean starts anew."""

_NEIGHBOURS: Final = np.ones((3, 3), dtype=np.uint8)


def grid_size(frame: tuple[int, int]) -> tuple[int, int]:
    """Return the columns and rows of cells of a frame: 40 along its longer side, square but for rounding.

    Args:
        frame: width and height in pixels, at least 1.
    """
    width, height = (max(1, min(side, round(CELLS * side / max(frame)))) for side in frame)
    return width, height


@dataclass(frozen=True, slots=True)
class Motion:
    """Where a frame has changed.

    Attributes:
        moving: bool, shape (rows, columns): the cells of `grid_size` in which something moves.
        everything: whether most of the frame changed at once, as when the camera is moved or switches to infrared, so
            that `moving`, which is True everywhere, says nothing about single objects. So it is for a first frame.
    """

    moving: NDArray[np.bool_]
    everything: bool


class MotionDetector:
    """Compares each frame of one camera with a running mean of those before. Used by one thread at a time."""

    def __init__(self) -> None:
        self._table = _logarithm()
        self._frame: tuple[int, int] | None = None
        self._at = 0.0
        self._mean = np.empty((0, 0), dtype=np.float32)
        self._window = _hanning_window((0, 0))

    def update(self, pixels: NDArray[np.uint8], *, at: float) -> Motion:
        """Return where a frame differs from those before, and add it to the running mean.

        Args:
            pixels: uint8, shape (height, width, 3), BGR; not changed. A frame of another size than the one before
                starts anew.
            at: time of the frame in seconds; one before the last frame's starts anew.
        """
        frame = (int(pixels.shape[1]), int(pixels.shape[0]))
        contrast = self._contrast(pixels)
        if frame != self._frame or at < self._at:
            self._frame = frame
            size = (contrast.shape[1] // _CORRELATION_SHRINK, contrast.shape[0] // _CORRELATION_SHRINK)
            self._window = _hanning_window(size)
            return self._start_anew(contrast, at=at)
        seconds, self._at = at - self._at, at
        mean = np.asarray(cv2.convertScaleAbs(self._mean), dtype=np.uint8)
        moving = _moving_cells(contrast, mean, frame=frame)
        if moving.mean() >= _SHAKE_RATIO and (shifted := self._shifted_back(contrast, mean)) is not None:
            still = _moving_cells(shifted, mean, frame=frame)
            if still.sum() < moving.sum():
                contrast, moving = shifted, still
        if moving.mean() >= _EVERYTHING_RATIO:
            return self._start_anew(contrast, at=at)
        cv2.accumulateWeighted(contrast, self._mean, 1 - math.exp(-seconds / _MEAN_S))
        return Motion(moving, everything=False)

    def _start_anew(self, contrast: NDArray[np.uint8], *, at: float) -> Motion:
        self._at = at
        self._mean = contrast.astype(np.float32)
        columns, rows = grid_size(self._frame or (1, 1))
        return Motion(np.ones((rows, columns), dtype=np.bool_), everything=True)

    def _contrast(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the shrunk frame as the logarithm of its grey values above that of their surroundings, plus 128."""
        columns, rows = grid_size((pixels.shape[1], pixels.shape[0]))
        cell = min(_MAX_CELL, math.ceil(max(pixels.shape[:2]) / CELLS / _SHRINK))
        # Halving by bilinear sampling is averaging, and the fastest way to shrink; see `transforms`.
        while pixels.shape[1] >= 2 * columns * cell and pixels.shape[0] >= 2 * rows * cell:
            pixels = _resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2))
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        shrunk = _resize(grey, (columns * cell, rows * cell))
        logarithm = cv2.LUT(shrunk, self._table)
        surroundings = cv2.blur(logarithm, (_CONTRAST_SIDE, _CONTRAST_SIDE))
        return np.asarray(cv2.addWeighted(logarithm, 1, surroundings, -1, 128), dtype=np.uint8)

    def _shifted_back(self, contrast: NDArray[np.uint8], mean: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return a frame shifted to where it fits the mean best; None if it is there already."""
        if not self._window.size:
            return None
        height, width = self._window.shape
        first, second = (_resize(image, (width, height)).astype(np.float32) for image in (mean, contrast))
        (x, y), _ = cv2.phaseCorrelate(first, second, self._window)
        if max(abs(x), abs(y)) * _CORRELATION_SHRINK < 1:
            return None
        matrix = np.array([[1, 0, -x * _CORRELATION_SHRINK], [0, 1, -y * _CORRELATION_SHRINK]], dtype=np.float64)
        size = (contrast.shape[1], contrast.shape[0])
        shifted = cv2.warpAffine(contrast, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(shifted, dtype=np.uint8)


def _logarithm() -> NDArray[np.uint8]:
    values = np.log1p(np.arange(256) / _LOG_OFFSET)
    table: NDArray[np.uint8] = np.rint(255 * values / values[-1]).astype(np.uint8)
    return table


def _hanning_window(size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the window for a correlation, empty for an image that is too small for one."""
    if min(size) < 2:
        return np.empty((0, 0), dtype=np.float32)
    return np.asarray(cv2.createHanningWindow(size, cv2.CV_32F), dtype=np.float32)


def _moving_cells(contrast: NDArray[np.uint8], mean: NDArray[np.uint8], *, frame: tuple[int, int]) -> NDArray[np.bool_]:
    # A pixel counts by how far it lies outside of the range of the mean in the 3x3 pixels around: so a shift by less
    # than a pixel, which changes every edge, is no motion.
    above = cv2.subtract(contrast, cv2.dilate(mean, _NEIGHBOURS))
    below = cv2.subtract(cv2.erode(mean, _NEIGHBOURS), contrast)
    noise = _median(np.asarray(cv2.absdiff(contrast[::4], mean[::4]), dtype=np.uint8))
    columns, rows = grid_size(frame)
    if noise >= _MAX_NOISE:
        return np.ones((rows, columns), dtype=np.bool_)
    threshold = max(_MIN_DIFFERENCE, _NOISE_FACTOR * noise)
    _, changed = cv2.threshold(cv2.max(above, below), threshold, 255, cv2.THRESH_BINARY)
    ratios = cv2.resize(changed, (columns, rows), interpolation=cv2.INTER_AREA)
    cell_pixels = contrast.size / (columns * rows)
    return np.asarray(ratios >= int(255 * _MIN_CELL_PIXELS / cell_pixels), dtype=np.bool_)


def _median(values: NDArray[np.uint8]) -> float:
    counts = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()
    return float(np.searchsorted(np.cumsum(counts), values.size / 2))


def _resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

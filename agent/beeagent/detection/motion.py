"""Motion detection: the cells of a frame that changed, but not by light, noise or a shaking camera.

Each frame is shrunk, converted to local contrast, which depends little on the light, and compared with a running mean.
A cell is moving if enough of its pixels lie outside of the range of the mean in the pixels around them.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.detection.masks import NO_MASKS, Masks

CELLS = 40
"""Number of cells along the longer side of a frame."""

_SHRINK = 3.2
"""Factor by which a frame is shrunk before it is compared: 1280x720 to 400x220."""
_MAX_CELL = 15
"""Maximum side of a cell in shrunk pixels; a larger frame is shrunk more."""
_MEAN_S = 1.0
"""Time constant of the running mean, in seconds."""
_CONTRAST_SIDE = 61
"""Side in shrunk pixels of the square whose mean is subtracted for the local contrast; larger than a bee."""
_LOG_OFFSET = 16.0
"""Offset added to grey values before the logarithm, which keeps the noise of a dark image small."""

_MIN_DIFFERENCE = 12
"""Minimum difference of a changed pixel, of 255; about 15 grey values in the middle of the range."""
_NOISE_FACTOR = 6.0
"""Minimum difference of a changed pixel, as a multiple of the median of all differences."""
_MAX_NOISE = 6.0
"""Median of all differences that is too large for noise: most of the frame has changed."""
_MIN_CELL_PIXELS = 2
"""Minimum number of changed shrunk pixels of a moving cell; a bee of 16 pixels covers 8 to 15."""

_NOISE_STEP = 4
"""The median of the differences is computed from every fourth row."""

_SHAKE_RATIO = 0.15
"""Ratio of moving cells at which the camera may have been shifted."""
_CORRELATION_SHRINK = 3
"""Factor by which the shrunk frame is shrunk again to determine the shift of the camera."""
_CORRELATION_PAUSE = 3
"""Number of frames without a search for a shift after an unsuccessful one, as in rain."""
_EVERYTHING_RATIO = 0.6
"""Ratio of moving cells at which the whole frame counts as moving and the running mean restarts."""

_NEIGHBOURS: Final = np.ones((3, 3), dtype=np.uint8)


def grid_size(frame: tuple[int, int]) -> tuple[int, int]:
    """Return the numbers of columns and rows of cells of a frame: 40 along its longer side, square but for rounding.

    Args:
        frame: width and height in pixels, at least 1.
    """
    width, height = (max(1, min(side, round(CELLS * side / max(frame)))) for side in frame)
    return width, height


@dataclass(frozen=True, slots=True)
class Motion:
    """Motion in a frame.

    Attributes:
        moving: bool, shape (rows, columns): True for each moving cell of `grid_size`; False for masked cells.
        everything: True if most of the frame changed at once, as when the camera is moved or switches to infrared, and
            for a first frame. `moving` is then True for all cells that are not masked.
    """

    moving: NDArray[np.bool_]
    everything: bool


class MotionDetector:
    """Compares each frame of one camera with a running mean of earlier frames. For one thread at a time."""

    def __init__(self) -> None:
        self._table = _logarithm()
        self._frame: tuple[int, int] | None = None
        self._at = 0.0
        self._mean = np.empty((0, 0), dtype=np.float32)
        self._window = _correlation_window((0, 0))
        self._shaking = False
        self._pause = 0
        self._view = _View.of((1, 1), (1, 1), NO_MASKS)
        self._masks = NO_MASKS

    def update(self, pixels: NDArray[np.uint8], *, at: float, masks: Masks = NO_MASKS) -> Motion:
        """Return the motion in a frame, and add it to the running mean.

        Args:
            pixels: uint8, shape (height, width, 3), BGR; not changed. A change of size restarts the running mean.
            at: time of the frame in seconds; a time before that of the last frame restarts the running mean.
            masks: parts of the frame without motion.
        """
        frame = (int(pixels.shape[1]), int(pixels.shape[0]))
        contrast = self._contrast(pixels)
        size = (int(contrast.shape[1]), int(contrast.shape[0]))
        if frame != self._frame or masks != self._masks:
            self._masks, self._view = masks, _View.of(size, grid_size(frame), masks)
        if frame != self._frame or at < self._at:
            self._frame = frame
            self._window = _correlation_window(size)
            return self._restart(contrast, at=at)
        seconds, self._at = at - self._at, at
        moving, contrast = self._compare(contrast)
        if self._view.ratio(moving) >= _EVERYTHING_RATIO:
            return self._restart(contrast, at=at)
        cv2.accumulateWeighted(contrast, self._mean, 1 - math.exp(-seconds / _MEAN_S))
        return Motion(moving, everything=False)

    def _compare(self, contrast: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        """Return the moving cells of a frame, and the frame aligned with the running mean."""
        mean = np.asarray(cv2.convertScaleAbs(self._mean), dtype=np.uint8)
        # A pixel's difference is its distance from the range of the mean in the 3x3 pixels around it: so a shift by
        # less than a pixel, which changes every edge, is no motion.
        lowest, highest = cv2.erode(mean, _NEIGHBOURS), cv2.dilate(mean, _NEIGHBOURS)

        def moving_cells(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
            beyond = cv2.max(cv2.subtract(image, highest), cv2.subtract(lowest, image))
            return self._view.moving_cells(beyond, noise=cv2.absdiff(image[::_NOISE_STEP], mean[::_NOISE_STEP]))

        # If the camera shakes, most frames match only after a shift.
        if self._shaking and (shifted := self._shifted_back(contrast, mean)) is not None:
            still = moving_cells(shifted)
            if self._view.ratio(still) < _SHAKE_RATIO:
                return still, shifted
        moving = moving_cells(contrast)
        if self._view.ratio(moving) < _SHAKE_RATIO:
            return moving, contrast
        if not self._shaking:
            if self._pause > 0:
                self._pause -= 1
                return moving, contrast
            shifted = self._shifted_back(contrast, mean)
            still = moving if shifted is None else moving_cells(shifted)
            self._pause = _CORRELATION_PAUSE
        if shifted is None or still.sum() >= moving.sum():
            self._shaking = False
            return moving, contrast
        self._shaking = True
        return still, shifted

    def _restart(self, contrast: NDArray[np.uint8], *, at: float) -> Motion:
        self._at = at
        self._mean = contrast.astype(np.float32)
        return Motion(self._view.cells, everything=True)

    def _contrast(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the shrunk frame's logarithmic grey values minus the mean of their surroundings, plus 128."""
        columns, rows = grid_size((pixels.shape[1], pixels.shape[0]))
        cell = min(_MAX_CELL, math.ceil(max(pixels.shape[:2]) / CELLS / _SHRINK))
        # Halving by bilinear sampling averages, and is the fastest method; see `transforms`.
        while pixels.shape[1] >= 2 * columns * cell and pixels.shape[0] >= 2 * rows * cell:
            pixels = _resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2))
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        shrunk = _resize(grey, (columns * cell, rows * cell))
        logarithm = cv2.LUT(shrunk, self._table)
        surroundings = cv2.blur(logarithm, (_CONTRAST_SIDE, _CONTRAST_SIDE))
        return np.asarray(cv2.addWeighted(logarithm, 1, surroundings, -1, 128), dtype=np.uint8)

    def _shifted_back(self, contrast: NDArray[np.uint8], mean: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return a frame aligned with the running mean; None if there is no shift."""
        if not self._window.size:
            return None
        height, width = self._window.shape
        first, second = (_resize(image, (width, height)).astype(np.float32) for image in (mean, contrast))
        shift, _ = cv2.phaseCorrelate(first, second, self._window)
        x, y = round(shift[0] * contrast.shape[1] / width), round(shift[1] * contrast.shape[0] / height)
        if not x and not y:
            return None
        # By whole pixels, in a tenth of the time; `_compare` tolerates the rest.
        margin = max(abs(x), abs(y))
        wide = cv2.copyMakeBorder(contrast, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        height, width = contrast.shape
        rows, columns = slice(margin + y, margin + y + height), slice(margin + x, margin + x + width)
        return np.asarray(wide[rows, columns], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class _View:
    """The unmasked parts of a frame.

    Attributes:
        pixels: uint8, in the size of the shrunk frame: 255 where it is not masked; None without masks.
        cells: bool, in the size of `grid_size`: True for cells that are not masked completely.
    """

    pixels: NDArray[np.uint8] | None
    cells: NDArray[np.bool_]

    @classmethod
    def of(cls, size: tuple[int, int], grid: tuple[int, int], masks: Masks) -> "_View":
        if not masks:
            return cls(None, np.ones(grid[::-1], dtype=np.bool_))
        pixels = masks.draw(size)
        cells = cv2.resize(pixels, grid, interpolation=cv2.INTER_AREA)
        return cls(pixels, np.asarray(cells > 0, dtype=np.bool_))

    def ratio(self, moving: NDArray[np.bool_]) -> float:
        """Return the ratio of moving cells to unmasked cells."""
        return float(moving.sum() / max(1, self.cells.sum()))

    def moving_cells(self, beyond: cv2.typing.MatLike, *, noise: cv2.typing.MatLike) -> NDArray[np.bool_]:
        """Return the cells in which enough pixels differ from the running mean.

        Args:
            beyond: distance of each pixel from the range of the running mean.
            noise: absolute difference from the running mean, of every `_NOISE_STEP`-th row.
        """
        mask = None if self.pixels is None else np.ascontiguousarray(self.pixels[::_NOISE_STEP])
        median = _median(noise, mask)
        if median >= _MAX_NOISE:
            return self.cells
        threshold = max(_MIN_DIFFERENCE, _NOISE_FACTOR * median)
        _, changed = cv2.threshold(beyond, threshold, 255, cv2.THRESH_BINARY)
        if self.pixels is not None:
            changed = cv2.bitwise_and(changed, self.pixels)
        rows, columns = self.cells.shape
        ratios = cv2.resize(changed, (columns, rows), interpolation=cv2.INTER_AREA)
        cell_pixels = changed.size / (columns * rows)
        return np.asarray(ratios >= int(255 * _MIN_CELL_PIXELS / cell_pixels), dtype=np.bool_)


def _logarithm() -> NDArray[np.uint8]:
    values = np.log1p(np.arange(256) / _LOG_OFFSET)
    table: NDArray[np.uint8] = np.rint(255 * values / values[-1]).astype(np.uint8)
    return table


def _correlation_window(size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the window for the correlation of two images of this size; empty if they are too small."""
    width, height = (_fast_length(side // _CORRELATION_SHRINK) for side in size)
    if min(width, height) < 2:
        return np.empty((0, 0), dtype=np.float32)
    return np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F), dtype=np.float32)


def _fast_length(length: int) -> int:
    """Return the largest even length, at most this one, that needs no padding for the Fourier transform.

    OpenCV's shift is half a pixel too large along a side whose padded length is odd.
    """
    return next((even for even in range(length - length % 2, 1, -2) if cv2.getOptimalDFTSize(even) == even), 0)


def _median(values: cv2.typing.MatLike, mask: NDArray[np.uint8] | None) -> float:
    """Return the median of the values where `mask` is not 0; 0 if it is 0 everywhere."""
    counts = cv2.calcHist([values], [0], mask, [256], [0, 256]).ravel()
    return float(np.searchsorted(np.cumsum(counts), counts.sum() / 2))


def _resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

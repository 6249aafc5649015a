"""How a frame is laid into the model's input, and how boxes find their way back."""

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray


class Fit(str, Enum):
    """How a frame of one shape becomes an input of another: as it was in the model's training."""

    LETTERBOX = "letterbox"
    """Keep the aspect ratio, centre, and fill what is left over."""
    CORNER = "corner"
    """Keep the aspect ratio, start in the top left corner, and fill what is left over."""
    STRETCH = "stretch"
    """Scale both sides to the input's, whatever that does to the aspect ratio."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame lies within the model's input, in whole input pixels.

    Attributes:
        input_width: width of the model's input.
        input_height: height of the model's input.
        left: the first column the frame covers.
        top: the first row the frame covers.
        width: how many columns the frame covers, at least 1.
        height: how many rows the frame covers, at least 1.
    """

    input_width: int
    input_height: int
    left: int
    top: int
    width: int
    height: int

    def to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn boxes over the input into boxes over the frame.

        Args:
            boxes: float32, shape (n, 4): left, top, right, bottom as ratios of the input; any value.

        Returns:
            float32, shape (n, 4): the same corners as ratios of the frame, clipped to 0 to 1.
        """
        size = np.array([self.input_width, self.input_height] * 2, dtype=np.float32)
        origin = np.array([self.left, self.top] * 2, dtype=np.float32)
        covered = np.array([self.width, self.height] * 2, dtype=np.float32)
        over_frame: NDArray[np.float32] = (boxes * size - origin) / covered
        return np.clip(over_frame, 0.0, 1.0)

    def to_input(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn boxes over the frame into boxes over the input: the inverse of `to_frame`, without clipping."""
        size = np.array([self.input_width, self.input_height] * 2, dtype=np.float32)
        origin = np.array([self.left, self.top] * 2, dtype=np.float32)
        covered = np.array([self.width, self.height] * 2, dtype=np.float32)
        inside: NDArray[np.float32] = (boxes * covered + origin) / size
        return inside


def place(*, frame_width: int, frame_height: int, input_width: int, input_height: int, fit: Fit) -> Placement:
    """Work out where a frame comes to lie in the input.

    All sizes are in pixels and at least 1. A letterboxed frame is centred; of an odd rest, the larger half is
    at the right or the bottom. A frame in the corner leaves the whole rest there.
    """
    if fit is Fit.STRETCH:
        return Placement(input_width, input_height, 0, 0, input_width, input_height)
    scale = min(input_width / frame_width, input_height / frame_height)
    width = min(input_width, max(1, round(frame_width * scale)))
    height = min(input_height, max(1, round(frame_height * scale)))
    if fit is Fit.CORNER:
        return Placement(input_width, input_height, 0, 0, width, height)
    return Placement(input_width, input_height, (input_width - width) // 2, (input_height - height) // 2, width, height)


def neutral_fill(mean: float) -> int:
    """Give what a letterbox is filled with: the pixel value, 0 to 255, that this mean brings nearest to zero."""
    return min(255, max(0, round(mean)))


def lay_in(pixels: NDArray[np.uint8], placement: Placement, *, fill: int) -> NDArray[np.uint8]:
    """Scale a frame to its place in the input and turn it into RGB.

    Colours are swapped after shrinking, when there is little left to swap.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        placement: from `place` with this frame's size.
        fill: value from 0 to 255 of the pixels the frame does not cover.

    Returns:
        uint8, shape (input_height, input_width, 3), RGB.
    """
    laid = np.full((placement.input_height, placement.input_width, 3), fill, dtype=np.uint8)
    rows = slice(placement.top, placement.top + placement.height)
    columns = slice(placement.left, placement.left + placement.width)
    laid[rows, columns] = cv2.cvtColor(_scale(pixels, placement.width, placement.height), cv2.COLOR_BGR2RGB)
    return laid


def _scale(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale a picture, averaging where it shrinks.

    Bilinear sampling of a large frame would skip most of its pixels, and a bee's stripes with them. Averaging
    over areas does not, but costs four times as much at the usual factors as halving, which is averaging when
    done by bilinear sampling, until a factor of at most two is left. Each side is halved by itself: a wide frame
    that is stretched has more to lose in one direction.
    """
    while pixels.shape[1] > 2 * width or pixels.shape[0] > 2 * height:
        half = (
            pixels.shape[1] // 2 if pixels.shape[1] > 2 * width else pixels.shape[1],
            pixels.shape[0] // 2 if pixels.shape[0] > 2 * height else pixels.shape[0],
        )
        pixels = _resize(pixels, half)
    return pixels if (pixels.shape[1], pixels.shape[0]) == (width, height) else _resize(pixels, (width, height))


def _resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

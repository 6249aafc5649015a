"""Conversion of a frame to the model's image input, and of boxes over the input to boxes over the frame."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Channels = Literal["bgr", "rgb"]
"""Order of an image's channels: `bgr` as in OpenCV, `rgb` as in Pillow and most other libraries."""


class Fit(str, Enum):
    """Method of resizing a frame to an input of another aspect ratio, as in the training of the model."""

    LETTERBOX = "letterbox"
    """Keep the aspect ratio, centre, and pad."""
    CORNER = "corner"
    """Keep the aspect ratio, start in the top left corner, and pad."""
    STRETCH = "stretch"
    """Scale each side to that of the input, ignoring the aspect ratio."""


@dataclass(frozen=True, slots=True)
class InputTransform:
    """The rectangle of the model's input that a frame covers, in whole input pixels.

    Attributes:
        input_width: width of the model's input.
        input_height: height of the model's input.
        left: first column of the rectangle.
        top: first row of the rectangle.
        width: width of the rectangle, at least 1.
        height: height of the rectangle, at least 1.
    """

    input_width: int
    input_height: int
    left: int
    top: int
    width: int
    height: int
    _size: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _origin: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _covered: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, (x, y) in (
            ("_size", (self.input_width, self.input_height)),
            ("_origin", (self.left, self.top)),
            ("_covered", (self.width, self.height)),
        ):
            object.__setattr__(self, name, np.array([x, y, x, y], dtype=np.float32))

    def to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert boxes over the input to boxes over the frame.

        Args:
            boxes: float32, shape (n, 4): left, top, right, bottom as ratios of the input; any value.

        Returns:
            float32, shape (n, 4): the same corners as ratios of the frame, clipped to 0 to 1.
        """
        over_frame: NDArray[np.float32] = (boxes * self._size - self._origin) / self._covered
        return np.clip(over_frame, 0.0, 1.0)

    def to_input(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert boxes over the frame to boxes over the input: the inverse of `to_frame`, without clipping."""
        over_input: NDArray[np.float32] = (boxes * self._covered + self._origin) / self._size
        return over_input


def input_transform(
    *, frame_width: int, frame_height: int, input_width: int, input_height: int, fit: Fit
) -> InputTransform:
    """Return the rectangle of the model's input that a frame covers.

    All sizes are in pixels and at least 1. A letterboxed frame is centred; if the padding is odd, the right or bottom
    side has one pixel more. With `Fit.CORNER`, all padding is at the right or the bottom.
    """
    if fit is Fit.STRETCH:
        return InputTransform(input_width, input_height, 0, 0, input_width, input_height)
    scale = min(input_width / frame_width, input_height / frame_height)
    width = min(input_width, max(1, round(frame_width * scale)))
    height = min(input_height, max(1, round(frame_height * scale)))
    if fit is Fit.CORNER:
        return InputTransform(input_width, input_height, 0, 0, width, height)
    left, top = (input_width - width) // 2, (input_height - height) // 2
    return InputTransform(input_width, input_height, left, top, width, height)


def padding_value(mean: float) -> int:
    """Return the pixel value, 0 to 255, whose normalised value with this mean is nearest to zero."""
    return min(255, max(0, round(mean)))


def letterbox(
    pixels: NDArray[np.uint8], transform: InputTransform, *, padding: int, channels: Channels = "bgr"
) -> NDArray[np.uint8]:
    """Resize a frame to its rectangle of the input, pad the rest, and convert it to RGB.

    Bilinear sampling of a large frame would skip most of its pixels, and with them details such as a bee's stripes.
    So a frame is halved by bilinear sampling, which averages, until a factor of at most two is left; `cv2.INTER_AREA`
    takes four times as long at usual factors. Each side is halved separately, since a stretched frame shrinks more in
    one direction. Channels are swapped after shrinking, when there are fewer pixels.

    Args:
        pixels: uint8, shape (height, width, 3); not changed.
        transform: result of `input_transform` for this frame's size.
        padding: pixel value of the padding, 0 to 255.
        channels: order of the channels of `pixels`.

    Returns:
        uint8, shape (input_height, input_width, 3), RGB.
    """
    padded = np.full((transform.input_height, transform.input_width, 3), padding, dtype=np.uint8)
    rows = slice(transform.top, transform.top + transform.height)
    columns = slice(transform.left, transform.left + transform.width)
    scaled: NDArray[Any] = pixels
    size, target = pixels.shape[1::-1], (transform.width, transform.height)
    while size != target:
        large = [side > 2 * target_side for side, target_side in zip(size, target, strict=True)]
        if any(large):
            size = tuple(side // 2 if halve else side for side, halve in zip(size, large, strict=True))
        else:
            size = target
        scaled = cv2.resize(scaled, size, interpolation=cv2.INTER_LINEAR)
    padded[rows, columns] = cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB) if channels == "bgr" else scaled
    return padded

"""Sprites laid onto a picture, and the exact boxes of what can be seen of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.sprite import Image, Sprite, as_image, trimmed

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom lie just behind the last pixel."""

_COVERED = 96
"""The coverage, of 255, from which a pixel counts as part of what an annotator would box."""


class Stamp:
    """A sprite made ready to be laid down many times.

    Args:
        sprite: what to lay down.
    """

    def __init__(self, sprite: Sprite) -> None:
        sprite = trimmed(sprite)
        self.colour = as_image(cv2.cvtColor(sprite.paint, cv2.COLOR_BGRA2BGR))
        self.passing = as_image(cv2.bitwise_not(sprite.paint[..., 3]))
        self.mask = sprite.solid >= _COVERED
        self.area = int(np.count_nonzero(self.mask))
        left, top, width, height = cv2.boundingRect(self.mask.view(np.uint8))
        self.bounds: Box = (left, top, left + width, top + height)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        return self.colour.nbytes + self.passing.nbytes + self.mask.nbytes


@dataclass(frozen=True, slots=True)
class Placed:
    """A stamp and where it lies on a picture.

    Attributes:
        stamp: what lies there.
        middle: x and y of its middle.
        top: the first row of the picture in which it may show; something covers it above.
        light: factor on its colours, for one in the shade.
    """

    stamp: Stamp
    middle: tuple[int, int]
    top: int = 0
    light: float = 1.0

    @property
    def corner(self) -> tuple[int, int]:
        """Where the stamp's upper left corner lies."""
        height, width = self.stamp.mask.shape
        return self.middle[0] - width // 2, self.middle[1] - height // 2

    def shown(self, part: Box, shape: tuple[int, ...]) -> Box:
        """Move a rectangle of the stamp onto the picture and cut it to what may show there."""
        x, y = self.corner
        return (
            max(part[0] + x, 0),
            max(part[1] + y, self.top, 0),
            min(part[2] + x, shape[1]),
            min(part[3] + y, shape[0]),
        )

    def mask(self, area: Box) -> NDArray[np.bool_]:
        """Give what the box is about, on an area of the picture within the stamp's reach."""
        return self.stamp.mask[self._inside(area)]

    def hiding(self, area: Box) -> NDArray[np.bool_]:
        """Give what cannot be seen through; wings hide nothing, and shadows do not either."""
        inside = self._inside(area)
        return self.stamp.mask[inside] & (self.stamp.passing[inside] < 128)

    def _inside(self, area: Box) -> tuple[slice, slice]:
        x, y = self.corner
        return slice(area[1] - y, area[3] - y), slice(area[0] - x, area[2] - x)


def paste(picture: Image, placed: Placed) -> None:
    """Lay a stamp onto a picture (uint8, shape (h, w, 3), BGR), in place."""
    stamp = placed.stamp
    height, width = stamp.mask.shape
    left, top, right, bottom = placed.shown((0, 0, width, height), picture.shape)
    if left >= right or top >= bottom:
        return
    x, y = placed.corner
    inside = (slice(top - y, bottom - y), slice(left - x, right - x))
    colour = stamp.colour[inside]
    if placed.light != 1.0:
        colour = as_image(cv2.convertScaleAbs(colour, alpha=placed.light))
    below = picture[top:bottom, left:right]
    passing = cv2.cvtColor(stamp.passing[inside], cv2.COLOR_GRAY2BGR)
    picture[top:bottom, left:right] = cv2.add(cv2.multiply(below, passing, scale=1 / 255), colour)


def visible_boxes(
    shape: tuple[int, ...], placed: Sequence[Placed], *, least_visible: float = 0.25, least_size: float = 8.0
) -> NDArray[np.float32]:
    """Find the tight boxes of what can be seen of each stamp.

    Args:
        shape: height and width of the picture.
        placed: the stamps in the order in which they were laid down.
        least_visible: one of which less than this share can be seen gets no box.
        least_size: nor does one whose box is shorter than this, in pixels, on its longer side.

    Returns:
        float32, shape (n, 4): left, top, right, bottom in pixels.
    """
    areas = [one.shown(one.stamp.bounds, shape) for one in placed]
    boxes = []
    for index, one in enumerate(placed):
        above = [(two, common) for two, area in zip(placed[index + 1 :], areas[index + 1 :], strict=True)
                 if not _empty(common := _common(areas[index], area))]  # fmt: skip
        box, visible = _seen(one, areas[index], above)
        if visible >= max(1, least_visible * one.stamp.area) and _longer_side(box) >= least_size:
            boxes.append(box)
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _seen(one: Placed, area: Box, above: list[tuple[Placed, Box]]) -> tuple[Box, int]:
    """Find the box of what can be seen of one stamp within an area, and its number of pixels."""
    if _empty(area):
        return area, 0
    left, top, right, bottom = one.stamp.bounds
    if not above and (area[2] - area[0], area[3] - area[1]) == (right - left, bottom - top):
        return area, one.stamp.area
    seen = one.mask(area).copy()
    for other, common in above:
        rows = slice(common[1] - area[1], common[3] - area[1])
        seen[rows, common[0] - area[0] : common[2] - area[0]] &= ~other.hiding(common)
    x, y, width, height = cv2.boundingRect(seen.view(np.uint8))
    box = (area[0] + x, area[1] + y, area[0] + x + width, area[1] + y + height)
    return box, int(np.count_nonzero(seen))


def _common(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _empty(box: Box) -> bool:
    return box[0] >= box[2] or box[1] >= box[3]


def _longer_side(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])

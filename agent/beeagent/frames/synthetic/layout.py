"""Sprites laid onto a picture, and the exact boxes of what can be seen of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.frames.synthetic.sprite import Image, Sprite, as_image, trimmed

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
        self.colour = sprite.colour
        self.passing = as_image(cv2.cvtColor(sprite.passing, cv2.COLOR_GRAY2BGR))
        self.mask = sprite.solid >= _COVERED
        # Wings let through what lies below, so they do not hide it.
        self.hiding = self.mask & (sprite.passing < 128)
        self.area = int(np.count_nonzero(self.mask))
        left, top, width, height = cv2.boundingRect(self.mask.view(np.uint8))
        self.bounds: Box = (left, top, left + width, top + height)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        return self.colour.nbytes + self.passing.nbytes + self.mask.nbytes + self.hiding.nbytes


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

    def cut(self, plane: NDArray[np.bool_], area: Box) -> NDArray[np.bool_]:
        """Give the part of one of the stamp's planes that lies on an area of the picture within its reach."""
        x, y = self.corner
        return plane[area[1] - y : area[3] - y, area[0] - x : area[2] - x]


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
    picture[top:bottom, left:right] = cv2.add(cv2.multiply(below, stamp.passing[inside], scale=1 / 255), colour)


def visible_boxes(
    shape: tuple[int, int], placed: Sequence[Placed], *, least_visible: float = 0.25, least_size: float = 8.0
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
        area = areas[index]
        if area[0] >= area[2] or area[1] >= area[3]:
            continue
        seen = one.cut(one.stamp.mask, area)
        for other, its_area in zip(placed[index + 1 :], areas[index + 1 :], strict=True):
            common = (max(area[0], its_area[0]), max(area[1], its_area[1]),
                      min(area[2], its_area[2]), min(area[3], its_area[3]))  # fmt: skip
            if common[0] < common[2] and common[1] < common[3]:
                seen = seen.copy() if seen.base is not None else seen
                rows = slice(common[1] - area[1], common[3] - area[1])
                seen[rows, common[0] - area[0] : common[2] - area[0]] &= ~other.cut(other.stamp.hiding, common)
        left, top, width, height = cv2.boundingRect(np.ascontiguousarray(seen).view(np.uint8))
        visible = int(np.count_nonzero(seen))
        if visible >= max(1, least_visible * one.stamp.area) and max(width, height) >= least_size:
            boxes.append((area[0] + left, area[1] + top, area[0] + left + width, area[1] + top + height))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)

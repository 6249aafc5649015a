"""Small images with transparency, their transformation, and pasting them onto an image."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera.synthetic.drawing import Image, as_image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

_MIN_COVERAGE = 96
"""Minimum coverage, of 255, of a pixel that belongs in the box."""


@dataclass(frozen=True, slots=True)
class Sprite:
    """A drawn object, centred in the arrays.

    Attributes:
        paint: uint8, shape (h, w, 4), BGR premultiplied by alpha, and alpha.
        solid: uint8, shape (h, w): coverage by parts that belong in the box (body and wings).
    """

    paint: Image
    solid: Image


def turned(sprite: Sprite, *, heading: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Sprite:
    """Scale a sprite along and across its own axis, then turn it.

    Args:
        sprite: a sprite with its axis along +x.
        heading: direction in radians, 0 to the right, clockwise on the screen.
        stretch: factors along and across the axis; a negative one mirrors.
    """
    matrix, size = _turn(sprite.solid.shape, heading, stretch)
    return Sprite(
        paint=as_image(cv2.warpAffine(sprite.paint, matrix, size)),
        # A mask that is compared with a threshold needs no smooth edge.
        solid=as_image(cv2.warpAffine(sprite.solid, matrix, size, flags=cv2.INTER_NEAREST)),
    )


def turned_shadow(shadow: Image, *, heading: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Image:
    """Transform a shadow like its sprite; see `turned`."""
    matrix, size = _turn(shadow.shape, heading, stretch)
    return as_image(cv2.warpAffine(shadow, matrix, size))


def _turn(
    shape: tuple[int, ...], heading: float, stretch: tuple[float, float]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the affine map around the centre, and the width and height of the result."""
    height, width = shape
    cos, sin = math.cos(heading), math.sin(heading)
    matrix = np.array([[cos * stretch[0], -sin * stretch[1], 0.0], [sin * stretch[0], cos * stretch[1], 0.0]])
    across = math.ceil(abs(matrix[0, 0]) * width + abs(matrix[0, 1]) * height) + 2
    down = math.ceil(abs(matrix[1, 0]) * width + abs(matrix[1, 1]) * height) + 2
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix[:, 2] = np.array([(across - 1) / 2, (down - 1) / 2]) - matrix[:, :2] @ centre
    return matrix, (across, down)


def trimmed(sprite: Sprite) -> Sprite:
    """Crop empty borders equally on opposite sides, which keeps the centre."""
    left, top, width, height = cv2.boundingRect(sprite.paint[..., 3])
    down, across = sprite.solid.shape
    if not width:
        return sprite
    x = min(left, across - left - width)
    y = min(top, down - top - height)
    kept = (slice(y, down - y), slice(x, across - x))
    return Sprite(paint=np.ascontiguousarray(sprite.paint[kept]), solid=np.ascontiguousarray(sprite.solid[kept]))


def recoloured(sprite: Sprite, gains: tuple[float, float, float]) -> Sprite:
    """Multiply the colours by factors for B, G and R."""
    table = np.arange(256)[:, None] * np.array((*gains, 1.0))
    table = as_image(np.clip(table, 0, 255)).reshape(256, 1, 4)
    return Sprite(paint=as_image(cv2.LUT(sprite.paint, table)), solid=sprite.solid)


def smeared(sprite: Sprite, *, along: float, across: float) -> Sprite:
    """Apply motion blur along and across the axis of a sprite, in pixels.

    The box does not grow, like that of an annotator, who excludes the blur.
    """
    size = (2 * round(along / 2) + 1, 2 * round(across / 2) + 1)
    if size == (1, 1):
        return sprite
    margin = max(size) // 2
    return Sprite(paint=as_image(cv2.blur(_grown(sprite.paint, margin), size)), solid=_grown(sprite.solid, margin))


def shadow_of(sprite: Sprite, *, softness: float, strength: float) -> Image:
    """Return the shadow of a sprite.

    Args:
        sprite: the sprite that casts the shadow.
        softness: standard deviation of the shadow's blur in pixels.
        strength: 0 for none, 1 for black.

    Returns:
        uint8, shape (h, w), larger than the sprite and with the same centre: darkness, 255 for black.
    """
    shadow = _grown(np.ascontiguousarray(sprite.paint[..., 3]), math.ceil(2.5 * softness))
    height, width = shadow.shape
    # A very soft shadow is blurred at a fraction of its size, which looks the same.
    shrink = max(1, int(softness / 2))
    small = cv2.resize(shadow, (max(1, width // shrink), max(1, height // shrink)), interpolation=cv2.INTER_AREA)
    if softness > 0:
        small = cv2.GaussianBlur(small, (0, 0), softness / shrink)
    small = cv2.convertScaleAbs(small, alpha=strength)
    return as_image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def over_shadow(sprite: Sprite, shadow: Image, offset: tuple[int, int]) -> Sprite:
    """Put a sprite over a shadow that is shifted by `offset` pixels to the right and below."""
    height, width = sprite.solid.shape
    down, across = shadow.shape
    # Pad equally on opposite sides, which keeps the centre.
    x = max(0, math.ceil((across - width) / 2) + abs(offset[0]))
    y = max(0, math.ceil((down - height) / 2) + abs(offset[1]))
    paint = as_image(cv2.copyMakeBorder(sprite.paint, y, y, x, x, cv2.BORDER_CONSTANT))
    solid = as_image(cv2.copyMakeBorder(sprite.solid, y, y, x, x, cv2.BORDER_CONSTANT))
    left, top = (paint.shape[1] - across) // 2 + offset[0], (paint.shape[0] - down) // 2 + offset[1]
    patch = paint[top : top + down, left : left + across, 3]
    through = cv2.multiply(cv2.bitwise_not(patch), shadow, scale=1 / 255)
    patch[:] = cv2.add(patch, through)
    return Sprite(paint=paint, solid=solid)


def as_sprite(shadow: Image) -> Sprite:
    """Return a shadow as a separate sprite, no part of which belongs in a box."""
    paint = np.zeros((*shadow.shape, 4), dtype=np.uint8)
    paint[..., 3] = shadow
    return Sprite(paint=paint, solid=np.zeros_like(shadow))


def _grown(plane: Image, margin: int) -> Image:
    return as_image(cv2.copyMakeBorder(plane, margin, margin, margin, margin, cv2.BORDER_CONSTANT))


class Stamp:
    """A sprite prepared for repeated pasting.

    Args:
        sprite: the sprite.
    """

    def __init__(self, sprite: Sprite) -> None:
        sprite = trimmed(sprite)
        self.colour = as_image(cv2.cvtColor(sprite.paint, cv2.COLOR_BGRA2BGR))
        self.passing = as_image(cv2.bitwise_not(sprite.paint[..., 3]))
        self.mask = sprite.solid >= _MIN_COVERAGE

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return self.colour.nbytes + self.passing.nbytes + self.mask.nbytes


@dataclass(frozen=True, slots=True)
class Placed:
    """A stamp and its position on an image.

    Attributes:
        stamp: the stamp.
        centre: x and y of its centre.
        top: first row of the image in which the stamp is visible.
        light: factor on its colours, for shade.
    """

    stamp: Stamp
    centre: tuple[int, int]
    top: int = 0
    light: float = 1.0

    @property
    def corner(self) -> tuple[int, int]:
        """Position of the stamp's upper left corner."""
        height, width = self.stamp.mask.shape
        return self.centre[0] - width // 2, self.centre[1] - height // 2

    def visible_part(self, part: Box, shape: tuple[int, ...]) -> Box:
        """Convert a rectangle of the stamp to image coordinates, and clip it to its visible part."""
        x, y = self.corner
        return (
            max(part[0] + x, 0),
            max(part[1] + y, self.top, 0),
            min(part[2] + x, shape[1]),
            min(part[3] + y, shape[0]),
        )

    def inside(self, area: Box) -> tuple[slice, slice]:
        """Return the rows and columns of the stamp for an area of the image."""
        x, y = self.corner
        return slice(area[1] - y, area[3] - y), slice(area[0] - x, area[2] - x)


def paste(image: Image, placed: Placed) -> None:
    """Paste a stamp onto an image (uint8, shape (h, w, 3), BGR), in place."""
    stamp = placed.stamp
    height, width = stamp.mask.shape
    left, top, right, bottom = placed.visible_part((0, 0, width, height), image.shape)
    if left >= right or top >= bottom:
        return
    inside = placed.inside((left, top, right, bottom))
    colour = stamp.colour[inside]
    if placed.light != 1.0:
        colour = as_image(cv2.convertScaleAbs(colour, alpha=placed.light))
    below = image[top:bottom, left:right]
    passing = cv2.cvtColor(stamp.passing[inside], cv2.COLOR_GRAY2BGR)
    image[top:bottom, left:right] = cv2.add(cv2.multiply(below, passing, scale=1 / 255), colour)

"""Small pictures with transparency: turning, shading, smearing and trimming them."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sprite:
    """One drawn thing, its middle in the middle of the arrays.

    Attributes:
        colour: uint8, shape (h, w, 3), BGR, already multiplied by its coverage.
        passing: uint8, shape (h, w): how much of what lies below shows through, 255 for all of it; the cast
            shadow is in here too.
        solid: uint8, shape (h, w): coverage by what belongs in the box (body and wings).
    """

    colour: Image
    passing: Image
    solid: Image


def as_image(array: object) -> Image:
    """Give what OpenCV returned its exact type."""
    return np.asarray(array, dtype=np.uint8)


def inverted(plane: Image) -> Image:
    """Swap covering and letting through."""
    return as_image(cv2.bitwise_not(plane))


def turned(sprite: Sprite, *, heading: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Sprite:
    """Scale a sprite along and across its own axis, then turn it.

    Args:
        sprite: with its own axis along +x.
        heading: radians, 0 to the right, growing clockwise on the screen.
        stretch: factors along and across; a negative one mirrors.
    """
    height, width = sprite.passing.shape
    cos, sin = math.cos(heading), math.sin(heading)
    matrix = np.array([[cos * stretch[0], -sin * stretch[1], 0.0], [sin * stretch[0], cos * stretch[1], 0.0]])
    across = math.ceil(abs(matrix[0, 0]) * width + abs(matrix[0, 1]) * height) + 2
    down = math.ceil(abs(matrix[1, 0]) * width + abs(matrix[1, 1]) * height) + 2
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix[:, 2] = np.array([(across - 1) / 2, (down - 1) / 2]) - matrix[:, :2] @ middle
    size = (across, down)
    return Sprite(
        colour=as_image(cv2.warpAffine(sprite.colour, matrix, size)),
        passing=as_image(cv2.warpAffine(sprite.passing, matrix, size, borderValue=(255,))),
        solid=as_image(cv2.warpAffine(sprite.solid, matrix, size)),
    )


def padded(sprite: Sprite, margin: int) -> Sprite:
    """Add an empty border of `margin` pixels all around."""

    def border(plane: Image, value: int) -> Image:
        edges = (margin, margin, margin, margin)
        return as_image(cv2.copyMakeBorder(plane, *edges, cv2.BORDER_CONSTANT, value=(value, value, value)))

    return Sprite(colour=border(sprite.colour, 0), passing=border(sprite.passing, 255), solid=border(sprite.solid, 0))


def trimmed(sprite: Sprite) -> Sprite:
    """Cut off empty borders, the same on opposite sides, so that the middle stays the middle."""
    left, top, width, height = cv2.boundingRect(inverted(sprite.passing))
    down, across = sprite.passing.shape
    if not width:
        return sprite
    x = min(left, across - left - width)
    y = min(top, down - top - height)
    kept = (slice(y, down - y), slice(x, across - x))
    return Sprite(
        colour=np.ascontiguousarray(sprite.colour[kept]),
        passing=np.ascontiguousarray(sprite.passing[kept]),
        solid=np.ascontiguousarray(sprite.solid[kept]),
    )


def with_shadow(sprite: Sprite, *, offset: tuple[int, int], softness: float, strength: float) -> Sprite:
    """Lay the sprite's shadow under it, growing the arrays by as much as the shadow needs.

    Args:
        sprite: without a shadow.
        offset: how far the shadow lies to the right and below, in pixels.
        softness: standard deviation of its blur in pixels.
        strength: 0 for none, 1 for black.
    """
    margin = math.ceil(max(abs(offset[0]), abs(offset[1])) + 2.5 * softness)
    grown = padded(sprite, margin)
    shade = _softened(inverted(grown.passing), softness, strength)
    moved = cv2.warpAffine(
        shade, np.array([[1.0, 0.0, offset[0]], [0.0, 1.0, offset[1]]]), shade.shape[::-1], flags=cv2.INTER_NEAREST
    )
    passing = as_image(cv2.multiply(grown.passing, inverted(as_image(moved)), scale=1 / 255))
    return Sprite(colour=grown.colour, passing=passing, solid=grown.solid)


def shadow_of(sprite: Sprite, *, softness: float, strength: float) -> Sprite:
    """Give the shadow alone, as something far below in the light's way would show it."""
    grown = padded(sprite, math.ceil(2.5 * softness))
    passing = inverted(_softened(inverted(grown.passing), softness, strength))
    return Sprite(colour=np.zeros_like(grown.colour), passing=passing, solid=np.zeros_like(passing))


def _softened(shade: Image, softness: float, strength: float) -> Image:
    """Blur and weaken a shadow; a very soft one at a fraction of its size, which looks the same."""
    height, width = shade.shape
    shrink = max(1, int(softness / 2))
    small = cv2.resize(shade, (max(1, width // shrink), max(1, height // shrink)), interpolation=cv2.INTER_AREA)
    if softness > 0:
        small = cv2.GaussianBlur(small, (0, 0), softness / shrink)
    weak = cv2.convertScaleAbs(small, alpha=strength)
    return as_image(cv2.resize(weak, (width, height), interpolation=cv2.INTER_LINEAR))


def smeared(sprite: Sprite, *, along: float, across: float) -> Sprite:
    """Smear a sprite's looks by a movement along and across its axis, in pixels.

    What belongs in its box stays as it is: an annotator boxes the bee and not the whole smear.
    """
    size = (2 * round(along / 2) + 1, 2 * round(across / 2) + 1)
    if size == (1, 1):
        return sprite
    grown = padded(sprite, max(size) // 2)
    return Sprite(
        colour=as_image(cv2.blur(grown.colour, size)),
        passing=as_image(cv2.blur(grown.passing, size)),
        solid=grown.solid,
    )

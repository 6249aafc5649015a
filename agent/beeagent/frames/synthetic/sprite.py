"""Small pictures with transparency, and how they are turned, scaled and laid onto a larger one."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]

VISIBLE = 96
"""The coverage, of 255, from which a pixel counts as part of what an annotator would box."""


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


def turned(
    sprite: Sprite,
    *,
    heading: float,
    stretch: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> Sprite:
    """Scale a sprite along and across its own axis, then turn it.

    Args:
        sprite: with its own axis along +x.
        heading: radians, 0 to the right, growing clockwise on the screen.
        stretch: factors along and across; a negative one mirrors.
        shift: the part of the position that is less than a pixel.
    """
    height, width = sprite.passing.shape
    cos, sin = math.cos(heading), math.sin(heading)
    matrix = np.array([[cos * stretch[0], -sin * stretch[1], 0.0], [sin * stretch[0], cos * stretch[1], 0.0]])
    across = math.ceil(abs(matrix[0, 0]) * width + abs(matrix[0, 1]) * height) + 2
    down = math.ceil(abs(matrix[1, 0]) * width + abs(matrix[1, 1]) * height) + 2
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    target = np.array([(across - 1) / 2 + shift[0], (down - 1) / 2 + shift[1]])
    matrix[:, 2] = target - matrix[:, :2] @ middle
    size = (across, down)
    return Sprite(
        colour=as_image(cv2.warpAffine(sprite.colour, matrix, size)),
        passing=as_image(
            cv2.warpAffine(sprite.passing, matrix, size, borderMode=cv2.BORDER_CONSTANT, borderValue=(255,))
        ),
        solid=as_image(cv2.warpAffine(sprite.solid, matrix, size)),
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
    shade = cv2.warpAffine(
        inverted(grown.passing),
        np.array([[1.0, 0.0, offset[0]], [0.0, 1.0, offset[1]]]),
        (grown.passing.shape[1], grown.passing.shape[0]),
    )
    if softness > 0:
        shade = cv2.GaussianBlur(shade, (0, 0), softness)
    light = cv2.bitwise_not(cv2.convertScaleAbs(shade, alpha=strength))
    passing = as_image(cv2.multiply(grown.passing, light, scale=1 / 255))
    return Sprite(colour=grown.colour, passing=passing, solid=grown.solid)


def shadow_of(sprite: Sprite, *, softness: float, strength: float) -> Sprite:
    """Give the shadow alone, as something far below in the light's way would show it."""
    margin = math.ceil(2.5 * softness)
    shade = cv2.GaussianBlur(inverted(padded(sprite, margin).passing), (0, 0), max(softness, 0.1))
    passing = inverted(as_image(cv2.convertScaleAbs(shade, alpha=strength)))
    empty = np.zeros_like(passing)
    return Sprite(colour=np.zeros((*passing.shape, 3), dtype=np.uint8), passing=passing, solid=empty)


def trimmed(sprite: Sprite) -> Sprite:
    """Cut off empty borders, the same on opposite sides, so that the middle stays the middle."""
    used = sprite.passing < 255
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    height, width = used.shape
    if not rows.size:
        return sprite
    y = int(min(rows[0], height - 1 - rows[-1]))
    x = int(min(columns[0], width - 1 - columns[-1]))
    kept = (slice(y, height - y), slice(x, width - x))
    return Sprite(
        colour=np.ascontiguousarray(sprite.colour[kept]),
        passing=np.ascontiguousarray(sprite.passing[kept]),
        solid=np.ascontiguousarray(sprite.solid[kept]),
    )


def padded(sprite: Sprite, margin: int) -> Sprite:
    """Add an empty border of `margin` pixels all around."""

    def border(plane: Image, value: int) -> Image:
        edges = (margin, margin, margin, margin)
        return as_image(cv2.copyMakeBorder(plane, *edges, cv2.BORDER_CONSTANT, value=(value, value, value)))

    return Sprite(colour=border(sprite.colour, 0), passing=border(sprite.passing, 255), solid=border(sprite.solid, 0))


def blurred(sprite: Sprite, kernel: NDArray[np.float32]) -> Sprite:
    """Smear a sprite's looks with a kernel (motion); what belongs in its box stays sharp."""
    return Sprite(
        colour=as_image(cv2.filter2D(sprite.colour, -1, kernel, borderType=cv2.BORDER_CONSTANT)),
        passing=inverted(as_image(cv2.filter2D(inverted(sprite.passing), -1, kernel, borderType=cv2.BORDER_CONSTANT))),
        solid=sprite.solid,
    )


def inverted(plane: Image) -> Image:
    """Swap covering and showing through."""
    return as_image(cv2.bitwise_not(plane))


@dataclass(frozen=True, slots=True)
class Placed:
    """A sprite and where it lies on a picture.

    Attributes:
        sprite: what lies there.
        middle: x and y of its middle.
        top: the first row of the picture in which it may show; something covers it above.
        light: factor on its colours, for one in the shade.
    """

    sprite: Sprite
    middle: tuple[int, int]
    top: int = 0
    light: float = 1.0

    def overlap(self, shape: tuple[int, ...]) -> tuple[Box, Box] | None:
        """Find where the sprite shows on a picture.

        Args:
            shape: height and width of the picture.

        Returns:
            The rectangle (left, top, right, bottom) in the picture and the same one in the sprite, or None where
            nothing of the sprite shows.
        """
        height, width = self.sprite.passing.shape
        left, top = self.middle[0] - width // 2, self.middle[1] - height // 2
        x0, y0 = max(left, 0), max(top, self.top, 0)
        x1, y1 = min(left + width, shape[1]), min(top + height, shape[0])
        if x0 >= x1 or y0 >= y1:
            return None
        return (x0, y0, x1, y1), (x0 - left, y0 - top, x1 - left, y1 - top)


def paste(picture: Image, placed: Placed) -> None:
    """Lay a sprite onto a picture (uint8, shape (h, w, 3), BGR), in place."""
    places = placed.overlap(picture.shape)
    if places is None:
        return
    (x0, y0, x1, y1), (u0, v0, u1, v1) = places
    below = picture[y0:y1, x0:x1]
    passing = cv2.cvtColor(placed.sprite.passing[v0:v1, u0:u1], cv2.COLOR_GRAY2BGR)
    colour = placed.sprite.colour[v0:v1, u0:u1]
    if placed.light != 1.0:
        colour = as_image(cv2.convertScaleAbs(colour, alpha=placed.light))
    picture[y0:y1, x0:x1] = cv2.add(cv2.multiply(below, passing, scale=1 / 255), colour)


def visible_boxes(
    shape: tuple[int, int], placed: list[Placed], *, least_visible: float = 0.25, least_size: float = 8.0
) -> NDArray[np.float32]:
    """Find the tight boxes of what can be seen of each sprite.

    Args:
        shape: height and width of the picture.
        placed: the sprites in the order in which they were laid down.
        least_visible: a sprite of which less than this share can be seen gets no box.
        least_size: nor does one whose box is shorter than this, in pixels, on its longer side.

    Returns:
        float32, shape (n, 4): left, top, right, bottom in pixels.
    """
    owner = np.zeros(shape, dtype=np.uint16)
    wholes: list[tuple[int, Box, int]] = []
    for number, one in enumerate(placed, start=1):
        places = one.overlap(shape)
        if places is None:
            continue
        (x0, y0, x1, y1), (u0, v0, u1, v1) = places
        solid = one.sprite.solid >= VISIBLE
        owner[y0:y1, x0:x1][solid[v0:v1, u0:u1]] = number
        wholes.append((number, places[0], int(np.count_nonzero(solid))))
    boxes: list[tuple[float, float, float, float]] = []
    for number, (x0, y0, x1, y1), whole in wholes:
        seen = owner[y0:y1, x0:x1] == number
        if not whole or np.count_nonzero(seen) < max(1, least_visible * whole):
            continue
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        box = (x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1)
        if max(box[2] - box[0], box[3] - box[1]) >= least_size:
            boxes.append(box)
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)

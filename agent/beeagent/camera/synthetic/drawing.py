"""Anti-aliased lines and shapes at places finer than a pixel."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from beeagent.camera.synthetic.sprite import Image

Colour = tuple[float, float, float]

_SHIFT = 4
"""OpenCV takes places as fixed-point numbers: so many bits behind the point."""


def _path(points: ArrayLike) -> NDArray[np.int32]:
    places = np.asarray(points, dtype=np.float64) * 2**_SHIFT
    return np.asarray(places.round(), dtype=np.int32)


def draw_line(picture: Image, points: ArrayLike, colour: Colour, *, thickness: int = 1) -> None:
    """Draw an open line through points (shape (n, 2), x and y in pixels), in place.

    A picture with one channel takes the first number of the colour.
    """
    cv2.polylines(picture, [_path(points)], isClosed=False, color=colour, thickness=thickness,
                  lineType=cv2.LINE_AA, shift=_SHIFT)  # fmt: skip


def draw_shape(picture: Image, points: ArrayLike, colour: Colour) -> None:
    """Fill the shape within points (shape (n, 2), x and y in pixels), in place."""
    cv2.fillPoly(picture, [_path(points)], colour, lineType=cv2.LINE_AA, shift=_SHIFT)


def draw_ellipse(
    picture: Image, middle: tuple[float, float], radii: tuple[float, float], colour: Colour, *, turn: float = 0.0
) -> None:
    """Fill an ellipse, turned by `turn` degrees, in place. Lengths are in pixels."""
    fixed = (round(middle[0] * 2**_SHIFT), round(middle[1] * 2**_SHIFT))
    axes = (max(4, round(radii[0] * 2**_SHIFT)), max(4, round(radii[1] * 2**_SHIFT)))
    cv2.ellipse(picture, fixed, axes, turn, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)

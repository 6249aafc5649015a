"""Primitives for drawing: image types, noise fields, and anti-aliased lines and shapes at sub-pixel positions."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
Colour = tuple[float, float, float]

_SHIFT = 4
"""Fractional bits of OpenCV's fixed-point coordinates."""


def as_image(array: object) -> Image:
    """Return an image created by OpenCV with its exact type."""
    return np.asarray(array, dtype=np.uint8)


def _path(points: ArrayLike) -> NDArray[np.int32]:
    places = np.asarray(points, dtype=np.float64) * 2**_SHIFT
    return np.asarray(places.round(), dtype=np.int32)


def draw_line(image: Image, points: ArrayLike, colour: Colour, *, thickness: int = 1) -> None:
    """Draw an open line through points (shape (n, 2), x and y in pixels), in place.

    An image with one channel uses the first number of the colour.
    """
    cv2.polylines(image, [_path(points)], isClosed=False, color=colour, thickness=thickness,
                  lineType=cv2.LINE_AA, shift=_SHIFT)  # fmt: skip


def draw_shape(image: Image, points: ArrayLike, colour: Colour) -> None:
    """Fill the shape within points (shape (n, 2), x and y in pixels), in place."""
    cv2.fillPoly(image, [_path(points)], colour, lineType=cv2.LINE_AA, shift=_SHIFT)


def draw_ellipse(
    image: Image, centre: tuple[float, float], radii: tuple[float, float], colour: Colour, *, turn: float = 0.0
) -> None:
    """Fill an ellipse, turned by `turn` degrees, in place. Lengths are in pixels."""
    fixed = (round(centre[0] * 2**_SHIFT), round(centre[1] * 2**_SHIFT))
    axes = (max(4, round(radii[0] * 2**_SHIFT)), max(4, round(radii[1] * 2**_SHIFT)))
    cv2.ellipse(image, fixed, axes, turn, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)


def value_noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float]) -> Plane:
    """Return smooth value noise: random values on a lattice, interpolated in between.

    Args:
        rng: random generator.
        size: width and height of the result, in pixels.
        cell: width and height of a lattice cell in pixels; unequal ones give streaks.

    Returns:
        float32, shape (height, width), about 0 to 1 with mean 0.5.
    """
    width, height = size
    columns = max(1, round(width / cell[0])) + 1
    rows = max(1, round(height / cell[1])) + 1
    lattice = rng.random((min(rows, height + 1), min(columns, width + 1)), dtype=np.float32)
    return np.asarray(cv2.resize(lattice, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def fractal_noise(
    rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float], *, octaves: int = 4, gain: float = 0.5
) -> Plane:
    """Sum octaves of value noise, each with half the cell size and `gain` times the strength of the previous one.

    Returns:
        float32, shape (height, width), stretched to exactly 0 to 1.
    """
    total = np.zeros((size[1], size[0]), dtype=np.float32)
    for octave in range(octaves):
        fine = (cell[0] / 2**octave, cell[1] / 2**octave)
        if octave and max(fine) < 1:
            break
        total += value_noise(rng, size, fine) * np.float32(gain**octave)
    return stretched(total)


def stretched(field: Plane) -> Plane:
    """Map a field linearly to 0 to 1; a constant field becomes 0."""
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6), dtype=np.float32)

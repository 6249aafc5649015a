"""Random fields: the raw material of every drawn texture."""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def value_noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float]) -> Plane:
    """Draw smooth value noise: random values on a lattice, interpolated in between.

    Args:
        rng: where the values come from.
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
    rng: np.random.Generator,
    size: tuple[int, int],
    cell: tuple[float, float],
    *,
    octaves: int = 4,
    gain: float = 0.5,
) -> Plane:
    """Sum octaves of value noise, each with half the cell size and `gain` times the strength of the one before.

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

"""Areas and overlap of boxes.

Boxes are float32 or float64 arrays of shape (..., 4): left, top, right, bottom, in any unit. The leading dimensions of
two arrays are broadcast: `iou(first[:, None], second)` compares n boxes with m, `iou(first, second)` compares them
pairwise.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)


def box_areas(boxes: NDArray[_Float]) -> NDArray[_Float]:
    """Return the area of each box, shape (...); 0 for a box whose right or bottom is before its left or top."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1], dtype=boxes.dtype)


def intersection_areas(first: NDArray[_Float], second: NDArray[_Float]) -> NDArray[_Float]:
    """Return the area of the intersection of two boxes, in the broadcast shape."""
    # Each edge by itself: NumPy takes a multiple of the time for loops over a last dimension of two.
    width = np.minimum(first[..., 2], second[..., 2]) - np.maximum(first[..., 0], second[..., 0])
    height = np.minimum(first[..., 3], second[..., 3]) - np.maximum(first[..., 1], second[..., 1])
    return np.asarray(np.maximum(width, 0) * np.maximum(height, 0), dtype=first.dtype)


def covered_ratios(boxes: NDArray[_Float], others: NDArray[_Float]) -> NDArray[_Float]:
    """Return the ratio of the area of each box that the other box covers, in the broadcast shape."""
    areas = np.maximum(box_areas(boxes), np.finfo(np.float32).tiny)
    return np.asarray(intersection_areas(boxes, others) / areas, dtype=boxes.dtype)


def iou(first: NDArray[_Float], second: NDArray[_Float]) -> NDArray[_Float]:
    """Return the intersection over union, 0 to 1, in the broadcast shape; 0 where both boxes have no area."""
    intersection = intersection_areas(first, second)
    union = box_areas(first) + box_areas(second) - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(first.dtype).tiny), dtype=first.dtype)

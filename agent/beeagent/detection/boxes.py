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
    corner = np.maximum(first[..., :2], second[..., :2])
    sides = np.maximum(np.minimum(first[..., 2:], second[..., 2:]) - corner, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], dtype=first.dtype)


def iou(first: NDArray[_Float], second: NDArray[_Float]) -> NDArray[_Float]:
    """Return the intersection over union, 0 to 1, in the broadcast shape; 0 where both boxes have no area."""
    intersection = intersection_areas(first, second)
    union = box_areas(first) + box_areas(second) - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(first.dtype).tiny), dtype=first.dtype)

"""Geometry of boxes: how far they overlap."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)


def pairwise_iou(one: NDArray[_Float], other: NDArray[_Float]) -> NDArray[_Float]:
    """Return the intersection over union of each box with each.

    Args:
        one: shape (n, 4): left, top, right, bottom, in any unit.
        other: shape (m, 4), in the same unit.

    Returns:
        Shape (n, m), each within 0 to 1; 0 where both boxes are without area.
    """
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    opposite = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(opposite - corner, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(one.dtype).tiny), dtype=one.dtype)

"""Tells frames that show the same again from those that do not."""

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.detections import Detections

_SAME_PLACE = 0.8  # IoU; a box that jitters by a pixel or two in twenty stays above


def show_the_same(one: Detections, other: Detections) -> bool:
    """Say whether each box of one frame has its like in the other: the same class, the same place, none left over.

    Every detection counts, sure and unsure: the answer on one frame stands for all that is in the other.
    """
    if len(one) != len(other) or one.labels != other.labels:
        return False
    overlap = _overlaps(one.boxes, other.boxes)
    overlap[one.class_ids[:, None] != other.class_ids[None, :]] = 0
    for row in range(len(one)):
        best = int(np.argmax(overlap[row]))
        if overlap[row, best] < _SAME_PLACE:
            return False
        overlap[:, best] = 0
    return True


def _overlaps(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the intersection over union of each box with each, shape (n, m)."""
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    opposite = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(opposite - corner, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), dtype=np.float32)

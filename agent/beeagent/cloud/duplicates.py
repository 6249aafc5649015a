"""Tells frames that show the same again from those that do not."""

import numpy as np

from beeagent.detection import Detections, iou

_SAME_PLACE = 0.8  # IoU; a box that jitters by a pixel or two in twenty stays above


def show_the_same(one: Detections, other: Detections) -> bool:
    """Say whether each box of one frame has its like in the other: the same class, the same place, none left over.

    Every detection counts, sure and unsure: the answer on one frame stands for all that is in the other.
    """
    if len(one) != len(other) or one.labels != other.labels:
        return False
    overlap = iou(one.boxes[:, None], other.boxes)
    overlap[one.class_ids[:, None] != other.class_ids[None, :]] = 0
    for row in range(len(one)):
        best = int(np.argmax(overlap[row]))
        if overlap[row, best] < _SAME_PLACE:
            return False
        overlap[:, best] = 0
    return True

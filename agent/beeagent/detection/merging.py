"""Detections from overlapping regions of a frame become those of the frame, each thing once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beeagent.detection.detections import Detections
from beeagent.detection.tiles import Region

_SAME_IOU = 0.5
"""From this intersection over union on, two boxes from different regions show the same thing."""
_PART_OF = 0.7
"""A box that a region's edge has cut shows the same thing as one in which so much of it lies."""
_AT_EDGE = 0.01
"""Ratio of a region's side within which a box counts as cut by its edge."""


def merge(found: Sequence[Detections], regions: Sequence[Region], *, frame: tuple[int, int]) -> Detections:
    """Bring the detections of several regions together.

    Within a region the model has told things apart; only between regions is the same thing seen twice. Of those that
    show the same, one that lies whole in its region wins over one that an edge has cut, and otherwise the stronger.

    Args:
        found: the detections in each region, in ratios of the region.
        regions: the regions, in the same order.
        frame: width and height of the frame in pixels.

    Returns:
        The detections in ratios of the frame.
    """
    if len(found) == 1:
        return found[0]
    size = np.array(frame * 2, dtype=np.float32)
    boxes = np.concatenate([_in_frame(one.boxes, region) for one, region in zip(found, regions, strict=True)])
    cut = np.concatenate([_cut(one.boxes, region, frame) for one, region in zip(found, regions, strict=True)])
    confidences = np.concatenate([one.confidences for one in found])
    class_ids = np.concatenate([one.class_ids for one in found])
    origin = np.repeat(np.arange(len(found)), [len(one) for one in found])
    left = np.ones(len(boxes), dtype=np.bool_)
    kept: list[int] = []
    for index in np.lexsort((-confidences, cut)):
        if not left[index]:
            continue
        kept.append(int(index))
        iou, part = _overlaps(boxes[index], boxes)
        same = (iou >= _SAME_IOU) | (cut & (part >= _PART_OF))
        left &= ~(same & (origin != origin[index]) & (class_ids == class_ids[index]))
    order = np.array(sorted(kept, key=lambda index: -confidences[index]), dtype=np.int64)
    merged = np.clip(boxes[order] / size, 0.0, 1.0).astype(np.float32)
    return Detections(merged, confidences[order], class_ids[order], found[0].labels)


def _in_frame(boxes: NDArray[np.float32], region: Region) -> NDArray[np.float32]:
    scale = np.array([region.width, region.height] * 2, dtype=np.float32)
    return (boxes * scale + np.array([region.left, region.top] * 2, dtype=np.float32)).astype(np.float32)


def _cut(boxes: NDArray[np.float32], region: Region, frame: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which boxes end at an edge of their region that is none of the frame's."""
    inner = np.array(
        [
            region.left > 0,
            region.top > 0,
            region.left + region.width < frame[0],
            region.top + region.height < frame[1],
        ]
    )
    at_edge = np.concatenate([boxes[:, :2] <= _AT_EDGE, boxes[:, 2:] >= 1 - _AT_EDGE], axis=1)
    cut: NDArray[np.bool_] = (at_edge & inner).any(axis=1)
    return cut


def _overlaps(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give each box's intersection with one box, over their union and over its own area."""
    corner, far = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(far - corner, 0), axis=1)
    areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.finfo(np.float32).tiny)
    area = np.prod(box[2:] - box[:2])
    return (shared / (areas + area - shared)).astype(np.float32), (shared / areas).astype(np.float32)

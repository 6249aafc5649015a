"""Decides which anchor answers for which object."""

import numpy as np
from numpy.typing import NDArray

from beeagent_models.datasets.augment_geometry import Crop, box_areas, shared_areas
from beeagent_models.efficientdet.anchors import anchor_boxes, encode_boxes
from beeagent_models.efficientdet.config import EfficientDetConfig

# Class targets of anchors that answer for no object.
BACKGROUND, IGNORED = 0, -1
# In place of the index of an object: the anchor answers for none, or does not count.
NO_OBJECT, NEITHER = -1, -2

# Anchors that overlap an object nearly as well as its best one answer for it too, however little that is: small
# objects, which no anchor fits well, would otherwise be taught by a single anchor.
_NEARLY_BEST = 0.9
# An anchor that lies to this part in a region where objects may be unlabelled is not background.
_IGNORED_SHARE = 0.5


def match_anchors(
    anchors: NDArray[np.float32],
    boxes: NDArray[np.float32],
    ignored: NDArray[np.float32],
    *,
    positive_iou: float = 0.5,
    negative_iou: float = 0.4,
) -> NDArray[np.int64]:
    """Give each anchor an object, the background, or neither.

    An anchor answers for the object it overlaps most if their intersection over union reaches `positive_iou`, or
    nearly reaches the best that any anchor has with that object. It is background below `negative_iou`.

    Args:
        anchors: float32, shape (a, 4): left, top, right, bottom in pixels.
        boxes: float32, shape (n, 4): objects, likewise.
        ignored: float32, shape (m, 4): regions in which there may be unlabelled objects.
        positive_iou: see above.
        negative_iou: see above.

    Returns:
        int64, shape (a,): the index of the object, or `NO_OBJECT`, or `NEITHER`.
    """
    matched = np.full(len(anchors), NO_OBJECT, np.int64)
    areas = box_areas(anchors)
    if len(ignored):
        matched[(shared_areas(anchors, ignored) / areas[:, None]).max(1) >= _IGNORED_SHARE] = NEITHER
    if len(boxes):
        shared = shared_areas(boxes, anchors)
        iou = shared / (box_areas(boxes)[:, None] + areas[None] - shared)
        best = iou.argmax(0)
        overlap = np.take_along_axis(iou, best[None], 0)[0]
        matched[overlap >= negative_iou] = NEITHER
        positive = overlap >= positive_iou
        matched[positive] = best[positive]
        forced = (iou >= np.maximum(iou.max(1, keepdims=True) * _NEARLY_BEST, 1e-6)) & (overlap < positive_iou)
        candidates = np.where(forced, iou, 0)
        rows = forced.any(0)
        matched[rows] = candidates.argmax(0)[rows]
        # Every object has one anchor at least, even where a neighbour overlaps all of its anchors more.
        for index in np.flatnonzero(~np.isin(np.arange(len(boxes)), matched)):
            matched[iou[index].argmax()] = index
    return matched


class AnchorTargets:
    """Makes the targets of both heads for pictures of one size.

    Args:
        config: says where the anchors are.
        size: width and height of the pictures in pixels.
    """

    def __init__(self, config: EfficientDetConfig, size: int) -> None:
        self._anchors = anchor_boxes(config, size, size) * np.float32(size)
        center, half = self._anchors[:, 1::-1], self._anchors[:, :1:-1] / 2
        self._corners = np.concatenate([center - half, center + half], axis=1)

    def __call__(self, crop: Crop) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the targets of one picture.

        Returns:
            float32, shape (anchors, 5): box codes ty, tx, th, tw, and 1 where the anchor answers for an object.
            float32, shape (anchors, 1): class id + 1, or `BACKGROUND` or `IGNORED`.
        """
        anchors = self._anchors
        matched = match_anchors(self._corners, crop.boxes, crop.ignored)
        positive = matched >= 0
        box_targets = np.zeros((len(anchors), 5), np.float32)
        class_targets = np.where(matched == NEITHER, IGNORED, BACKGROUND).astype(np.float32)[:, None]
        if positive.any():
            box_targets[positive, :4] = encode_boxes(crop.boxes[matched[positive]], anchors[positive])
            box_targets[positive, 4] = 1
            class_targets[positive, 0] = crop.class_ids[matched[positive]] + 1
        return box_targets, class_targets

"""Matches anchors with ground-truth objects."""

import numpy as np
from beeagent.detection import box_areas, intersection_areas, iou
from numpy.typing import NDArray

from beeagent_models.augmentation.geometry import Crop
from beeagent_models.efficientdet.anchors import anchor_boxes
from beeagent_models.efficientdet.config import EfficientDetConfig

# Values in place of an object's index: negative anchor, ignored anchor.
NO_OBJECT, IGNORED = -1, -2

# Anchors with at least this share of an object's best IoU are positive too, however low it is: small objects, which no
# anchor fits well, would otherwise have only one positive anchor.
_NEAR_BEST_RATIO = 0.9
# Share of an anchor's area inside ignored regions from which the anchor is ignored.
_MIN_IGNORED_RATIO = 0.5


def match_anchors(
    anchors: NDArray[np.float32],
    boxes: NDArray[np.float32],
    ignored: NDArray[np.float32],
    *,
    positive_iou: float = 0.5,
    negative_iou: float = 0.4,
) -> NDArray[np.int64]:
    """Match each anchor with an object, or make it negative or ignored.

    An anchor is positive if its IoU with an object is at least `positive_iou`, or at least 90 % of that object's best
    IoU with any anchor. It is negative if its best IoU is below `negative_iou`, and ignored between the two. Every
    object has at least one positive anchor.

    Args:
        anchors: float32, shape (a, 4): left, top, right, bottom in pixels.
        boxes: float32, shape (n, 4): ground truth: left, top, right, bottom in pixels.
        ignored: float32, shape (m, 4): regions that may contain unlabelled objects.
        positive_iou: minimum IoU of a positive anchor.
        negative_iou: IoU below which an anchor is negative.

    Returns:
        int64, shape (a,): the index of the matched object, `NO_OBJECT` or `IGNORED`.
    """
    matched = np.full(len(anchors), NO_OBJECT, np.int64)
    if len(ignored):
        covered = intersection_areas(anchors[:, None], ignored) / box_areas(anchors)[:, None]
        matched[covered.max(1) >= _MIN_IGNORED_RATIO] = IGNORED
    if len(boxes):
        overlaps = iou(boxes[:, None], anchors)
        best = overlaps.argmax(0)
        overlap = np.take_along_axis(overlaps, best[None], 0)[0]
        matched[overlap >= negative_iou] = IGNORED
        positive = overlap >= positive_iou
        matched[positive] = best[positive]
        near_best = np.maximum(overlaps.max(1, keepdims=True) * _NEAR_BEST_RATIO, 1e-6)
        forced = (overlaps >= near_best) & (overlap < positive_iou)
        candidates = np.where(forced, overlaps, 0)
        rows = forced.any(0)
        matched[rows] = candidates.argmax(0)[rows]
        # An object may have lost all of its anchors to neighbours with a higher IoU.
        for index in np.flatnonzero(~np.isin(np.arange(len(boxes)), matched)):
            matched[overlaps[index].argmax()] = index
    return matched


class AnchorMatcher:
    """Matches the anchors of one input size with the objects of a crop.

    Args:
        config: configuration of the network.
        width: input width in pixels.
        height: input height in pixels.
    """

    def __init__(self, config: EfficientDetConfig, *, width: int, height: int) -> None:
        anchors = anchor_boxes(config, height, width) * np.array([height, width, height, width], np.float32)
        center, half = anchors[:, 1::-1], anchors[:, :1:-1] / 2
        self._corners = np.concatenate([center - half, center + half], axis=1)

    def __call__(self, crop: Crop) -> NDArray[np.int64]:
        """Return what `match_anchors` returns, shape (anchors,)."""
        return match_anchors(self._corners, crop.boxes, crop.ignored)

"""Decides which anchor is responsible for which object."""

import numpy as np
from beeagent.detection import box_areas, intersection_areas, iou
from numpy.typing import NDArray

from beeagent_models.augmentation.geometry import Crop
from beeagent_models.efficientdet.anchors import anchor_boxes
from beeagent_models.efficientdet.config import EfficientDetConfig

# In place of the index of an object: the anchor is background, or does not count.
NO_OBJECT, IGNORED = -1, -2

# Anchors that overlap an object nearly as well as its best one are responsible for it too, however little that is:
# small objects, which no anchor fits well, would otherwise be taught by a single anchor.
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
    """Assign each anchor an object, the background, or neither.

    An anchor is responsible for the object it overlaps most if their intersection over union reaches `positive_iou`, or
    nearly reaches the best that any anchor has with that object. It is background below `negative_iou`.

    Args:
        anchors: float32, shape (a, 4): left, top, right, bottom in pixels.
        boxes: float32, shape (n, 4): objects, likewise.
        ignored: float32, shape (m, 4): regions in which there may be unlabelled objects.
        positive_iou: see above.
        negative_iou: see above.

    Returns:
        int64, shape (a,): the index of the object, or `NO_OBJECT`, or `IGNORED`.
    """
    matched = np.full(len(anchors), NO_OBJECT, np.int64)
    if len(ignored):
        covered = intersection_areas(anchors[:, None], ignored) / box_areas(anchors)[:, None]
        matched[covered.max(1) >= _IGNORED_SHARE] = IGNORED
    if len(boxes):
        overlaps = iou(boxes[:, None], anchors)
        best = overlaps.argmax(0)
        overlap = np.take_along_axis(overlaps, best[None], 0)[0]
        matched[overlap >= negative_iou] = IGNORED
        positive = overlap >= positive_iou
        matched[positive] = best[positive]
        nearly_best = np.maximum(overlaps.max(1, keepdims=True) * _NEARLY_BEST, 1e-6)
        forced = (overlaps >= nearly_best) & (overlap < positive_iou)
        candidates = np.where(forced, overlaps, 0)
        rows = forced.any(0)
        matched[rows] = candidates.argmax(0)[rows]
        # Every object has one anchor at least, even where a neighbour overlaps all of its anchors more.
        for index in np.flatnonzero(~np.isin(np.arange(len(boxes)), matched)):
            matched[overlaps[index].argmax()] = index
    return matched


class AnchorMatcher:
    """Matches the anchors of one input size with the objects of a crop.

    Args:
        config: says where the anchors are.
        width: of the input in pixels.
        height: likewise.
    """

    def __init__(self, config: EfficientDetConfig, *, width: int, height: int) -> None:
        anchors = anchor_boxes(config, height, width) * np.array([height, width, height, width], np.float32)
        center, half = anchors[:, 1::-1], anchors[:, :1:-1] / 2
        self._corners = np.concatenate([center - half, center + half], axis=1)

    def __call__(self, crop: Crop) -> NDArray[np.int64]:
        """Return what `match_anchors` returns, shape (anchors,)."""
        return match_anchors(self._corners, crop.boxes, crop.ignored)

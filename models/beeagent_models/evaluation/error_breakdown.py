"""Breakdown of a detector's errors at a threshold, by kind and by size.

Kinds and IoU thresholds are those of TIDE: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying
Object Detection Errors", ECCV 2020, section 2.2, https://arxiv.org/abs/2008.08115. Errors are counted, not weighted
by their effect on AP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from beeagent.detection import Detections, iou
from numpy.typing import NDArray

from beeagent_models.datasets import Dataset, LabelledImage
from beeagent_models.evaluation.coco_metrics import SIZE_RANGES, ImageMatches, boxes_in_pixels, sizes_at_input

_FOREGROUND_IOU: Final = 0.5
_BACKGROUND_IOU: Final = 0.1


class ErrorKind(str, Enum):
    """Kind of an error, by the highest IoU of a detection with an object."""

    MISSED = "missed"
    """An object without a matching, badly localised or wrongly labelled detection."""
    DUPLICATE = "duplicate"
    """A detection of the same class with IoU 0.5 or more, but the object is matched by a stronger detection."""
    LOCALISATION = "localisation"
    """A detection with IoU 0.1 to 0.5 with an object of the same class."""
    LABEL = "label"
    """A detection with IoU 0.5 or more with an object of another class."""
    LABEL_AND_LOCALISATION = "label_and_localisation"
    """A detection with IoU 0.1 to 0.5 with an object of another class."""
    BACKGROUND = "background"
    """A detection with IoU below 0.1 with every object."""


@dataclass(frozen=True, slots=True)
class ErrorBreakdown:
    """Number of errors by kind and size.

    Attributes:
        by_size: int64, shape (len(SIZE_RANGES),), by kind. The size is that of the object, or of the detection for
            `BACKGROUND`.
    """

    by_size: dict[ErrorKind, NDArray[np.int64]]

    def total(self, kind: ErrorKind) -> int:
        """Return the number of errors of one kind over all sizes."""
        return int(self.by_size[kind].sum())


def size_range(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index into `SIZE_RANGES` of each size in pixels."""
    lower = np.array([low for _, low, _ in SIZE_RANGES])
    return np.searchsorted(lower, sizes, side="right").astype(np.int64) - 1


def break_down_errors(
    dataset: Dataset,
    detections: Sequence[Detections],
    matches: Sequence[ImageMatches],
    *,
    threshold: float,
    input_size: tuple[int, int] | None,
) -> ErrorBreakdown:
    """Count the errors of each kind.

    Args:
        dataset: images with ground truth.
        detections: detections in each image.
        matches: matches of each image at IoU 0.5.
        threshold: minimum confidence of a detection.
        input_size: width and height of the network's input, for sizes in its pixels; None for sizes in image pixels.
    """
    counts = {kind: np.zeros(len(SIZE_RANGES), np.int64) for kind in ErrorKind}
    for image, in_image, match in zip(dataset.images, detections, matches, strict=True):
        labels = np.array([dataset.labels[class_id] for class_id in image.class_ids])
        for kind, size in _errors(image, labels, in_image, match, threshold=threshold, input_size=input_size):
            counts[kind][size] += 1
    return ErrorBreakdown(counts)


def _errors(  # noqa: PLR0913
    image: LabelledImage,
    labels: NDArray[np.str_],
    detections: Detections,
    match: ImageMatches,
    *,
    threshold: float,
    input_size: tuple[int, int] | None,
) -> list[tuple[ErrorKind, int]]:
    """Return kind and size range of each error in an image; `labels` are those of its boxes."""
    objects = np.flatnonzero(~match.ignored)
    boxes = image.boxes[objects].astype(np.float64)
    object_sizes = size_range(sizes_at_input(boxes, image, input_size))
    _, alarms, boxes_missed = match.classify(detections.confidences, threshold)
    missed, wrong = boxes_missed[objects], np.flatnonzero(alarms)
    wrong_boxes = boxes_in_pixels(detections, image)[wrong]
    wrong_sizes = size_range(sizes_at_input(wrong_boxes, image, input_size))
    overlaps = iou(wrong_boxes[:, None], boxes)
    errors: list[tuple[ErrorKind, int]] = []
    for row, detection in enumerate(wrong):
        same = labels[objects] == detections.label(int(detection))
        kind, index = _error_kind(overlaps[row], np.asarray(same, np.bool_))
        errors.append((kind, int(wrong_sizes[row]) if index is None else int(object_sizes[index])))
        if kind in {ErrorKind.LOCALISATION, ErrorKind.LABEL} and index is not None:
            missed[index] = False
    errors.extend((ErrorKind.MISSED, int(object_sizes[index])) for index in np.flatnonzero(missed))
    return errors


def _error_kind(iou: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[ErrorKind, int | None]:
    """Return the kind of a false positive and the index of its object.

    Args:
        iou: IoU with each object, shape (n,).
        same: shape (n,): True for objects of the detection's class.
    """
    if not len(iou) or iou.max() < _BACKGROUND_IOU:
        return ErrorKind.BACKGROUND, None
    own, other = np.where(same, iou, -1.0), np.where(same, -1.0, iou)
    # Checked in TIDE's order.
    if _BACKGROUND_IOU <= own.max() < _FOREGROUND_IOU:
        return ErrorKind.LOCALISATION, int(own.argmax())
    if other.max() >= _FOREGROUND_IOU:
        return ErrorKind.LABEL, int(other.argmax())
    if own.max() >= _FOREGROUND_IOU:
        return ErrorKind.DUPLICATE, int(own.argmax())
    return ErrorKind.LABEL_AND_LOCALISATION, int(other.argmax())

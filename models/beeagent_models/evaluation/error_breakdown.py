"""Breakdown of a detector's errors at a threshold, by kind and by size.

The kinds and overlaps are those of TIDE: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying
Object Detection Errors", ECCV 2020, section 2.2, https://arxiv.org/abs/2008.08115. Errors are counted, not weighed
by the AP that each kind costs.
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
    """Kind of an error. IoU is that with the object that the detection overlaps most."""

    MISSED = "missed"
    """An object that no detection found, and to which no badly localised or wrongly labelled detection belongs."""
    DUPLICATE = "duplicate"
    """A detection with IoU 0.5 or more, of the right class, of an object that a stronger detection has found."""
    LOCALISATION = "localisation"
    """A detection of the right class with IoU 0.1 to 0.5."""
    LABEL = "label"
    """A detection with IoU 0.5 or more with an object of another class."""
    LABEL_AND_LOCALISATION = "label_and_localisation"
    """A detection with IoU 0.1 to 0.5 with an object of another class."""
    BACKGROUND = "background"
    """A detection with IoU below 0.1 with every object."""


@dataclass(frozen=True, slots=True)
class ErrorBreakdown:
    """How many errors of each kind there are.

    Attributes:
        by_size: for each kind int64, shape (len(SIZE_RANGES),). The size is that of the object; for `BACKGROUND`,
            which has none, that of the detection.
    """

    by_size: dict[ErrorKind, NDArray[np.int64]]

    def total(self, kind: ErrorKind) -> int:
        """Return the number of errors of one kind, all sizes together."""
        return int(self.by_size[kind].sum())


def size_range(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index into `SIZE_RANGES` of each size in pixels."""
    lower = np.array([low for _, low, _ in SIZE_RANGES])
    return np.searchsorted(lower, sizes, side="right").astype(np.int64) - 1


def break_down_errors(
    dataset: Dataset,
    found: Sequence[Detections],
    matches: Sequence[ImageMatches],
    *,
    threshold: float,
    input_size: tuple[int, int] | None,
) -> ErrorBreakdown:
    """Count the errors of each kind.

    Args:
        dataset: the images and boxes.
        found: the detections in each image, weak ones too.
        matches: which of them matched which box at IoU 0.5; ignored boxes are as if they were not there.
        threshold: detections below it are as if they were not there.
        input_size: width and height of the network's input, in which sizes are measured; None takes the images
            as they are.
    """
    counts = {kind: np.zeros(len(SIZE_RANGES), np.int64) for kind in ErrorKind}
    for image, detections, match in zip(dataset.images, found, matches, strict=True):
        own = np.array([dataset.labels[class_id] for class_id in image.class_ids])
        for kind, size in _errors(image, own, detections, match, threshold=threshold, input_size=input_size):
            counts[kind][size] += 1
    return ErrorBreakdown(counts)


def _errors(  # noqa: PLR0913 - a image and how to judge it
    image: LabelledImage,
    labels: NDArray[np.str_],
    detections: Detections,
    match: ImageMatches,
    *,
    threshold: float,
    input_size: tuple[int, int] | None,
) -> list[tuple[ErrorKind, int]]:
    """Return kind and size range of each error in one image, whose objects have these labels."""
    objects = np.flatnonzero(~match.ignored)
    boxes = image.boxes[objects].astype(np.float64)
    object_sizes = size_range(sizes_at_input(boxes, image, input_size))
    _, alarms, boxes_missed = match.judged(detections.confidences, threshold)
    missed, wrong = boxes_missed[objects], np.flatnonzero(alarms)
    wrong_boxes = boxes_in_pixels(detections, image)[wrong]
    wrong_sizes = size_range(sizes_at_input(wrong_boxes, image, input_size))
    overlaps = iou(wrong_boxes[:, None], boxes)
    errors: list[tuple[ErrorKind, int]] = []
    for row, detection in enumerate(wrong):
        same = labels[objects] == detections.label(int(detection))
        kind, place = _kind(overlaps[row], np.asarray(same, np.bool_))
        errors.append((kind, int(wrong_sizes[row]) if place is None else int(object_sizes[place])))
        if kind in {ErrorKind.LOCALISATION, ErrorKind.LABEL} and place is not None:
            missed[place] = False
    errors.extend((ErrorKind.MISSED, int(object_sizes[place])) for place in np.flatnonzero(missed))
    return errors


def _kind(iou: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[ErrorKind, int | None]:
    """Judge a wrong detection.

    Args:
        iou: with each object, shape (n,).
        same: whether the object is of the detection's class, shape (n,).

    Returns:
        The kind, and the object that it is about.
    """
    if not len(iou) or iou.max() < _BACKGROUND_IOU:
        return ErrorKind.BACKGROUND, None
    own, other = np.where(same, iou, -1.0), np.where(same, -1.0, iou)
    # In TIDE's order.
    if _BACKGROUND_IOU <= own.max() < _FOREGROUND_IOU:
        return ErrorKind.LOCALISATION, int(own.argmax())
    if other.max() >= _FOREGROUND_IOU:
        return ErrorKind.LABEL, int(other.argmax())
    if own.max() >= _FOREGROUND_IOU:
        return ErrorKind.DUPLICATE, int(own.argmax())
    return ErrorKind.LABEL_AND_LOCALISATION, int(other.argmax())

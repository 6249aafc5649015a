"""Evaluates a detector on a dataset: average precision, precision and recall at a threshold, errors, time."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from beeagent.detection import Detections
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets import Dataset, load_image
from beeagent_models.evaluation.calibration import ReliabilityCurve, reliability_curve
from beeagent_models.evaluation.coco_metrics import SIZE_RANGES, CocoMetrics, ImageMatches, coco_metrics, sizes_at_input
from beeagent_models.evaluation.error_breakdown import ErrorBreakdown, ErrorKind, break_down_errors, size_range
from beeagent_models.evaluation.operating_point import (
    Curve,
    OperatingPoint,
    ThresholdChoice,
    choose_threshold,
    precision_recall_curve,
)


class ImageDetector(Protocol):
    """An object detector, such as `beeagent.detection.Detector` or a wrapped Keras model."""

    def detect(self, pixels: NDArray[np.uint8], /) -> Detections:
        """Detect objects in an image: uint8, shape (height, width, 3), BGR.

        The detector's own threshold must be near 0, because average precision integrates over all thresholds.
        """
        ...


PRECISIONS = (0.9, 0.99)
"""Precisions at which the best recall is reported."""


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """Metrics of the objects in one size range.

    Attributes:
        size: name of the range in pixels, one of `SIZE_RANGES`.
        boxes: number of objects without the ignored ones.
        matched: number of objects that were detected at the threshold.
        ap: mean AP over IoU 0.50 to 0.95; None without an object.
        ap50: AP at IoU 0.5; None without an object.
        errors: number of errors of each kind at the threshold; see `ErrorBreakdown`.
    """

    size: str
    boxes: int
    matched: int
    ap: float | None
    ap50: float | None
    errors: dict[ErrorKind, int]

    @property
    def recall(self) -> float | None:
        """Share of the objects that were detected at the threshold; None without an object."""
        return self.matched / self.boxes if self.boxes else None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "size": self.size,
            "boxes": self.boxes,
            "ap": self.ap,
            "ap50": self.ap50,
            "recall": self.recall,
            "errors": {kind.value: count for kind, count in self.errors.items()},
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluation of a detector on a dataset.

    Attributes:
        dataset: the dataset.
        detections: detections in each image.
        metrics: COCO metrics and matches.
        curve: precision and recall by threshold at IoU 0.5, over all classes.
        point: the chosen threshold and its metrics.
        errors: errors at the threshold.
        seconds: float64, shape (n,): processing time of each image; None if the detector was not run.
        input_size: width and height of the network's input, for sizes in its pixels; None for sizes in image pixels.
        min_size: minimum size of objects in pixels; smaller ones are ignored.
    """

    dataset: Dataset
    detections: tuple[Detections, ...]
    metrics: CocoMetrics
    curve: Curve
    point: OperatingPoint
    errors: ErrorBreakdown
    seconds: NDArray[np.float64] | None
    input_size: tuple[int, int] | None
    min_size: float

    @property
    def left_out(self) -> int:
        """Number of objects below the minimum size."""
        return sum(int(match.ignored.sum()) for match in self.metrics.matches)

    @property
    def images_without_boxes(self) -> int:
        """Number of images without a box."""
        return sum(not len(image.boxes) for image in self.dataset.images)

    @property
    def alarms_without_boxes(self) -> NDArray[np.float32]:
        """Confidences of all detections in images without a box, unordered."""
        alarms = [
            detections.confidences[match.scored]
            for image, detections, match in zip(self.dataset.images, self.detections, self.metrics.matches, strict=True)
            if not len(image.boxes)
        ]
        return np.concatenate([np.zeros(0, np.float32), *alarms])

    @property
    def false_alarms_per_image(self) -> float | None:
        """Number of detections at the threshold per image without a box; None if every image has one."""
        if not self.images_without_boxes:
            return None
        alarms = self.alarms_without_boxes >= np.float32(self.point.threshold)
        return int(alarms.sum()) / self.images_without_boxes

    def reliability(self, *, from_confidence: float = 0.0) -> ReliabilityCurve:
        """Return the reliability curve of the detections of at least this confidence."""
        confidences, right = scored_detections(self.detections, self.metrics.matches)
        selected = confidences >= np.float32(from_confidence)
        return reliability_curve(confidences[selected], right[selected])

    def at(self, choice: ThresholdChoice) -> "Evaluation":
        """Return the evaluation with another threshold."""
        point = choose_threshold(self.curve, choice)
        return replace(
            self,
            point=point,
            errors=break_down_errors(
                self.dataset,
                self.detections,
                self.metrics.matches,
                threshold=point.threshold,
                input_size=self.input_size,
            ),
        )

    @property
    def best_f1(self) -> OperatingPoint:
        """The threshold with the best F1 on this dataset."""
        return choose_threshold(self.curve, ThresholdChoice())

    def at_precision(self, precision: float) -> OperatingPoint | None:
        """Return the threshold with the best recall at this precision or more, 0 to 1; None if there is none."""
        point = choose_threshold(self.curve, ThresholdChoice(precision_floor=precision))
        return point if point.floors_kept and point.true_positives else None

    @property
    def by_size(self) -> tuple[SizeFigures, ...]:
        """Metrics by size range."""
        boxes, matched = np.zeros((2, len(SIZE_RANGES)), np.int64)
        for image, match in zip(self.dataset.images, self.metrics.matches, strict=True):
            ranges = size_range(sizes_at_input(image.boxes, image, self.input_size))
            boxes += np.bincount(ranges[~match.ignored], minlength=len(SIZE_RANGES))
            matched += np.bincount(ranges[match.matched(self.point.threshold)], minlength=len(SIZE_RANGES))
        return tuple(
            SizeFigures(
                size=size,
                boxes=int(boxes[index]),
                matched=int(matched[index]),
                ap=self.metrics.ap_by_size[size],
                ap50=self.metrics.ap50_by_size[size],
                errors={kind: int(self.errors.by_size[kind][index]) for kind in ErrorKind},
            )
            for index, (size, _, _) in enumerate(SIZE_RANGES)
        )

    def to_json(self) -> dict[str, Any]:
        """Return all metrics as JSON values; None if undefined without an object."""
        has_boxes = self.curve.truths > 0
        best = self.best_f1
        figures: dict[str, Any] = {
            "dataset": self.dataset.name,
            "images": len(self.dataset.images),
            "images_without_boxes": self.images_without_boxes,
            "boxes": self.curve.truths,
            "min_size": self.min_size,
            "boxes_left_out": self.left_out,
            "labels": list(self.dataset.labels),
            "ap": _defined(self.metrics.ap),
            "ap50": _defined(self.metrics.ap50),
            "ap75": _defined(self.metrics.ap75),
            "ap50_by_label": self.metrics.ap50_by_label,
            "threshold": self.point.threshold,
            "threshold_chosen_by": self.point.chosen_by,
            "floors_kept": self.point.floors_kept,
            **{name: getattr(self.point, name) if has_boxes else None for name in ("precision", "recall", "f1")},
            "true_positives": self.point.true_positives,
            "false_positives": self.point.false_positives,
            "false_negatives": self.point.false_negatives,
            "false_alarms_per_image_without_boxes": self.false_alarms_per_image,
            "best_f1": {"f1": best.f1, "threshold": best.threshold} if has_boxes else None,
            "recall_at_precision": {f"{one:g}": self._recall_at(one) for one in PRECISIONS} if has_boxes else None,
            "calibration": self._calibration(),
            "errors": {kind.value: self.errors.total(kind) for kind in ErrorKind},
            "size_measured_in": "pixels of the image" if self.input_size is None else "pixels of the model's input",
            "by_size": [figures.to_json() for figures in self.by_size],
            "curve": {
                "threshold": self.curve.thresholds.tolist(),
                "precision": self.curve.precision.tolist(),
                "recall": self.curve.recall.tolist() if has_boxes else None,
            },
        }
        if self.seconds is not None:
            figures["milliseconds_per_image"] = {
                "median": float(np.median(self.seconds)) * 1e3,
                "percentile_95": float(np.percentile(self.seconds, 95)) * 1e3,
            }
        return figures

    def _calibration(self) -> dict[str, Any]:
        curve = self.reliability()
        return {
            "expected_calibration_error": curve.error,
            "expected_calibration_error_from_threshold": self.reliability(from_confidence=self.point.threshold).error,
            "detections": curve.detections.tolist(),
            "right": curve.right.tolist(),
            "mean_confidence": [
                total / count if count else None
                for total, count in zip(curve.confidence.tolist(), curve.detections.tolist(), strict=True)
            ],
        }

    def _recall_at(self, precision: float) -> dict[str, float | None]:
        point = self.at_precision(precision)
        if point is None:
            return {"recall": 0.0, "threshold": None}
        return {"recall": point.recall, "threshold": point.threshold}


def evaluate(  # noqa: PLR0913
    detector: ImageDetector,
    dataset: Dataset,
    *,
    choice: ThresholdChoice,
    input_size: tuple[int, int] | None = None,
    min_size: float = 0,
    progress: Callable[[], object] | None = None,
) -> Evaluation:
    """Run a detector on a dataset and evaluate its detections.

    Args:
        detector: detector with a threshold near 0.
        dataset: images with ground truth; without a box, only false alarms are evaluated.
        choice: rule for the threshold.
        input_size: width and height of the network's input, for sizes in its pixels; None for sizes in image pixels.
        min_size: minimum size of objects, the square root of the area, in the same pixels; smaller ones are ignored.
        progress: called after each image.

    Raises:
        InputError: an image cannot be decoded, or detector and dataset have no label in common.
    """
    detections: list[Detections] = []
    seconds: list[float] = []
    for image in dataset.images:
        pixels = load_image(image)
        start = time.perf_counter()
        detections.append(detector.detect(pixels))
        seconds.append(time.perf_counter() - start)
        if len(detections) == 1:
            # Fails before a long run, not after it.
            refuse_unrelated(dataset, frozenset(detections[0].labels))
        if progress is not None:
            progress()
    return measure(
        dataset, detections, choice=choice, input_size=input_size, min_size=min_size, seconds=np.array(seconds)
    )


def measure(  # noqa: PLR0913
    dataset: Dataset,
    detections: Sequence[Detections],
    *,
    choice: ThresholdChoice,
    input_size: tuple[int, int] | None = None,
    min_size: float = 0,
    seconds: NDArray[np.float64] | None = None,
) -> Evaluation:
    """Evaluate the detections in each image of a dataset; other arguments as in `evaluate`.

    Raises:
        InputError: detections and dataset have no label in common.
        ValueError: the number of results is not that of the images.
    """
    known = frozenset(label for one in detections for label in one.labels)
    if not dataset.labels:
        # A dataset of background images: every detection is a false alarm.
        dataset = replace(dataset, labels=tuple(sorted(known)))
    refuse_unrelated(dataset, known)
    metrics = coco_metrics(dataset, detections, input_size=input_size, min_size=min_size)
    truths = sum(int((~match.ignored).sum()) for match in metrics.matches)
    curve = precision_recall_curve(*scored_detections(detections, metrics.matches), truths=truths)
    point = choose_threshold(curve, choice)
    return Evaluation(
        dataset=dataset,
        detections=tuple(detections),
        metrics=metrics,
        curve=curve,
        point=point,
        errors=break_down_errors(
            dataset, detections, metrics.matches, threshold=point.threshold, input_size=input_size
        ),
        seconds=seconds,
        input_size=input_size,
        min_size=min_size,
    )


def refuse_without_boxes(dataset: Dataset) -> None:
    """Refuse a dataset without a box.

    Raises:
        InputError: no image has a box.
    """
    if not any(len(image.boxes) for image in dataset.images):
        raise InputError(f"{dataset.name}: none of its {len(dataset.images)} images has a box: give labelled images")


def scored_detections(
    detections: Sequence[Detections], matches: Sequence[ImageMatches]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return confidence and true-positive flag of each scored detection of all images."""
    confidences = [one.confidences[match.scored] for one, match in zip(detections, matches, strict=True)]
    return np.concatenate(confidences), np.concatenate([match.hits[match.scored] for match in matches])


def refuse_unrelated(dataset: Dataset, labels: frozenset[str]) -> None:
    """Refuse a dataset that has no label in common with the model.

    Args:
        dataset: the dataset.
        labels: labels of the model.

    Raises:
        InputError: there is no common label.
    """
    if dataset.labels and labels.isdisjoint(dataset.labels):
        shown = ", ".join(sorted(labels - {"???"})[:10]) + (", …" if len(labels) > 10 else "")
        raise InputError(
            f"{dataset.name} is labelled {', '.join(dataset.labels)}, but the classes of the model are {shown}: "
            "give a dataset with a label in common"
        )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value

"""Measures a detector on a dataset: average precision, precision and recall at a threshold, errors, time."""

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
    """Whatever finds things in an image: `beeagent.detection.Detector`, a Keras model behind a wrapper."""

    def detect(self, pixels: NDArray[np.uint8], /) -> Detections:
        """Find what is in an image: uint8, shape (height, width, 3), BGR.

        Average precision needs the weak detections too: the detector's own threshold must be near 0.
        """
        ...


PRECISIONS = (0.9, 0.99)
"""At which the best recall is reported."""


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """Figures of the objects of one size.

    Attributes:
        size: name of the range in pixels, one of `SIZE_RANGES`.
        boxes: number of objects; those left out are not counted.
        found: how many of them were found at the threshold.
        ap: mean over IoU 0.50 to 0.95; None without an object.
        ap50: at IoU 0.5; None without an object.
        errors: number of errors of each kind at the threshold; see `ErrorBreakdown`.
    """

    size: str
    boxes: int
    found: int
    ap: float | None
    ap50: float | None
    errors: dict[ErrorKind, int]

    @property
    def recall(self) -> float | None:
        """Share of the objects that were found at the threshold; None without an object."""
        return self.found / self.boxes if self.boxes else None

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
    """What was measured.

    Attributes:
        dataset: the dataset.
        found: the detections in each of its images.
        metrics: COCO's figures and matches.
        curve: precision and recall over the threshold at IoU 0.5, all classes taken together.
        point: the threshold that was chosen and what it leads to.
        errors: the errors at that threshold.
        seconds: float64, shape (n,): what each image took, from pixels to detections; None where nothing ran.
        input_size: width and height of the network's input, in which sizes are measured; None: in pixels of the image.
        min_size: objects of a smaller size are left out, in pixels; 0 for none.
    """

    dataset: Dataset
    found: tuple[Detections, ...]
    metrics: CocoMetrics
    curve: Curve
    point: OperatingPoint
    errors: ErrorBreakdown
    seconds: NDArray[np.float64] | None
    input_size: tuple[int, int] | None
    min_size: float

    @property
    def left_out(self) -> int:
        """Number of objects that were too small."""
        return sum(int(match.ignored.sum()) for match in self.metrics.matches)

    @property
    def images_without_boxes(self) -> int:
        """Number of images in which nothing is to be found."""
        return sum(not len(image.boxes) for image in self.dataset.images)

    @property
    def alarms_without_boxes(self) -> NDArray[np.float32]:
        """Confidences of the detections in images without any box, weak ones too, in no order."""
        alarms = [
            detections.confidences[match.scored]
            for image, detections, match in zip(self.dataset.images, self.found, self.metrics.matches, strict=True)
            if not len(image.boxes)
        ]
        return np.concatenate([np.zeros(0, np.float32), *alarms])

    @property
    def false_alarms_per_image(self) -> float | None:
        """Detections from the threshold on per image without any box; None if every image has one."""
        if not self.images_without_boxes:
            return None
        alarms = self.alarms_without_boxes >= np.float32(self.point.threshold)
        return int(alarms.sum()) / self.images_without_boxes

    def reliability(self, *, from_confidence: float = 0.0) -> ReliabilityCurve:
        """Return how often detections of each confidence, from one on, are right."""
        confidences, right = scored_detections(self.found, self.metrics.matches)
        chosen = confidences >= np.float32(from_confidence)
        return reliability_curve(confidences[chosen], right[chosen])

    def at(self, choice: ThresholdChoice) -> "Evaluation":
        """Return the same evaluation at another threshold."""
        point = choose_threshold(self.curve, choice)
        return replace(
            self,
            point=point,
            errors=break_down_errors(
                self.dataset, self.found, self.metrics.matches, threshold=point.threshold, input_size=self.input_size
            ),
        )

    @property
    def best_f1(self) -> OperatingPoint:
        """The threshold with the best F1 on this very dataset."""
        return choose_threshold(self.curve, ThresholdChoice())

    def at_precision(self, precision: float) -> OperatingPoint | None:
        """Return the threshold with the best recall at this precision or more, 0 to 1; None if there is none."""
        point = choose_threshold(self.curve, ThresholdChoice(precision_floor=precision))
        return point if point.floors_kept and point.true_positives else None

    @property
    def by_size(self) -> tuple[SizeFigures, ...]:
        """Figures of the objects of each size."""
        boxes, found = np.zeros((2, len(SIZE_RANGES)), np.int64)
        for image, match in zip(self.dataset.images, self.metrics.matches, strict=True):
            ranges = size_range(sizes_at_input(image.boxes, image, self.input_size))
            boxes += np.bincount(ranges[~match.ignored], minlength=len(SIZE_RANGES))
            found += np.bincount(ranges[match.found(self.point.threshold)], minlength=len(SIZE_RANGES))
        return tuple(
            SizeFigures(
                size=size,
                boxes=int(boxes[index]),
                found=int(found[index]),
                ap=self.metrics.ap_by_size[size],
                ap50=self.metrics.ap50_by_size[size],
                errors={kind: int(self.errors.by_size[kind][index]) for kind in ErrorKind},
            )
            for index, (size, _, _) in enumerate(SIZE_RANGES)
        )

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON values; None where undefined without an object."""
        some = self.curve.truths > 0
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
            **{name: getattr(self.point, name) if some else None for name in ("precision", "recall", "f1")},
            "true_positives": self.point.true_positives,
            "false_positives": self.point.false_positives,
            "false_negatives": self.point.false_negatives,
            "false_alarms_per_image_without_boxes": self.false_alarms_per_image,
            "best_f1": {"f1": best.f1, "threshold": best.threshold} if some else None,
            "recall_at_precision": {f"{one:g}": self._recall_at(one) for one in PRECISIONS} if some else None,
            "calibration": self._calibration(),
            "errors": {kind.value: self.errors.total(kind) for kind in ErrorKind},
            "size_measured_in": "pixels of the image" if self.input_size is None else "pixels of the model's input",
            "by_size": [figures.to_json() for figures in self.by_size],
            "curve": {
                "threshold": self.curve.thresholds.tolist(),
                "precision": self.curve.precision.tolist(),
                "recall": self.curve.recall.tolist() if some else None,
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


def evaluate(  # noqa: PLR0913 - each a choice of its own
    detector: ImageDetector,
    dataset: Dataset,
    *,
    choice: ThresholdChoice,
    input_size: tuple[int, int] | None = None,
    min_size: float = 0,
    progress: Callable[[], object] | None = None,
) -> Evaluation:
    """Run a detector over a dataset and measure what it finds.

    Args:
        detector: with its own threshold near 0.
        dataset: the images and boxes. One without any box is measured by its false alarms.
        choice: how to choose the threshold.
        input_size: width and height of the network's input, for figures by size; None measures in image pixels.
        min_size: objects of a smaller size, the square root of the area, are ignored; in those pixels.
        progress: called after each image.

    Raises:
        InputError: an image cannot be decoded, or the dataset has no label in common with what was found.
    """
    found: list[Detections] = []
    seconds: list[float] = []
    for image in dataset.images:
        pixels = load_image(image)
        start = time.perf_counter()
        found.append(detector.detect(pixels))
        seconds.append(time.perf_counter() - start)
        if len(found) == 1:
            # Better now than after an hour.
            refuse_unrelated(dataset, frozenset(found[0].labels))
        if progress is not None:
            progress()
    return measure(dataset, found, choice=choice, input_size=input_size, min_size=min_size, seconds=np.array(seconds))


def measure(  # noqa: PLR0913 - each a choice of its own
    dataset: Dataset,
    found: Sequence[Detections],
    *,
    choice: ThresholdChoice,
    input_size: tuple[int, int] | None = None,
    min_size: float = 0,
    seconds: NDArray[np.float64] | None = None,
) -> Evaluation:
    """Measure what was found in the images of a dataset; arguments as in `evaluate`.

    Raises:
        InputError: the dataset has no label in common with what was found.
        ValueError: there are not as many results as images.
    """
    known = frozenset(label for detections in found for label in detections.labels)
    if not dataset.labels:
        # Nothing but images without an object: whatever the model finds is a false alarm.
        dataset = replace(dataset, labels=tuple(sorted(known)))
    refuse_unrelated(dataset, known)
    metrics = coco_metrics(dataset, found, input_size=input_size, min_size=min_size)
    truths = sum(int((~match.ignored).sum()) for match in metrics.matches)
    curve = precision_recall_curve(*scored_detections(found, metrics.matches), truths=truths)
    point = choose_threshold(curve, choice)
    return Evaluation(
        dataset=dataset,
        found=tuple(found),
        metrics=metrics,
        curve=curve,
        point=point,
        errors=break_down_errors(dataset, found, metrics.matches, threshold=point.threshold, input_size=input_size),
        seconds=seconds,
        input_size=input_size,
        min_size=min_size,
    )


def refuse_without_boxes(dataset: Dataset) -> None:
    """Refuse a dataset that only has images without an object, where figures about objects are needed.

    Raises:
        InputError: it has no box.
    """
    if not any(len(image.boxes) for image in dataset.images):
        raise InputError(f"{dataset.name}: not one of its {len(dataset.images)} images has a box: nothing to measure")


def scored_detections(
    found: Sequence[Detections], matches: Sequence[ImageMatches]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return confidence, and whether it matched an object, of each detection that counts, all images together."""
    confidences = [one.confidences[match.scored] for one, match in zip(found, matches, strict=True)]
    return np.concatenate(confidences), np.concatenate([match.hits[match.scored] for match in matches])


def refuse_unrelated(dataset: Dataset, labels: frozenset[str]) -> None:
    """Refuse to measure a model on a dataset whose labels it does not know.

    Args:
        dataset: the dataset.
        labels: those that the model knows.

    Raises:
        InputError: they have no label in common.
    """
    if dataset.labels and labels.isdisjoint(dataset.labels):
        shown = ", ".join(sorted(labels - {"???"})[:10]) + (", …" if len(labels) > 10 else "")
        raise InputError(
            f"{dataset.name} is labelled {', '.join(dataset.labels)}, but the model knows {shown}: "
            "they have no label in common"
        )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value

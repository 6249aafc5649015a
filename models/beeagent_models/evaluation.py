"""Measures a detector on a data set: average precision, precision and recall at a threshold, time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from beeagent.detection.detections import Detections
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.coco_metrics import CocoMetrics, coco_metrics
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.image_files import load_image
from beeagent_models.operating_point import (
    Curve,
    OperatingPoint,
    ThresholdChoice,
    choose_threshold,
    precision_recall_curve,
)


class PictureDetector(Protocol):
    """Whatever finds things in a picture: `beeagent.detection.detector.Detector`, a Keras model behind a wrapper."""

    def detect(self, pixels: NDArray[np.uint8]) -> Detections:
        """Find what is in a picture: uint8, shape (height, width, 3), BGR.

        Average precision needs the weak detections too: the detector's own threshold must be near 0.
        """
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    Attributes:
        dataset: the data set.
        found: the detections in each of its pictures.
        metrics: COCO's figures and matches.
        curve: precision and recall over the threshold at IoU 0.5, all classes taken together.
        point: the threshold that was chosen and what it leads to.
        seconds: float64, shape (n,): what each picture took, from pixels to detections; None where nothing ran.
    """

    dataset: Dataset
    found: tuple[Detections, ...]
    metrics: CocoMetrics
    curve: Curve
    point: OperatingPoint
    seconds: NDArray[np.float64] | None

    def to_json(self) -> dict[str, Any]:
        """Give all figures in a form that `json.dumps` takes."""
        figures: dict[str, Any] = {
            "dataset": self.dataset.name,
            "images": len(self.dataset.images),
            "boxes": self.curve.truths,
            "labels": list(self.dataset.labels),
            "ap": self.metrics.ap,
            "ap50": self.metrics.ap50,
            "ap75": self.metrics.ap75,
            "ap_by_size": self.metrics.ap_by_size,
            "ap50_by_label": self.metrics.ap50_by_label,
            "threshold": self.point.threshold,
            "threshold_chosen_by": self.point.chosen_by,
            "floors_kept": self.point.floors_kept,
            "precision": self.point.precision,
            "recall": self.point.recall,
            "f1": self.point.f1,
            "true_positives": self.point.true_positives,
            "false_positives": self.point.false_positives,
            "false_negatives": self.point.false_negatives,
            "curve": {
                "threshold": self.curve.thresholds.tolist(),
                "precision": self.curve.precision.tolist(),
                "recall": self.curve.recall.tolist(),
            },
        }
        if self.seconds is not None:
            figures["milliseconds_per_image"] = {
                "median": float(np.median(self.seconds)) * 1e3,
                "percentile_95": float(np.percentile(self.seconds, 95)) * 1e3,
            }
        return figures


def evaluate(
    detector: PictureDetector,
    dataset: Dataset,
    *,
    choice: ThresholdChoice,
    input_size: tuple[int, int] | None = None,
    progress: Callable[[], object] | None = None,
) -> Evaluation:
    """Run a detector over a data set and measure what it finds.

    Args:
        detector: with its own threshold near 0.
        dataset: the pictures and boxes.
        choice: how to choose the threshold.
        input_size: width and height of the network's input, for figures by size; None measures in picture pixels.
        progress: called after each picture.

    Raises:
        InputError: a picture cannot be decoded, the data set has no box, or no label in common with what was
            found.
    """
    found: list[Detections] = []
    seconds: list[float] = []
    for image in dataset.images:
        pixels = read_picture(image)
        start = time.perf_counter()
        found.append(detector.detect(pixels))
        seconds.append(time.perf_counter() - start)
        if len(found) == 1:
            # Better now than after an hour.
            refuse_unrelated(dataset, frozenset(found[0].labels))
        if progress is not None:
            progress()
    return measure(dataset, found, choice=choice, input_size=input_size, seconds=np.array(seconds))


def measure(
    dataset: Dataset,
    found: Sequence[Detections],
    *,
    choice: ThresholdChoice,
    input_size: tuple[int, int] | None = None,
    seconds: NDArray[np.float64] | None = None,
) -> Evaluation:
    """Measure what was found in the pictures of a data set; arguments as in `evaluate`.

    Raises:
        InputError: the data set has no box, or no label in common with what was found.
        ValueError: there are not as many results as pictures.
    """
    truths = sum(len(image.boxes) for image in dataset.images)
    if not truths:
        raise InputError(f"{dataset.name}: not one of its {len(dataset.images)} pictures has a box: nothing to measure")
    refuse_unrelated(dataset, frozenset(label for detections in found for label in detections.labels))
    metrics = coco_metrics(dataset, found, input_size=input_size)
    confidences = [d.confidences[m.scored] for d, m in zip(found, metrics.matches, strict=True)]
    hits = [match.hits[match.scored] for match in metrics.matches]
    curve = precision_recall_curve(np.concatenate(confidences), np.concatenate(hits), truths=truths)
    return Evaluation(
        dataset=dataset,
        found=tuple(found),
        metrics=metrics,
        curve=curve,
        point=choose_threshold(curve, choice),
        seconds=seconds,
    )


def refuse_unrelated(dataset: Dataset, labels: frozenset[str]) -> None:
    """Refuse to measure a model on a data set whose labels it does not know.

    Args:
        dataset: the data set.
        labels: those that the model knows.

    Raises:
        InputError: they have no label in common.
    """
    if labels.isdisjoint(dataset.labels):
        shown = ", ".join(sorted(labels - {"???"})[:10]) + (", …" if len(labels) > 10 else "")
        raise InputError(
            f"{dataset.name} is labelled {', '.join(dataset.labels)}, but the model knows {shown}: "
            "they have no label in common"
        )


def read_picture(image: LabelledImage) -> NDArray[np.uint8]:
    """Load a data set's picture.

    Returns:
        uint8, shape (height, width, 3), BGR, upright.

    Raises:
        InputError: it cannot be decoded, or no longer has the size that the data set says.
    """
    return load_image(image)

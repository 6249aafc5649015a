"""Compares contenders on one dataset: metrics, agreement, price."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from beeagent.detection import Detections
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.comparison.contenders import Findings
from beeagent_models.datasets import Dataset, LabelledImage
from beeagent_models.evaluation import (
    Evaluation,
    OperatingPoint,
    ThresholdChoice,
    choose_threshold,
    measure,
    refuse_without_boxes,
)
from beeagent_models.evaluation.coco_metrics import coco_metrics


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two contenders at the thresholds of their evaluations and IoU 0.5.

    Attributes:
        first: index of the first contender.
        second: index of the second contender.
        both: number of ground-truth boxes that both detected.
        first_alone: number of boxes that only the first detected.
        second_alone: number of boxes that only the second detected.
        neither: number of boxes that neither detected.
        apart: int64, shape (n,): number of detections per image that only one of them has, true or false positives.
    """

    first: int
    second: int
    both: int
    first_alone: int
    second_alone: int
    neither: int
    apart: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Share of the boxes detected by either that both detected; 1 if there is none."""
        either = self.both + self.first_alone + self.second_alone
        return self.both / either if either else 1.0


def agreement(evaluations: tuple[Evaluation, ...], first: int, second: int) -> Agreement:
    """Return the agreement of two evaluations of one dataset.

    Args:
        evaluations: the evaluations of all contenders.
        first: index of the first contender.
        second: index of the second contender.
    """
    one, other = evaluations[first], evaluations[second]
    by_first, by_second = (
        np.concatenate([match.matched(evaluation.point.threshold) for match in evaluation.metrics.matches])
        for evaluation in (one, other)
    )
    return Agreement(
        first=first,
        second=second,
        both=int((by_first & by_second).sum()),
        first_alone=int((by_first & ~by_second).sum()),
        second_alone=int((by_second & ~by_first).sum()),
        neither=int((~by_first & ~by_second).sum()),
        apart=_apart(one, other),
    )


def _apart(one: Evaluation, other: Evaluation) -> NDArray[np.int64]:
    """Return the number of unmatched detections per image, with those of one evaluation as ground truth."""
    dataset, reference = one.dataset, _at_threshold(one)
    images = tuple(
        _labelled_by(detections, image, dataset) for detections, image in zip(reference, dataset.images, strict=True)
    )
    matches = coco_metrics(Dataset(dataset.name, images, dataset.labels), _at_threshold(other)).matches
    return np.array([int((~match.matched(0.0)).sum()) + int((~match.hits).sum()) for match in matches], np.int64)


def _at_threshold(evaluation: Evaluation) -> list[Detections]:
    """Return the scored detections of each image at the threshold."""
    result = []
    for one, match in zip(evaluation.detections, evaluation.metrics.matches, strict=True):
        kept = match.scored & (one.confidences >= np.float32(evaluation.point.threshold))
        result.append(Detections(one.boxes[kept], one.confidences[kept], one.class_ids[kept], one.labels))
    return result


def _labelled_by(detections: Detections, image: LabelledImage, dataset: Dataset) -> LabelledImage:
    size = np.array([image.width, image.height] * 2, np.float32)
    ids = [dataset.labels.index(detections.label(index)) for index in range(len(detections))]
    return LabelledImage(image.path, image.width, image.height, detections.boxes * size, np.array(ids, np.int64))


@dataclass(frozen=True, slots=True)
class Reference:
    """A model of the article; precision and recall, 0 to 1, are on the article's dataset."""

    name: str
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


ARTICLE: Final = (Reference("article: cloud", 0.99, 0.90), Reference("article: device", 0.83, 0.56))
"""The article's Rekognition Custom Labels model and its EfficientDet, on its dataset."""


IOU: Final = 0.5


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a cloud model, which is billed per hour while it runs, with or without calls.

    Attributes:
        hourly: US dollars per hour of the running model with all its inference units.
        images_per_hour: number of images sent per hour; None for the measured rate of consecutive calls.

    Raises:
        InputError: a value is out of range.
    """

    hourly: float
    images_per_hour: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.hourly <= 100_000:
            raise InputError(f"--hourly-price is {self.hourly:g}: allowed are 0 to 100000 US dollars")
        if self.images_per_hour is not None and not 0 < self.images_per_hour <= 1e9:
            raise InputError(f"--images-per-hour is {self.images_per_hour:g}: allowed is more than 0")

    def per_thousand(self, findings: Findings) -> float | None:
        """Return US dollars per 1,000 images; None if the number of images per hour is unknown."""
        if not findings.in_cloud:
            return 0.0
        rate = self.images_per_hour
        if rate is None and findings.seconds is not None and findings.seconds.sum() > 0:
            rate = 3600 / float(findings.seconds.mean())
        return None if rate is None else 1000 * self.hourly / rate


@dataclass(frozen=True, slots=True)
class DrawingThresholds:
    """The two thresholds of the drawn detections: that of the best F1, and that of the best recall at a high precision.

    Attributes:
        precision_floor: minimum precision of the second threshold, 0 to 1.
        thresholds: two fixed thresholds for all contenders instead, 0 to 1.

    Raises:
        InputError: a value is out of range.
    """

    precision_floor: float = 0.9
    thresholds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _ = self.choices

    @property
    def choices(self) -> tuple[ThresholdChoice, ...]:
        """Rules of the two thresholds."""
        if self.thresholds is None:
            return (ThresholdChoice(), ThresholdChoice(precision_floor=self.precision_floor))
        return tuple(ThresholdChoice(fixed=threshold) for threshold in self.thresholds)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """Descriptions of the two thresholds."""
        if self.thresholds is None:
            return ("each at its best F1", f"each with a precision of {self.precision_floor:g} or more")
        return tuple(f"all at {threshold:g}" for threshold in self.thresholds)


@dataclass(frozen=True, slots=True)
class Contender:
    """A contender with its evaluation.

    Attributes:
        findings: detections, times and sizes.
        evaluation: evaluation at the threshold with the best F1.
        points: thresholds of the drawn detections.
        price: US dollars per 1,000 images; None if unknown.
    """

    findings: Findings
    evaluation: Evaluation
    points: tuple[OperatingPoint, ...]
    price: float | None

    @property
    def name(self) -> str:
        """Name of the contender."""
        return self.findings.name

    @property
    def milliseconds(self) -> float | None:
        """Median processing time of an image; None if unknown."""
        seconds = self.findings.seconds
        return None if seconds is None else 1e3 * float(np.median(seconds))

    @property
    def sent(self) -> float:
        """Mean number of bytes sent per image."""
        return float(self.findings.sent.mean())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of several contenders on one dataset.

    Attributes:
        dataset: images with ground truth.
        contenders: the contenders in the order of the options.
        agreements: agreement of each pair.
        drawing: thresholds of the drawn detections.
        prices: price of a cloud model.
    """

    dataset: Dataset
    contenders: tuple[Contender, ...]
    agreements: tuple[Agreement, ...]
    drawing: DrawingThresholds
    prices: Price

    def most_apart(self, limit: int) -> list[int]:
        """Return the indices of at most `limit` images with the most disagreement."""
        order = sorted(range(len(self.dataset.images)), key=lambda index: -self.apart(index))
        return [index for index in order[:limit] if self.apart(index)]

    def apart(self, index: int) -> int:
        """Return the number of detections in an image that only one of a pair has, over all pairs."""
        return sum(int(pair.apart[index]) for pair in self.agreements)

    def to_json(self, *, limit: int) -> dict[str, Any]:
        """Return all metrics as JSON values.

        Args:
            limit: maximum number of images with disagreement to list.
        """
        return {
            "dataset": self.dataset.name,
            "images": len(self.dataset.images),
            "boxes": sum(len(image.boxes) for image in self.dataset.images),
            "iou": IOU,
            "hourly_price_usd": self.prices.hourly,
            "images_per_hour": self.prices.images_per_hour,
            "models": [_figures(contender) for contender in self.contenders],
            "agreement": [
                {
                    "models": [self.contenders[pair.first].name, self.contenders[pair.second].name],
                    "both": pair.both,
                    "first_alone": pair.first_alone,
                    "second_alone": pair.second_alone,
                    "neither": pair.neither,
                    "share_both_found": pair.share,
                }
                for pair in self.agreements
            ],
            "most_apart": [
                {"image": str(self.dataset.images[index].path), "detections_apart": self.apart(index)}
                for index in self.most_apart(limit)
            ],
        }


def compare(dataset: Dataset, findings: Sequence[Findings], *, prices: Price, drawing: DrawingThresholds) -> Comparison:
    """Evaluate and compare the detections of several contenders.

    Args:
        dataset: images with ground truth.
        findings: results of two or more contenders on all images.
        prices: price of a cloud model.
        drawing: thresholds of the drawn detections.

    Raises:
        InputError: the dataset has no box, or no label in common with a contender.
    """
    refuse_without_boxes(dataset)
    contenders = []
    for one in findings:
        try:
            evaluation = measure(dataset, one.detections, choice=ThresholdChoice(), seconds=one.seconds)
        except InputError as error:
            raise InputError(f"{one.name}: {error}") from None
        points = tuple(choose_threshold(evaluation.curve, choice) for choice in drawing.choices)
        contenders.append(Contender(one, evaluation, points, prices.per_thousand(one)))
    evaluations = tuple(contender.evaluation for contender in contenders)
    pairs = combinations(range(len(contenders)), 2)
    return Comparison(
        dataset=dataset,
        contenders=tuple(contenders),
        agreements=tuple(agreement(evaluations, first, second) for first, second in pairs),
        drawing=drawing,
        prices=prices,
    )


def _figures(contender: Contender) -> dict[str, Any]:
    evaluation = contender.evaluation.to_json()
    for key in ("dataset", "images", "boxes", "labels", "floors_kept"):
        del evaluation[key]
    return {
        "name": contender.name,
        "kind": contender.findings.kind,
        **evaluation,
        "bytes_sent_per_image": contender.sent,
        "usd_per_1000_images": contender.price,
    }

"""Compares contenders on one dataset: figures, agreement, price."""

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
    """Two contenders, each at the threshold that its evaluation chose, at IoU 0.5.

    Attributes:
        first: which contender.
        second: which other one.
        both: labelled boxes that both found.
        first_alone: those that only the first found.
        second_alone: those that only the second found.
        neither: those that none of them found.
        apart: int64, shape (n,): in each image, detections that only one of the two has, right or wrong.
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
        """Share of the labelled boxes that any of the two found which both found; 1 where none found one."""
        found = self.both + self.first_alone + self.second_alone
        return self.both / found if found else 1.0


def agreement(evaluations: tuple[Evaluation, ...], first: int, second: int) -> Agreement:
    """Compare two evaluations of one dataset.

    Args:
        evaluations: all of them.
        first: which one.
        second: which other one.
    """
    one, other = evaluations[first], evaluations[second]
    ours, theirs = (
        np.concatenate([match.matched(evaluation.point.threshold) for match in evaluation.metrics.matches])
        for evaluation in (one, other)
    )
    return Agreement(
        first=first,
        second=second,
        both=int((ours & theirs).sum()),
        first_alone=int((ours & ~theirs).sum()),
        second_alone=int((theirs & ~ours).sum()),
        neither=int((~ours & ~theirs).sum()),
        apart=_apart(one, other),
    )


def _apart(one: Evaluation, other: Evaluation) -> NDArray[np.int64]:
    """Match what one found with what the other did, as if the one's were the labels."""
    dataset, ours, theirs = one.dataset, _counted(one), _counted(other)
    images = tuple(_labelled_by(found, image, dataset) for found, image in zip(ours, dataset.images, strict=True))
    matches = coco_metrics(Dataset(dataset.name, images, dataset.labels), theirs).matches
    return np.array([int((~match.matched(0.0)).sum()) + int((~match.hits).sum()) for match in matches], np.int64)


def _counted(evaluation: Evaluation) -> list[Detections]:
    """Return the detections of the dataset's classes at the chosen threshold."""
    counted = []
    for found, match in zip(evaluation.detections, evaluation.metrics.matches, strict=True):
        kept = match.scored & (found.confidences >= np.float32(evaluation.point.threshold))
        counted.append(Detections(found.boxes[kept], found.confidences[kept], found.class_ids[kept], found.labels))
    return counted


def _labelled_by(found: Detections, image: LabelledImage, dataset: Dataset) -> LabelledImage:
    size = np.array([image.width, image.height] * 2, np.float32)
    ids = [dataset.labels.index(found.label(index)) for index in range(len(found))]
    return LabelledImage(image.path, image.width, image.height, found.boxes * size, np.array(ids, np.int64))


@dataclass(frozen=True, slots=True)
class Reference:
    """A model of the article; precision and recall from 0 to 1, on the article's photographs and not on ours."""

    name: str
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


ARTICLE: Final = (Reference("article: cloud", 0.99, 0.90), Reference("article: device", 0.83, 0.56))
"""Its Rekognition Custom Labels model and its EfficientDet, on its own data."""


IOU: Final = 0.5


@dataclass(frozen=True, slots=True)
class Price:
    """What a cloud model costs: it is billed by the hour while it runs, asked or not.

    Attributes:
        hourly: US dollars for an hour of the running model, all its inference units together.
        images_per_hour: how many images it is asked about in an hour; None for as many as it answered here, one
            after the other.

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
        """Return US dollars for 1,000 images; None if the number of images per hour is unknown."""
        if not findings.in_cloud:
            return 0.0
        rate = self.images_per_hour
        if rate is None and findings.seconds is not None and findings.seconds.sum() > 0:
            rate = 3600 / float(findings.seconds.mean())
        return None if rate is None else 1000 * self.hourly / rate


@dataclass(frozen=True, slots=True)
class DrawingThresholds:
    """At which two thresholds images are shown: where F1 is best, and where recall is best at a high precision.

    Attributes:
        precision_floor: that precision, 0 to 1.
        thresholds: two for all contenders instead, 0 to 1.

    Raises:
        InputError: a value is out of range.
    """

    precision_floor: float = 0.9
    thresholds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _ = self.choices

    @property
    def choices(self) -> tuple[ThresholdChoice, ...]:
        """The two."""
        if self.thresholds is None:
            return (ThresholdChoice(), ThresholdChoice(precision_floor=self.precision_floor))
        return tuple(ThresholdChoice(fixed=threshold) for threshold in self.thresholds)

    @property
    def words(self) -> tuple[str, ...]:
        """The two, in words."""
        if self.thresholds is None:
            return ("each at its best F1", f"each with a precision of {self.precision_floor:g} or more")
        return tuple(f"all at {threshold:g}" for threshold in self.thresholds)


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared.

    Attributes:
        findings: what it found.
        evaluation: what that is worth, at the threshold with the best F1.
        points: the thresholds at which images are shown.
        price: US dollars for 1,000 images; None where that is not known.
    """

    findings: Findings
    evaluation: Evaluation
    points: tuple[OperatingPoint, ...]
    price: float | None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.findings.name

    @property
    def milliseconds(self) -> float | None:
        """What an image takes, the median; None where that is not known."""
        seconds = self.findings.seconds
        return None if seconds is None else 1e3 * float(np.median(seconds))

    @property
    def sent(self) -> float:
        """Bytes that leave the device for an image, the mean."""
        return float(self.findings.sent.mean())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several contenders on one dataset.

    Attributes:
        dataset: the images and boxes.
        contenders: in the order in which they were given.
        agreements: one for each pair.
        drawing: the thresholds at which images are shown.
        prices: how those are made.
    """

    dataset: Dataset
    contenders: tuple[Contender, ...]
    agreements: tuple[Agreement, ...]
    drawing: DrawingThresholds
    prices: Price

    def most_apart(self, limit: int) -> list[int]:
        """Return the indices of at most `limit` images with most disagreement."""
        order = sorted(range(len(self.dataset.images)), key=lambda index: -self.apart(index))
        return [index for index in order[:limit] if self.apart(index)]

    def apart(self, index: int) -> int:
        """Count the detections of an image that one of a pair has and the other has not, over all pairs."""
        return sum(int(pair.apart[index]) for pair in self.agreements)

    def to_json(self, *, limit: int) -> dict[str, Any]:
        """Return all figures as JSON values.

        Args:
            limit: maximum number of images to name, those with most disagreement.
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
    """Measure and compare what several contenders found.

    Args:
        dataset: the images and boxes.
        findings: two or more, each on all images.
        prices: what a cloud model costs.
        drawing: at which thresholds images are shown.

    Raises:
        InputError: the dataset has no box, or a contender no label in common with it.
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
    for known in ("dataset", "images", "boxes", "labels", "floors_kept"):
        del evaluation[known]
    return {
        "name": contender.name,
        "kind": contender.findings.kind,
        **evaluation,
        "bytes_sent_per_image": contender.sent,
        "usd_per_1000_images": contender.price,
    }

"""Compares detectors on one data set: the metrics of each, what each costs, how far they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from beeagent.errors import InputError

from beeagent_models.comparison.agreement import Agreement, agreement, most_apart
from beeagent_models.comparison.findings import Findings
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.evaluation import Evaluation, measure, refuse_without_boxes
from beeagent_models.operating_point import OperatingPoint, ThresholdChoice, choose_threshold

IOU: Final = 0.5


@dataclass(frozen=True, slots=True)
class Price:
    """What a cloud model costs: it is billed by the hour while it runs, asked or not.

    Attributes:
        hourly: US dollars for an hour of the running model, all its inference units together.
        images_per_hour: how many pictures it is asked about in an hour; None for as many as it answered here, one
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
        """Give US dollars for 1,000 pictures; None where nothing says how many are looked at in an hour."""
        if not findings.in_cloud:
            return 0.0
        rate = self.images_per_hour
        if rate is None and findings.seconds is not None and findings.seconds.sum() > 0:
            rate = 3600 / float(findings.seconds.mean())
        return None if rate is None else 1000 * self.hourly / rate


@dataclass(frozen=True, slots=True)
class Showing:
    """At which two thresholds pictures are shown: where F1 is best, and where recall is best at a high precision.

    Attributes:
        precision_floor: that precision, 0 to 1.
        thresholds: the two for all contenders in place of those, 0 to 1.

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
        points: the thresholds at which pictures are shown.
        price: US dollars for 1,000 pictures; None where that is not known.
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
        """What a picture takes, the median; None where that is not known."""
        seconds = self.findings.seconds
        return None if seconds is None else 1e3 * float(np.median(seconds))

    @property
    def sent(self) -> float:
        """Bytes that leave the device for a picture, the mean."""
        return float(self.findings.sent.mean())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several contenders on one data set.

    Attributes:
        dataset: the pictures and boxes.
        contenders: in the order in which they were given.
        agreements: one for each pair.
        showing: the thresholds at which pictures are shown.
        prices: how those are made.
    """

    dataset: Dataset
    contenders: tuple[Contender, ...]
    agreements: tuple[Agreement, ...]
    showing: Showing
    prices: Price

    def most_apart(self, most: int) -> list[int]:
        """Give the pictures on which the contenders differ most, at most so many."""
        return most_apart(self.agreements, most)

    def apart(self, index: int) -> int:
        """Count the detections of a picture that one of a pair has and the other has not, over all pairs."""
        return sum(int(pair.apart[index]) for pair in self.agreements)

    def to_json(self, *, most: int) -> dict[str, Any]:
        """Give all figures in a form that `json.dumps` takes.

        Args:
            most: of how many pictures to tell on which the contenders differ most.
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
                for index in self.most_apart(most)
            ],
        }


def compare(dataset: Dataset, findings: Sequence[Findings], *, prices: Price, showing: Showing) -> Comparison:
    """Measure and compare what several contenders found.

    Args:
        dataset: the pictures and boxes.
        findings: two or more, each on all pictures.
        prices: what a cloud model costs.
        showing: at which thresholds pictures are shown.

    Raises:
        InputError: the data set has no box, or a contender no label in common with it.
    """
    refuse_without_boxes(dataset)
    contenders = []
    for one in findings:
        try:
            evaluation = measure(dataset, one.found, choice=ThresholdChoice(), seconds=one.seconds)
        except InputError as error:
            raise InputError(f"{one.name}: {error}") from None
        points = tuple(choose_threshold(evaluation.curve, choice) for choice in showing.choices)
        contenders.append(Contender(one, evaluation, points, prices.per_thousand(one)))
    evaluations = tuple(contender.evaluation for contender in contenders)
    pairs = combinations(range(len(contenders)), 2)
    return Comparison(
        dataset=dataset,
        contenders=tuple(contenders),
        agreements=tuple(agreement(evaluations, first, second) for first, second in pairs),
        showing=showing,
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

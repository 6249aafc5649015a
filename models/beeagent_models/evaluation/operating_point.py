"""Precision-recall curve, and the choice of the confidence threshold on it."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision-recall curve with a point for each distinct confidence.

    Attributes:
        thresholds: float64, shape (n,), strictly descending.
        true_positives: int64, shape (n,): number of true positives at the threshold.
        false_positives: int64, shape (n,): number of false positives at the threshold.
        truths: number of ground-truth boxes.
    """

    thresholds: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    truths: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the detections that matched a box, shape (n,)."""
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the boxes that a detection matched, shape (n,); 0 without a box."""
        return self.true_positives / max(self.truths, 1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall, shape (n,)."""
        return 2 * self.true_positives / (self.true_positives + self.false_positives + self.truths)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChoice:
    """Rule for the threshold; by default the best F1.

    Attributes:
        fixed: fixed threshold, 0 to 1; excludes the floors.
        precision_floor: minimum precision, 0 to 1; the threshold with the best recall is chosen.
        recall_floor: minimum recall, 0 to 1; the threshold with the best precision is chosen. With both floors, the
            threshold with the best F1 is chosen.
        certainty: confidence level of the precision floor, above 0.5 and below 1: the lower bound of Wilson's interval
            is compared with the floor. None to compare the measured precision, which may be too high by chance.
        fixed_by: origin of `fixed`, for reports.
        floors_kept: False if `fixed` was chosen because no threshold keeps the floors.

    Raises:
        InputError: a value is out of range, `fixed` is combined with a floor, or there is no precision floor for the
            certainty.
    """

    fixed: float | None = None
    precision_floor: float | None = None
    recall_floor: float | None = None
    certainty: float | None = None
    fixed_by: str = "given"
    floors_kept: bool = True

    def __post_init__(self) -> None:
        ratios = {"threshold": self.fixed, "precision floor": self.precision_floor, "recall floor": self.recall_floor}
        for name, value in ratios.items():
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}: allowed are 0 to 1")
        if self.fixed is not None and (self.precision_floor is not None or self.recall_floor is not None):
            raise InputError("a threshold and a floor exclude each other: give one of the two")
        if self.certainty is not None:
            if not 0.5 < self.certainty < 1:
                raise InputError(f"certainty is {self.certainty}: allowed is more than 0.5 and less than 1")
            if self.precision_floor is None:
                raise InputError("a certainty needs a precision floor: give both")

    def describe_floors(self) -> str:
        """Return the floors as text, such as `precision >= 0.9 and recall >= 0.5`; empty without a floor."""
        certain = f" ({self.certainty * 100:g} % certain)" if self.certainty is not None else ""
        floors = (("precision", self.precision_floor, certain), ("recall", self.recall_floor, ""))
        return " and ".join(f"{name} >= {floor:g}{more}" for name, floor, more in floors if floor is not None)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold with its counts at IoU 0.5.

    Attributes:
        threshold: minimum confidence of a detection.
        chosen_by: description of the rule.
        floors_kept: False if no threshold keeps the floors and the best F1 was chosen instead.
        true_positives: number of detections that matched a box.
        false_positives: number of detections that matched no box.
        false_negatives: number of boxes without a matching detection.
    """

    threshold: float
    chosen_by: str
    floors_kept: bool
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """Share of the detections that matched a box; 0 without a detection."""
        return self.true_positives / max(self.true_positives + self.false_positives, 1)

    @property
    def recall(self) -> float:
        """Share of the boxes that a detection matched."""
        return self.true_positives / max(self.true_positives + self.false_negatives, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.true_positives / max(2 * self.true_positives + self.false_positives + self.false_negatives, 1)


def precision_recall_curve(confidences: NDArray[np.floating], hits: NDArray[np.bool_], *, truths: int) -> Curve:
    """Return the precision-recall curve of detections.

    Args:
        confidences: confidence of each detection, shape (n,), in any order.
        hits: bool, shape (n,): True for true positives.
        truths: number of ground-truth boxes.
    """
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = confidences[order].astype(np.float64)
    # No threshold separates detections of equal confidence.
    last = np.flatnonzero(np.diff(sorted_confidences, append=-np.inf))
    true_positives = np.cumsum(hits[order], dtype=np.int64)[last]
    return Curve(
        thresholds=sorted_confidences[last],
        true_positives=true_positives,
        false_positives=last + 1 - true_positives,
        truths=truths,
    )


def choose_threshold(curve: Curve, choice: ThresholdChoice) -> OperatingPoint:
    """Choose the threshold and return it with its counts.

    A threshold that is not fixed is midway between the confidences of the weakest detection above and the strongest one
    below it, so that rounding differences between computers have no effect.
    """
    if choice.fixed is not None:
        # The detector compares in float32, the type of its confidences.
        index = int(np.searchsorted(-curve.thresholds, -float(np.float32(choice.fixed)), side="right")) - 1
        return _point(curve, index, threshold=choice.fixed, chosen_by=choice.fixed_by, floors_kept=choice.floors_kept)
    floors = choice.describe_floors()
    if not len(curve.thresholds):
        return _point(curve, -1, threshold=0.5, chosen_by="no detections", floors_kept=not floors)
    precision, recall, f1 = curve.precision, curve.recall, curve.f1
    kept = keeps_precision(curve.true_positives, curve.false_positives, choice)
    kept &= recall >= (choice.recall_floor or 0)
    if floors and not kept.any():
        chosen_by = f"best F1, because no threshold has {floors}"
        return _midway(curve, int(np.argmax(f1)), chosen_by=chosen_by, floors_kept=False)
    if choice.precision_floor is not None and choice.recall_floor is None:
        goal, tie, name = recall, precision, "best recall"
    elif choice.recall_floor is not None and choice.precision_floor is None:
        goal, tie, name = precision, recall, "best precision"
    else:
        goal, tie, name = f1, precision, "best F1"
    candidates = np.flatnonzero(kept)
    best = candidates[np.lexsort((tie[candidates], goal[candidates]))[-1]]
    chosen_by = f"{name} with {floors}" if floors else name
    return _midway(curve, int(best), chosen_by=chosen_by, floors_kept=True)


def keeps_precision(
    true_positives: NDArray[np.int64], false_positives: NDArray[np.int64], choice: ThresholdChoice
) -> NDArray[np.bool_]:
    """Return True for thresholds that keep the precision floor.

    Args:
        true_positives: shape (n,): number of true positives at each threshold.
        false_positives: shape (n,): number of false positives at each threshold.
        choice: precision floor and certainty; without a floor, the result is True.
    """
    if choice.precision_floor is None:
        return np.ones(len(true_positives), np.bool_)
    count = true_positives + false_positives
    if choice.certainty is not None:
        return np.asarray(wilson_lower_bound(true_positives, count, choice.certainty) >= choice.precision_floor)
    return np.asarray((count > 0) & (true_positives / np.maximum(count, 1) >= choice.precision_floor))


def wilson_lower_bound(
    successes: NDArray[np.int64], trials: NDArray[np.int64], certainty: float
) -> NDArray[np.float64]:
    """Return the lower bound of Wilson's one-sided interval of a proportion, 0 to 1.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927. It assumes independent trials;
    detections in one image are not quite independent, so with few images the true interval is wider.

    Args:
        successes: shape (n,): number of successes.
        trials: shape (n,): number of trials; without a trial, the bound is 0.
        certainty: confidence level, 0.5 to 1.
    """
    z = NormalDist().inv_cdf(certainty)
    number = np.maximum(trials, 1)
    share = successes / number
    center = share + z**2 / (2 * number)
    margin = z * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return np.asarray(np.where(trials > 0, np.maximum((center - margin) / (1 + z**2 / number), 0), 0))


def _midway(curve: Curve, index: int, *, chosen_by: str, floors_kept: bool) -> OperatingPoint:
    weakest = float(curve.thresholds[index])
    next_weaker = float(curve.thresholds[index + 1]) if index + 1 < len(curve.thresholds) else weakest
    threshold = (weakest + next_weaker) / 2
    return _point(curve, index, threshold=threshold, chosen_by=chosen_by, floors_kept=floors_kept)


def _point(curve: Curve, index: int, *, threshold: float, chosen_by: str, floors_kept: bool) -> OperatingPoint:
    hits = int(curve.true_positives[index]) if index >= 0 else 0
    return OperatingPoint(
        threshold=threshold,
        chosen_by=chosen_by,
        floors_kept=floors_kept,
        true_positives=hits,
        false_positives=int(curve.false_positives[index]) if index >= 0 else 0,
        false_negatives=curve.truths - hits,
    )

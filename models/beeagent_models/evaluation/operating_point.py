"""Choosing the minimum confidence of a detection, on a precision-recall curve."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall at every confidence that occurs, the highest first.

    Attributes:
        thresholds: float64, shape (n,), descending, each value once.
        true_positives: int64, shape (n,): detections of that confidence or more that matched a box.
        false_positives: int64, shape (n,): those that matched none.
        truths: number of boxes.
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
    """How to choose the threshold; with nothing given, where F1 is best.

    Attributes:
        fixed: this very value, 0 to 1; excludes the floors.
        precision_floor: at least this precision, 0 to 1, and among those the best recall.
        recall_floor: at least this recall, 0 to 1, and among those the best precision. With both floors, the
            best F1 among those that keep both.
        certainty: confidence level, above 0.5 and below 1, at which the precision floor is kept: by the lower end of
            Wilson's interval instead of by the precision that was measured, which may be luck. None for the latter.
        fixed_by: where `fixed` comes from, in words.
        floors_kept: False where `fixed` was chosen instead of one that keeps the floors.

    Raises:
        InputError: a value is out of range, `fixed` does not stand alone, or a certainty has no precision floor.
    """

    fixed: float | None = None
    precision_floor: float | None = None
    recall_floor: float | None = None
    certainty: float | None = None
    fixed_by: str = "given"
    floors_kept: bool = True

    def __post_init__(self) -> None:
        given = {"threshold": self.fixed, "precision floor": self.precision_floor, "recall floor": self.recall_floor}
        for name, value in given.items():
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}: allowed are 0 to 1")
        if self.fixed is not None and (self.precision_floor is not None or self.recall_floor is not None):
            raise InputError("a threshold and a floor exclude each other: give one of the two")
        if self.certainty is not None:
            if not 0.5 < self.certainty < 1:
                raise InputError(f"certainty is {self.certainty}: allowed is more than 0.5 and less than 1")
            if self.precision_floor is None:
                raise InputError("a certainty is that of a precision floor: give both")

    def floors_in_words(self) -> str:
        """Return the floors in words, as in `precision >= 0.9 and recall >= 0.5`; empty without one."""
        certain = f" ({self.certainty * 100:g} % certain)" if self.certainty is not None else ""
        floors = (("precision", self.precision_floor, certain), ("recall", self.recall_floor, ""))
        return " and ".join(f"{name} >= {floor:g}{more}" for name, floor, more in floors if floor is not None)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold leads to, at IoU 0.5.

    Attributes:
        threshold: detections of this confidence or more count.
        chosen_by: how it was chosen, in words.
        floors_kept: False where no threshold keeps the floors and the best F1 was taken in their place.
        true_positives: detections that matched a box.
        false_positives: detections that matched none.
        false_negatives: boxes that no detection matched.
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
    """Count hits and false alarms from the strongest detection down.

    Args:
        confidences: shape (n,), in any order.
        hits: bool, shape (n,): whether the detection matched a box.
        truths: number of boxes.
    """
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = confidences[order].astype(np.float64)
    # Detections of one confidence come together or not at all.
    last = np.flatnonzero(np.diff(sorted_confidences, append=-np.inf))
    true_positives = np.cumsum(hits[order], dtype=np.int64)[last]
    return Curve(
        thresholds=sorted_confidences[last],
        true_positives=true_positives,
        false_positives=last + 1 - true_positives,
        truths=truths,
    )


def choose_threshold(curve: Curve, choice: ThresholdChoice) -> OperatingPoint:
    """Choose the threshold and say what it leads to.

    A threshold that is not fixed is midway between the weakest detection it lets pass and the strongest it
    does not, so that a last digit that differs from one computer to the next changes nothing.
    """
    if choice.fixed is not None:
        # The detector compares in float32, the type of its confidences.
        index = int(np.searchsorted(-curve.thresholds, -float(np.float32(choice.fixed)), side="right")) - 1
        return _point(curve, index, threshold=choice.fixed, chosen_by=choice.fixed_by, floors_kept=choice.floors_kept)
    floors = choice.floors_in_words()
    if not len(curve.thresholds):
        return _point(curve, -1, threshold=0.5, chosen_by="nothing was found", floors_kept=not floors)
    precision, recall, f1 = curve.precision, curve.recall, curve.f1
    kept = keeps_precision(curve.true_positives, curve.false_positives, choice)
    kept &= recall >= (choice.recall_floor or 0)
    if floors and not kept.any():
        chosen_by = f"best F1, for no threshold gives {floors}"
        return _midway(curve, int(np.argmax(f1)), chosen_by=chosen_by, floors_kept=False)
    if choice.precision_floor is not None and choice.recall_floor is None:
        goal, tie, aim = recall, precision, "best recall"
    elif choice.recall_floor is not None and choice.precision_floor is None:
        goal, tie, aim = precision, recall, "best precision"
    else:
        goal, tie, aim = f1, precision, "best F1"
    candidates = np.flatnonzero(kept)
    best = candidates[np.lexsort((tie[candidates], goal[candidates]))[-1]]
    chosen_by = f"{aim} with {floors}" if floors else aim
    return _midway(curve, int(best), chosen_by=chosen_by, floors_kept=True)


def keeps_precision(right: NDArray[np.int64], wrong: NDArray[np.int64], choice: ThresholdChoice) -> NDArray[np.bool_]:
    """Return for each of several thresholds whether it keeps the precision floor.

    Args:
        right: shape (n,): number of right detections at the threshold.
        wrong: shape (n,): number of wrong ones.
        choice: with the floor, and with the certainty at which it is to be kept. Without a floor all keep it.
    """
    if choice.precision_floor is None:
        return np.ones(len(right), np.bool_)
    found = right + wrong
    if choice.certainty is not None:
        return np.asarray(wilson_lower_bound(right, found, choice.certainty) >= choice.precision_floor)
    return np.asarray((found > 0) & (right / np.maximum(found, 1) >= choice.precision_floor))


def wilson_lower_bound(right: NDArray[np.int64], found: NDArray[np.int64], certainty: float) -> NDArray[np.float64]:
    """Return the lower end of Wilson's one-sided interval of a share, 0 to 1.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927. It takes detections as
    independent, which those of one image are not quite: with few images the true interval is wider.

    Args:
        right: shape (n,): number of right detections.
        found: shape (n,): number of detections, at least as many; for 0 the bound is 0.
        certainty: confidence level, 0.5 to 1: how often the true share is above the bound.
    """
    z = NormalDist().inv_cdf(certainty)
    number = np.maximum(found, 1)
    share = right / number
    center = share + z**2 / (2 * number)
    margin = z * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return np.asarray(np.where(found > 0, np.maximum((center - margin) / (1 + z**2 / number), 0), 0))


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

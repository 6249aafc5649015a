"""Choosing the confidence from which a detection counts, on a precision-recall curve."""

from dataclasses import dataclass

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
        fixed: this very value, 0 to 1; excludes the others.
        precision_floor: at least this precision, 0 to 1, and among those the best recall.
        recall_floor: at least this recall, 0 to 1, and among those the best precision. With both floors, the
            best F1 among those that keep both.
        fixed_by: where `fixed` comes from, in words.

    Raises:
        InputError: a value is out of range, or `fixed` does not stand alone.
    """

    fixed: float | None = None
    precision_floor: float | None = None
    recall_floor: float | None = None
    fixed_by: str = "given"

    def __post_init__(self) -> None:
        given = {
            "threshold": self.fixed,
            "precision floor": self.precision_floor,
            "recall floor": self.recall_floor,
        }
        for name, value in given.items():
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}: allowed are 0 to 1")
        if self.fixed is not None and (self.precision_floor is not None or self.recall_floor is not None):
            raise InputError("a threshold and a floor exclude each other: give one of the two")


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

    A threshold that is not fixed lies midway between the weakest detection it lets pass and the strongest it
    does not, so that a last digit that differs from one computer to the next changes nothing.
    """
    if choice.fixed is not None:
        # The detector compares in float32, the type of its confidences.
        index = int(np.searchsorted(-curve.thresholds, -float(np.float32(choice.fixed)), side="right")) - 1
        return _point(curve, index, threshold=choice.fixed, chosen_by=choice.fixed_by, floors_kept=True)
    floors = [
        f"{name} >= {floor:g}"
        for name, floor in (("precision", choice.precision_floor), ("recall", choice.recall_floor))
        if floor is not None
    ]
    if not len(curve.thresholds):
        return _point(curve, -1, threshold=0.5, chosen_by="nothing was found", floors_kept=not floors)
    precision, recall, f1 = curve.precision, curve.recall, curve.f1
    kept = (precision >= (choice.precision_floor or 0)) & (recall >= (choice.recall_floor or 0))
    if floors and not kept.any():
        chosen_by = f"best F1, for no threshold gives {' and '.join(floors)}"
        return _midway(curve, int(np.argmax(f1)), chosen_by=chosen_by, floors_kept=False)
    if choice.precision_floor is not None and choice.recall_floor is None:
        goal, tie, aim = recall, precision, "best recall"
    elif choice.recall_floor is not None and choice.precision_floor is None:
        goal, tie, aim = precision, recall, "best precision"
    else:
        goal, tie, aim = f1, precision, "best F1"
    candidates = np.flatnonzero(kept)
    best = candidates[np.lexsort((tie[candidates], goal[candidates]))[-1]]
    chosen_by = f"{aim} with {' and '.join(floors)}" if floors else aim
    return _midway(curve, int(best), chosen_by=chosen_by, floors_kept=True)


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

"""One threshold for several datasets: it keeps its promise on each of them, not on their average."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beeagent_models.evaluation.measurement import Evaluation
from beeagent_models.evaluation.operating_point import (
    OperatingPoint,
    ThresholdChoice,
    choose_threshold,
    keeps_precision,
)

Kept = NDArray[np.bool_]


def choose_shared_threshold(
    evaluations: Sequence[Evaluation], choice: ThresholdChoice, *, max_false_alarms: float | None = None
) -> ThresholdChoice:
    """Choose the threshold for a model that was measured on several datasets.

    With a floor of precision or a ceiling of false alarms it is, of the thresholds that keep them on each dataset, the
    one with the best recall on each: the lowest, or a higher one that costs no object. Else, or where none does, it is
    chosen on the first dataset alone.
    The figures at a chosen threshold are a little too good on the data that it was chosen on.

    Args:
        evaluations: what was measured; the first dataset has a box.
        choice: how to choose. A fixed threshold stays as it is; a floor of recall is kept on the first dataset.
        max_false_alarms: detections per image without any box, at most; None for any number.

    Returns:
        The threshold as a fixed one, with the words on how it was chosen.
    """
    if choice.fixed is not None:
        return choice
    if choice.recall_floor is not None or (choice.precision_floor is None and max_false_alarms is None):
        return _fixed(choose_threshold(evaluations[0].curve, choice), evaluations[0])
    candidates = np.unique(np.concatenate([evaluation.curve.thresholds for evaluation in evaluations]))
    kept = np.ones(len(candidates), np.bool_)
    words = []
    if choice.precision_floor is not None:
        with_boxes = [evaluation for evaluation in evaluations if evaluation.curve.truths]
        kept &= np.all([keeps_precision(*_counts(one, candidates), choice) for one in with_boxes], axis=0)
        words.append(f"{choice.floors_in_words()} {_on(with_boxes)}")
    if max_false_alarms is not None:
        without = [evaluation for evaluation in evaluations if evaluation.images_without_boxes]
        kept &= np.all([_quiet(one, candidates, max_false_alarms) for one in without], axis=0)
        words.append(f"at most {max_false_alarms:g} false alarms per image without a box {_on(without)}")
    goal = " and ".join(words)
    if not kept.any():
        best = choose_threshold(evaluations[0].curve, ThresholdChoice())
        words_on_best = f"best F1 {_on(evaluations[:1])}, for no threshold gives {goal}"
        return ThresholdChoice(fixed=best.threshold, fixed_by=words_on_best, floors_kept=False)
    right = np.sum([_counts(evaluation, candidates)[0] for evaluation in evaluations], axis=0)
    index = int(np.flatnonzero(kept & (right == right[np.argmax(kept)]))[-1])
    # Midway to the next weaker detection, as in `choose_threshold`.
    threshold = float(candidates[max(index - 1, 0)] + candidates[index]) / 2
    return ThresholdChoice(fixed=threshold, fixed_by=f"best recall with {goal}")


def _fixed(point: OperatingPoint, evaluation: Evaluation) -> ThresholdChoice:
    words = f"{point.chosen_by}, {_on([evaluation])}"
    return ThresholdChoice(fixed=point.threshold, fixed_by=words, floors_kept=point.floors_kept)


def _on(evaluations: Sequence[Evaluation]) -> str:
    return "on " + " and ".join(evaluation.dataset.name for evaluation in evaluations)


def _counts(evaluation: Evaluation, candidates: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of right and of wrong detections from each candidate on."""
    curve = evaluation.curve
    index = np.searchsorted(-curve.thresholds, -candidates, side="right")
    return np.append(0, curve.true_positives)[index], np.append(0, curve.false_positives)[index]


def _quiet(evaluation: Evaluation, candidates: NDArray[np.float64], most: float) -> Kept:
    """Return for each candidate whether the number of false alarms per image without a box is within the limit."""
    alarms = np.sort(evaluation.alarms_without_boxes)
    left = len(alarms) - np.searchsorted(alarms, candidates, side="left")
    return np.asarray(left <= most * evaluation.images_without_boxes)

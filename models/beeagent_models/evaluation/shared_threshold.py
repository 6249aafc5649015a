"""Choice of one threshold that keeps its conditions on each of several datasets."""

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


def choose_shared_threshold(
    evaluations: Sequence[Evaluation], choice: ThresholdChoice, *, max_false_alarms: float | None = None
) -> ThresholdChoice:
    """Choose one threshold for the evaluations of a model on several datasets.

    With a precision floor or a maximum of false alarms, it is the threshold with the best recall among those that keep
    the conditions on each dataset; if several have it, the highest. Otherwise, or if there is none, it is chosen on the
    first dataset alone. Metrics on the datasets of the choice are slightly optimistic.

    Args:
        evaluations: the evaluations; the first dataset has a box.
        choice: rule for the threshold. A fixed threshold is kept; a recall floor applies to the first dataset.
        max_false_alarms: maximum number of detections per image without a box; None for any.

    Returns:
        A fixed threshold with a description of the rule.
    """
    if choice.fixed is not None:
        return choice
    if choice.recall_floor is not None or (choice.precision_floor is None and max_false_alarms is None):
        return _fixed(choose_threshold(evaluations[0].curve, choice), evaluations[0])
    candidates = np.unique(np.concatenate([evaluation.curve.thresholds for evaluation in evaluations]))
    kept = np.ones(len(candidates), np.bool_)
    conditions = []
    if choice.precision_floor is not None:
        with_boxes = [evaluation for evaluation in evaluations if evaluation.curve.truths]
        kept &= np.all([keeps_precision(*_counts(one, candidates), choice) for one in with_boxes], axis=0)
        conditions.append(f"{choice.describe_floors()} {_on(with_boxes)}")
    if max_false_alarms is not None:
        without = [evaluation for evaluation in evaluations if evaluation.images_without_boxes]
        kept &= np.all([_keeps_false_alarms(one, candidates, max_false_alarms) for one in without], axis=0)
        conditions.append(f"at most {max_false_alarms:g} false alarms per image without a box {_on(without)}")
    goal = " and ".join(conditions)
    if not kept.any():
        best = choose_threshold(evaluations[0].curve, ThresholdChoice())
        fixed_by = f"best F1 {_on(evaluations[:1])}, because no threshold has {goal}"
        return ThresholdChoice(fixed=best.threshold, fixed_by=fixed_by, floors_kept=False)
    true_positives = np.sum([_counts(evaluation, candidates)[0] for evaluation in evaluations], axis=0)
    index = int(np.flatnonzero(kept & (true_positives == true_positives[np.argmax(kept)]))[-1])
    # Midway to the next weaker detection, as in `choose_threshold`.
    threshold = float(candidates[max(index - 1, 0)] + candidates[index]) / 2
    return ThresholdChoice(fixed=threshold, fixed_by=f"best recall with {goal}")


def _fixed(point: OperatingPoint, evaluation: Evaluation) -> ThresholdChoice:
    fixed_by = f"{point.chosen_by}, {_on([evaluation])}"
    return ThresholdChoice(fixed=point.threshold, fixed_by=fixed_by, floors_kept=point.floors_kept)


def _on(evaluations: Sequence[Evaluation]) -> str:
    return "on " + " and ".join(evaluation.dataset.name for evaluation in evaluations)


def _counts(evaluation: Evaluation, candidates: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of true and false positives at each candidate."""
    curve = evaluation.curve
    index = np.searchsorted(-curve.thresholds, -candidates, side="right")
    return np.append(0, curve.true_positives)[index], np.append(0, curve.false_positives)[index]


def _keeps_false_alarms(evaluation: Evaluation, candidates: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Return True for candidates with at most `limit` false alarms per image without a box."""
    alarms = np.sort(evaluation.alarms_without_boxes)
    count = len(alarms) - np.searchsorted(alarms, candidates, side="left")
    return np.asarray(count <= limit * evaluation.images_without_boxes)

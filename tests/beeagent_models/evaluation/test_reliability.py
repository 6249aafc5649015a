from pathlib import Path

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation.calibration import ReliabilityCurve, reliability_curve
from beeagent_models.evaluation.measurement import Evaluation, measure, scored_detections
from beeagent_models.evaluation.operating_point import ThresholdChoice
from hypothesis import given
from hypothesis import strategies as st

WHERE = np.array([0.1, 0.1, 0.4, 0.4], np.float32)
ELSEWHERE = np.array([0.6, 0.6, 0.9, 0.9], np.float32)


def measured(*confidences: tuple[float, float | None]) -> Evaluation:
    """Measure images of one bee each, in which it is found, and something else too, with these confidences."""
    box = (WHERE * 100)[None]
    images = tuple(
        LabelledImage(path=Path(f"{i}.png"), width=100, height=100, boxes=box, class_ids=np.zeros(1, np.int64))
        for i in range(len(confidences))
    )
    found = []
    for right, wrong in confidences:
        boxes, values = [(WHERE, right)], [right]
        if wrong is not None:
            boxes, values = [*boxes, (ELSEWHERE, wrong)], [*values, wrong]
        corners = np.array([corner for corner, _ in boxes], np.float32)
        found.append(Detections(corners, np.array(values, np.float32), np.zeros(len(values), np.int64), ("bee",)))
    return measure(Dataset(name="garden", images=images, labels=("bee",)), found, choice=ThresholdChoice())


def curve(evaluation: Evaluation, bins: int = 20) -> ReliabilityCurve:
    return reliability_curve(*scored_detections(evaluation.detections, evaluation.metrics.matches), bins=bins)


def test_right_and_wrong_detections_are_counted_by_their_confidence() -> None:
    counted = curve(measured((0.95, None), (0.97, 0.31), (0.34, 0.12)), bins=10)
    assert counted.detections.tolist() == [0, 1, 0, 2, 0, 0, 0, 0, 0, 2]
    assert counted.right.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]
    assert counted.confidence == pytest.approx([0, 0.12, 0, 0.65, 0, 0, 0, 0, 0, 1.92])
    # |0.12 - 0| + |0.65 - 1| + |1.92 - 2|, of 5 detections.
    assert counted.error == pytest.approx((0.12 + 0.35 + 0.08) / 5)


def test_full_confidence_belongs_to_the_last_bin() -> None:
    counted = curve(measured((1.0, 0.0)), bins=4)
    assert counted.detections.tolist() == [1, 0, 0, 1]
    assert counted.right.tolist() == [0, 0, 0, 1]
    assert counted.error == 0


def test_without_a_detection_there_is_no_calibration_error() -> None:
    assert reliability_curve(np.zeros(0), np.zeros(0, np.bool_)).error is None


def test_reliability_from_a_confidence_on_leaves_out_weaker_detections() -> None:
    evaluation = measured((0.95, None), (0.97, 0.31), (0.34, 0.12))
    assert int(evaluation.reliability().detections.sum()) == 5
    assert int(evaluation.reliability(from_confidence=0.34).detections.sum()) == 3


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=8))
def test_every_detection_is_counted_once(confidences: list[tuple[float, float]]) -> None:
    evaluation = measured(*confidences)
    counted = evaluation.reliability()
    assert len(counted.detections) == len(counted.right) == 20
    assert counted.detections.sum() == 2 * len(confidences)
    assert counted.right.sum() == int(evaluation.curve.true_positives[-1]) == len(confidences)
    assert counted.for_manifest().detections == counted.detections.tolist()

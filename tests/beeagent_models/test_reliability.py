from pathlib import Path

import numpy as np
from beeagent.detection.detections import Detections
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation import Evaluation, measure
from beeagent_models.operating_point import ThresholdChoice
from beeagent_models.reliability import reliability_of
from hypothesis import given
from hypothesis import strategies as st

WHERE = np.array([0.1, 0.1, 0.4, 0.4], np.float32)
ELSEWHERE = np.array([0.6, 0.6, 0.9, 0.9], np.float32)


def measured(*confidences: tuple[float, float | None]) -> Evaluation:
    """Measure pictures of one bee each, in which it is found, and something else too, with these confidences."""
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


def test_right_and_wrong_detections_are_counted_by_their_confidence() -> None:
    counted = reliability_of(measured((0.95, None), (0.97, 0.31), (0.34, 0.12)), bins=10)
    assert counted.detections == [0, 1, 0, 2, 0, 0, 0, 0, 0, 2]
    assert counted.right == [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]


def test_full_confidence_belongs_to_the_last_bin() -> None:
    counted = reliability_of(measured((1.0, 0.0)), bins=4)
    assert counted.detections == [1, 0, 0, 1]
    assert counted.right == [0, 0, 0, 1]


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=8))
def test_every_detection_is_counted_once(confidences: list[tuple[float, float]]) -> None:
    evaluation = measured(*confidences)
    counted = reliability_of(evaluation)
    assert len(counted.detections) == len(counted.right) == 20
    assert sum(counted.detections) == 2 * len(confidences)
    assert sum(counted.right) == int(evaluation.curve.true_positives[-1]) == len(confidences)

from pathlib import Path

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation.measurement import Evaluation, measure
from beeagent_models.evaluation.operating_point import ThresholdChoice, choose_threshold
from beeagent_models.evaluation.shared_threshold import choose_shared_threshold
from hypothesis import given, settings
from hypothesis import strategies as st

WHERE = np.array([0.1, 0.1, 0.4, 0.4], np.float32)
ELSEWHERE = np.array([0.6, 0.6, 0.9, 0.9], np.float32)
ANY = ThresholdChoice()


def evaluated(name: str, *rows: tuple[float, bool], box: bool = True) -> Evaluation:
    """Measure images of one bee each, or of none, with one detection each of this confidence, right or wrong."""
    boxes = (WHERE * 100)[None] if box else np.zeros((0, 4), np.float32)
    image = LabelledImage(Path("0.png"), 100, 100, boxes, np.zeros(len(boxes), np.int64))
    found = [
        Detections(
            (WHERE if right else ELSEWHERE)[None], np.array([confidence], np.float32), np.zeros(1, np.int64), ("bee",)
        )
        for confidence, right in rows
    ]
    return measure(Dataset(name, (image,) * len(rows), ("bee",)), found, choice=ANY)


HIVE = evaluated("hive", (0.9, True), (0.8, True), (0.6, True), (0.4, False))
FLOWERS = evaluated("flowers", (0.95, True), (0.7, True), (0.5, False), (0.45, True))
EMPTY = evaluated("lawn", (0.75, False), (0.3, False), (0.2, False), (0.1, False), box=False)


def test_the_floor_is_kept_on_each_dataset_not_on_their_average() -> None:
    # On the hive alone 0.6 is precise enough, and on all together 0.45 is.
    choice = ThresholdChoice(precision_floor=0.8)
    chosen = choose_shared_threshold([HIVE, FLOWERS], choice)
    assert chosen.fixed == pytest.approx((0.5 + 0.6) / 2)
    assert chosen.fixed_by == "best recall with precision >= 0.8 on hive and flowers"
    assert choose_shared_threshold([HIVE], choice).fixed == pytest.approx((0.4 + 0.6) / 2)


def test_false_alarms_are_counted_on_images_without_a_box() -> None:
    chosen = choose_shared_threshold([HIVE, EMPTY], ANY, max_false_alarms=0.25)
    # Not 0.35, which would find no more bees and add a false alarm.
    assert chosen.fixed == pytest.approx((0.4 + 0.6) / 2)
    assert chosen.fixed_by == "best recall with at most 0.25 false alarms per image without a box on lawn"
    assert EMPTY.at(chosen).false_alarms_per_image == 0.25
    none = choose_shared_threshold([HIVE, EMPTY], ANY, max_false_alarms=0)
    assert none.fixed == pytest.approx((0.75 + 0.8) / 2)
    both = choose_shared_threshold([HIVE, EMPTY], ThresholdChoice(precision_floor=1), max_false_alarms=0.25)
    assert both.fixed == pytest.approx((0.4 + 0.6) / 2)
    assert both.fixed_by == (
        "best recall with precision >= 1 on hive and at most 0.25 false alarms per image without a box on lawn"
    )


def test_unreachable_floor_falls_back_with_a_note() -> None:
    wrong = evaluated("wrong", (0.99, False), (0.2, True))
    chosen = choose_shared_threshold([HIVE, wrong], ThresholdChoice(precision_floor=0.9))
    assert not chosen.floors_kept
    assert chosen.fixed_by == "best F1 on hive, because no threshold has precision >= 0.9 on hive and wrong"
    assert not wrong.at(chosen).point.floors_kept


def test_without_a_floor_the_first_dataset_decides() -> None:
    chosen = choose_shared_threshold([FLOWERS, HIVE], ANY)
    assert chosen.fixed == choose_threshold(FLOWERS.curve, ANY).threshold
    assert chosen.fixed_by == "best F1, on flowers"
    fixed = ThresholdChoice(fixed=0.3)
    assert choose_shared_threshold([HIVE, EMPTY], fixed) is fixed


rows = st.lists(st.tuples(st.integers(1, 255).map(lambda n: n / 256), st.booleans()), min_size=1, max_size=20)


@settings(max_examples=50)
@given(rows, rows, st.floats(0.1, 1), st.sampled_from([None, 0.8, 0.95]), st.sampled_from([None, 0.0, 0.3]))
def test_a_shared_threshold_keeps_its_promise(
    first: list[tuple[float, bool]],
    second: list[tuple[float, bool]],
    floor: float,
    certainty: float | None,
    alarms: float | None,
) -> None:
    evaluations = [
        evaluated("a", *first),
        evaluated("b", *second),
        evaluated("c", *((confidence, False) for confidence, _ in second), box=False),
    ]
    choice = ThresholdChoice(precision_floor=floor, certainty=certainty)
    chosen = choose_shared_threshold(evaluations, choice, max_false_alarms=alarms)
    if chosen.floors_kept:
        one, other, empty = (evaluation.at(chosen) for evaluation in evaluations)
        assert min(one.point.precision, other.point.precision) >= floor
        assert alarms is None or (empty.false_alarms_per_image or 0) <= alarms
    alone = choose_shared_threshold(evaluations[:1], choice)
    expected = choose_threshold(evaluations[0].curve, choice)
    assert alone.floors_kept == expected.floors_kept
    if alone.floors_kept:
        assert alone.fixed == pytest.approx(expected.threshold)

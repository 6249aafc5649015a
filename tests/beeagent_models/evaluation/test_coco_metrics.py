from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.evaluation.coco_metrics import CocoMetrics, coco_metrics
from beeagent_models.evaluation.operating_point import ThresholdChoice, choose_threshold, precision_recall_curve
from hypothesis import given, settings
from hypothesis import strategies as st

Box = tuple[float, float, float, float]
SIDE = 100


def dataset(*images: Sequence[tuple[Box, int]], labels: tuple[str, ...] = ("bee",)) -> Dataset:
    images = tuple(
        LabelledImage(
            path=Path(f"{index}.png"),
            width=SIDE,
            height=SIDE,
            boxes=np.array([box for box, _ in image], np.float32).reshape(-1, 4),
            class_ids=np.array([class_id for _, class_id in image], np.int64),
        )
        for index, image in enumerate(images)
    )
    return Dataset(name="set", images=images, labels=labels)


def found(*rows: tuple[Box, float, int], labels: tuple[str, ...] = ("bee",)) -> Detections:
    ordered = sorted(rows, key=lambda row: -row[1])
    return Detections(
        boxes=np.array([box for box, _, _ in ordered], np.float32).reshape(-1, 4) / np.float32(SIDE),
        confidences=np.array([confidence for _, confidence, _ in ordered], np.float32),
        class_ids=np.array([class_id for _, _, class_id in ordered], np.int64),
        labels=labels,
    )


# Three bees. Found: the first exactly; a false alarm; the second with IoU 80/120 = 0.667; the third not at all.
TRUTH = dataset([((10, 10, 20, 20), 0), ((40, 40, 50, 50), 0)], [((60, 60, 80, 80), 0)], [])
ANSWER = (
    found(((10, 10, 20, 20), 0.9, 0), ((42, 40, 52, 50), 0.7, 0)),
    found(((10, 10, 20, 20), 0.8, 0)),
    found(),
)


def test_a_case_worked_out_by_hand() -> None:
    metrics = coco_metrics(TRUTH, ANSWER)
    # Recall is sampled at 0, 0.01 … 1. Down the list at IoU 0.5: precision 1 up to recall 1/3 (34 samples), then
    # 2/3 up to recall 2/3 (33 samples), then nothing.
    at_50 = (34 * 1 + 33 * 2 / 3) / 101
    # From IoU 0.7 on the second bee counts as missed.
    at_70 = 34 / 101
    assert metrics.ap50 == pytest.approx(at_50)
    assert metrics.ap75 == pytest.approx(at_70)
    # IoU 0.50, 0.55, 0.60 and 0.65, and six more.
    assert metrics.ap == pytest.approx((4 * at_50 + 6 * at_70) / 10)


def test_matches_worked_out_by_hand() -> None:
    first, second, third = coco_metrics(TRUTH, ANSWER).matches
    assert first.hits.tolist() == [True, True]
    assert first.matched_confidence == pytest.approx([0.9, 0.7])
    assert second.hits.tolist() == [False]
    assert second.matched_confidence.tolist() == [-1]
    assert third.hits.tolist() == third.matched_confidence.tolist() == []


def test_a_box_is_matched_once() -> None:
    metrics = coco_metrics(
        dataset([((10, 10, 30, 30), 0)]), [found(((10, 10, 30, 30), 0.5, 0), ((11, 10, 30, 30), 0.6, 0))]
    )
    assert metrics.matches[0].hits.tolist() == [True, False]
    assert metrics.matches[0].matched_confidence == pytest.approx([0.6])


def test_classes_are_matched_by_name_not_number() -> None:
    truth = dataset([((10, 10, 30, 30), 0), ((50, 50, 70, 70), 1)], labels=("bee", "wasp"))
    answer = found(
        ((10, 10, 30, 30), 0.9, 2), ((50, 50, 70, 70), 0.8, 0), ((0, 0, 5, 5), 0.7, 1), labels=("wasp", "cat", "bee")
    )
    metrics = coco_metrics(truth, [answer])
    assert metrics.ap == pytest.approx(1)
    assert metrics.ap50_by_label == pytest.approx({"bee": 1, "wasp": 1})
    # The cat is none of the dataset's business.
    assert metrics.matches[0].scored.tolist() == [True, True, False]
    assert metrics.matches[0].hits.tolist() == [True, True, False]


def test_the_right_place_with_the_wrong_class_is_a_false_alarm() -> None:
    truth = dataset([((10, 10, 30, 30), 0)], labels=("bee", "wasp"))
    metrics = coco_metrics(truth, [found(((10, 10, 30, 30), 0.9, 1), labels=("bee", "wasp"))])
    assert metrics.ap50 == 0
    assert metrics.ap50_by_label == {"bee": 0, "wasp": None}
    assert metrics.matches[0].scored.tolist() == [True]
    assert metrics.matches[0].hits.tolist() == [False]


def test_only_the_hundred_strongest_of_an_image_count() -> None:
    right = ((10.0, 10.0, 20.0, 20.0), 0.1, 0)
    alarms = [((50.0, 50.0, 60.0, 60.0), 0.5, 0)] * 100
    matches = coco_metrics(dataset([((10, 10, 20, 20), 0)]), [found(*alarms, right)]).matches[0]
    assert matches.scored.tolist() == [True] * 100 + [False]
    assert not matches.hits.any()


def test_sizes_are_those_the_network_sees() -> None:
    truth = dataset([((10, 10, 50, 50), 0)])
    answer = [found(((10, 10, 50, 50), 0.9, 0))]
    by_size = [coco_metrics(truth, answer, input_size=size).ap_by_size for size in (None, (50, 200), (300, 300))]
    known = [{name: ap for name, ap in one.items() if ap is not None} for one in by_size]
    assert known == [{"32-96": pytest.approx(1)}, {"16-32": pytest.approx(1)}, {">=96": pytest.approx(1)}]


@pytest.mark.parametrize(
    ("side", "size"),
    [(7.9, "<8"), (8, "8-16"), (15.9, "8-16"), (16, "16-32"), (32, "32-96"), (95.9, "32-96"), (96, ">=96")],
)
def test_a_lower_bound_belongs_to_its_size(side: float, size: str) -> None:
    truth, answer = dataset([((0, 0, side, side), 0)]), [found(((0, 0, side, side), 0.9, 0))]
    metrics = coco_metrics(truth, answer)
    assert [name for name, ap50 in metrics.ap50_by_size.items() if ap50 is not None] == [size]


def test_small_objects_can_be_left_out() -> None:
    small, large = (10.0, 10.0, 16.0, 16.0), (40.0, 40.0, 60.0, 60.0)
    truth = dataset([(small, 0), (large, 0)], [((10, 10, 16, 16), 0)])
    near_small, ground = (11.0, 10.0, 17.0, 16.0), (80.0, 80.0, 86.0, 86.0)
    answers = [
        # Two on one ignored object count as little as one; what lies on the background still counts.
        found((near_small, 0.9, 0), (small, 0.8, 0), (ground, 0.7, 0), (large, 0.6, 0)),
        found(),
    ]
    metrics = coco_metrics(truth, answers, min_size=8)
    first, second = metrics.matches
    assert first.scored.tolist() == [False, False, True, True]
    assert first.hits.tolist() == [False, False, False, True]
    assert first.ignored.tolist() == [True, False]
    assert (first.matched(0.5).tolist(), first.missed(0.5).tolist()) == ([False, True], [False, False])
    assert first.missed(0.65).tolist() == [False, True]
    assert second.missed(0.0).tolist() == [False]
    assert metrics.ap50 == pytest.approx(0.5)
    with_all = coco_metrics(truth, answers)
    assert with_all.matches[0].scored.all()
    assert not any(match.ignored.any() for match in with_all.matches)


def test_images_without_any_box_have_false_alarms_and_no_average_precision() -> None:
    metrics = coco_metrics(dataset([], []), [found(((10, 10, 20, 20), 0.9, 0)), found()])
    assert all(np.isnan(value) for value in (metrics.ap, metrics.ap50, metrics.ap75))
    assert set(metrics.ap_by_size.values()) == set(metrics.ap50_by_label.values()) == {None}
    assert metrics.matches[0].scored.tolist() == [True]
    assert metrics.matches[0].hits.tolist() == [False]


def test_nothing_found_is_zero_and_no_error() -> None:
    metrics = coco_metrics(TRUTH, [found(), found(), found()])
    assert (metrics.ap, metrics.ap50) == (0, 0)
    assert all((match.matched_confidence < 0).all() for match in metrics.matches)


def test_results_and_images_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 results for 3 images"):
        coco_metrics(TRUTH, ANSWER[:2])


def test_the_library_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    coco_metrics(TRUTH, ANSWER)
    assert capsys.readouterr().out == ""


# Boxes in cells of a grid of their own, so that one never covers half of another.
cells = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8, unique=True)
images = st.lists(cells, min_size=1, max_size=4).filter(any)


def boxes(image: list[tuple[int, int]]) -> list[Box]:
    return [(20.0 * x + 2, 20.0 * y + 2, 20.0 * x + 17, 20.0 * y + 18) for x, y in image]


@settings(max_examples=40)
@given(images)
def test_perfect_answers_score_one(drawn: list[list[tuple[int, int]]]) -> None:
    truth = dataset(*[[(box, 0) for box in boxes(image)] for image in drawn])
    answers = [found(*[(box, 0.3 + 0.05 * index, 0) for index, box in enumerate(boxes(image))]) for image in drawn]
    metrics = coco_metrics(truth, answers)
    assert (metrics.ap, metrics.ap50, metrics.ap75) == pytest.approx((1, 1, 1))
    assert all(match.hits.all() and (match.matched_confidence > 0).all() for match in metrics.matches)


shifts = st.sampled_from([0.0, 2.0, 6.0, 40.0])


@settings(max_examples=40)
@given(images, st.data())
def test_figures_hang_together(drawn: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    answer = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), shifts, st.integers(1, 9)), max_size=8)
    given_answers = [
        found(
            *[
                ((left + shift, top, right + shift, bottom), confidence / 10, 0)
                for x, y, shift, confidence in data.draw(answer)
                for left, top, right, bottom in boxes([(x, y)])
            ]
        )
        for _ in drawn
    ]
    truth = dataset(*[[(box, 0) for box in boxes(image)] for image in drawn])
    metrics = coco_metrics(truth, given_answers)
    assert 0 <= metrics.ap <= metrics.ap50 + 1e-9 <= 1 + 2e-9
    for match, result in zip(metrics.matches, given_answers, strict=True):
        # Each hit has found one box, with its own confidence.
        assert sorted(match.matched_confidence[match.matched_confidence >= 0]) == sorted(
            result.confidences[match.hits].astype(float)
        )
    check_curve(metrics, given_answers, sum(map(len, drawn)))


def check_curve(metrics: CocoMetrics, results: Sequence[Detections], truths: int) -> None:
    confidences = np.concatenate([result.confidences for result in results])
    hits = np.concatenate([match.hits for match in metrics.matches])
    curve = precision_recall_curve(confidences, hits, truths=truths)
    for threshold in (0.0, 0.35, 0.5, 1.0):
        point = choose_threshold(curve, ThresholdChoice(fixed=threshold))
        above = confidences >= np.float32(threshold)
        assert point.true_positives == (hits & above).sum()
        assert point.false_positives == (~hits & above).sum()
        missed = sum(int((match.matched_confidence < np.float32(threshold)).sum()) for match in metrics.matches)
        assert point.false_negatives == missed

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.evaluation.operating_point import (
    Curve,
    ThresholdChoice,
    choose_threshold,
    precision_recall_curve,
    wilson_lower_bound,
)
from hypothesis import given
from hypothesis import strategies as st


def curve(*rows: tuple[float, bool], truths: int) -> Curve:
    return precision_recall_curve(
        np.array([confidence for confidence, _ in rows], np.float32),
        np.array([hit for _, hit in rows], np.bool_),
        truths=truths,
    )


# Precision 1, 1, 2/3, 3/4, 3/5 at recall 1/4, 1/2, 1/2, 3/4, 3/4.
FIVE = curve((0.9, True), (0.8, True), (0.7, False), (0.6, True), (0.5, False), truths=4)


def test_the_curve_counts_down_from_the_strongest() -> None:
    assert FIVE.thresholds == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert FIVE.precision == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])
    assert FIVE.recall == pytest.approx([1 / 4, 2 / 4, 2 / 4, 3 / 4, 3 / 4])
    assert FIVE.f1 == pytest.approx([2 / 5, 2 / 3, 4 / 7, 3 / 4, 2 / 3])


def test_detections_of_one_confidence_come_together() -> None:
    together = curve((0.5, False), (0.9, True), (0.5, True), (0.5, False), truths=2)
    assert together.thresholds == pytest.approx([0.9, 0.5])
    assert together.true_positives.tolist() == [1, 2]
    assert together.false_positives.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("choice", "threshold", "hits", "alarms", "chosen_by"),
    [
        (ThresholdChoice(), 0.55, 3, 1, "best F1"),
        (ThresholdChoice(precision_floor=0.9), 0.75, 2, 0, "best recall with precision >= 0.9"),
        (ThresholdChoice(precision_floor=0.7), 0.55, 3, 1, "best recall with precision >= 0.7"),
        (ThresholdChoice(recall_floor=0.5), 0.75, 2, 0, "best precision with recall >= 0.5"),
        (ThresholdChoice(recall_floor=0.6), 0.55, 3, 1, "best precision with recall >= 0.6"),
        (
            ThresholdChoice(precision_floor=0.6, recall_floor=0.5),
            0.55,
            3,
            1,
            "best F1 with precision >= 0.6 and recall >= 0.5",
        ),
        (ThresholdChoice(fixed=0.65), 0.65, 2, 1, "given"),
        (ThresholdChoice(fixed=0.7, fixed_by="the bundle's"), 0.7, 2, 1, "the bundle's"),
        (ThresholdChoice(fixed=1.0), 1.0, 0, 0, "given"),
        (ThresholdChoice(fixed=0.0), 0.0, 3, 2, "given"),
    ],
)
def test_choices(choice: ThresholdChoice, threshold: float, hits: int, alarms: int, chosen_by: str) -> None:
    point = choose_threshold(FIVE, choice)
    assert point.threshold == pytest.approx(threshold)
    assert (point.true_positives, point.false_positives, point.false_negatives) == (hits, alarms, 4 - hits)
    assert point.chosen_by == chosen_by
    assert point.floors_kept


def test_recall_counts_under_a_precision_floor_not_f1() -> None:
    # F1 is best at the first, recall at the last, whose precision is 2/7.
    long = curve((0.9, True), *[(0.8, False)] * 5, (0.7, True), truths=2)
    assert choose_threshold(long, ThresholdChoice()).recall == 0.5
    assert choose_threshold(long, ThresholdChoice(precision_floor=0.25)).recall == 1


def test_floors_that_cannot_be_kept_fall_back_and_say_so() -> None:
    point = choose_threshold(FIVE, ThresholdChoice(precision_floor=0.9, recall_floor=0.7))
    assert not point.floors_kept
    assert point.chosen_by == "best F1, because no threshold has precision >= 0.9 and recall >= 0.7"
    assert point.threshold == pytest.approx(0.55)


def test_nothing_found_leads_to_zero() -> None:
    point = choose_threshold(curve(truths=3), ThresholdChoice(recall_floor=0.5))
    assert (point.precision, point.recall, point.f1) == (0, 0, 0)
    assert point.false_negatives == 3
    assert not point.floors_kept


@pytest.mark.parametrize("value", [1.1, -0.1, float("nan")])
def test_values_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"threshold is .* allowed are 0 to 1"):
        ThresholdChoice(fixed=value)
    with pytest.raises(InputError, match=r"precision floor is .* allowed are 0 to 1"):
        ThresholdChoice(precision_floor=value)
    with pytest.raises(InputError, match=r"recall floor is .* allowed are 0 to 1"):
        ThresholdChoice(recall_floor=value)


def test_a_threshold_and_a_floor_exclude_each_other() -> None:
    with pytest.raises(InputError, match="exclude each other"):
        ThresholdChoice(fixed=0.5, recall_floor=0.5)


rows = st.lists(st.tuples(st.integers(0, 255).map(lambda n: n / 256), st.booleans()), min_size=1, max_size=40)
floors = st.none() | st.floats(0, 1)


@given(rows, st.integers(0, 20), floors, floors)
def test_chosen_threshold_has_the_stated_figures(
    drawn: list[tuple[float, bool]], unfound: int, precision_floor: float | None, recall_floor: float | None
) -> None:
    truths = max(sum(hit for _, hit in drawn) + unfound, 1)
    whole = curve(*drawn, truths=truths)
    point = choose_threshold(whole, ThresholdChoice(precision_floor=precision_floor, recall_floor=recall_floor))
    above = [hit for confidence, hit in drawn if confidence >= point.threshold]
    assert point.true_positives == sum(above)
    assert point.false_positives == len(above) - sum(above)
    assert point.false_negatives == truths - sum(above)
    keeping = [
        index
        for index in range(len(whole.thresholds))
        if whole.precision[index] >= (precision_floor or 0) and whole.recall[index] >= (recall_floor or 0)
    ]
    if point.floors_kept and keeping:
        assert point.precision >= (precision_floor or 0)
        assert point.recall >= (recall_floor or 0)
        if precision_floor is not None and recall_floor is None:
            assert point.recall == max(whole.recall[index] for index in keeping)
        elif recall_floor is not None and precision_floor is None:
            assert point.precision == max(whole.precision[index] for index in keeping)
        else:
            assert point.f1 == pytest.approx(max(whole.f1[index] for index in keeping))
    else:
        assert not keeping


@given(rows)
def test_a_fixed_threshold_compares_as_the_detector_does(drawn: list[tuple[float, bool]]) -> None:
    # 0.7 has no float32 of its own: the detector holds such a confidence to be at the threshold, not below it.
    confidences = np.array([0.7 for _ in drawn], np.float32)
    whole = precision_recall_curve(confidences, np.array([hit for _, hit in drawn]), truths=len(drawn))
    point = choose_threshold(whole, ThresholdChoice(fixed=0.7))
    assert point.true_positives + point.false_positives == len(drawn)


@pytest.mark.parametrize(
    ("right", "found", "certainty", "bound"),
    [
        # Ten of ten, one-sided 95 %: n / (n + z^2), z = 1.6449.
        (10, 10, 0.95, 10 / (10 + 1.644854**2)),
        # Newcombe, "Two-sided confidence intervals for the single proportion", 1998: 81 of 263, 95 % two-sided, is
        # 0.2553 to 0.3662, and 0 of 20 begins at 0.
        (81, 263, 0.975, 0.2553),
        (0, 20, 0.975, 0),
        (0, 0, 0.95, 0),
    ],
)
def test_wilsons_lower_bound(right: int, found: int, certainty: float, bound: float) -> None:
    (value,) = wilson_lower_bound(np.array([right]), np.array([found]), certainty)
    assert value == pytest.approx(bound, abs=5e-5)


def test_a_certain_floor_asks_for_more_than_a_lucky_start() -> None:
    # The first two of three right: precision 1 at the top, but two detections prove little.
    lucky = curve((0.9, True), (0.8, True), (0.7, False), truths=4)
    assert choose_threshold(lucky, ThresholdChoice(precision_floor=0.9)).floors_kept
    point = choose_threshold(lucky, ThresholdChoice(precision_floor=0.9, certainty=0.95))
    assert not point.floors_kept
    assert point.chosen_by == "best F1, because no threshold has precision >= 0.9 (95 % certain)"
    many = curve(*[(1 - index / 1000, index % 50 != 49) for index in range(400)], truths=400)
    point = choose_threshold(many, ThresholdChoice(precision_floor=0.95, certainty=0.95))
    assert point.floors_kept
    assert point.precision > 0.96
    assert point.chosen_by == "best recall with precision >= 0.95 (95 % certain)"


@pytest.mark.parametrize("certainty", [0.5, 1.0, 0.0, float("nan")])
def test_a_certainty_out_of_range_is_refused(certainty: float) -> None:
    with pytest.raises(InputError, match="certainty is"):
        ThresholdChoice(precision_floor=0.9, certainty=certainty)


def test_a_certainty_needs_a_precision_floor() -> None:
    with pytest.raises(InputError, match="give both"):
        ThresholdChoice(certainty=0.95)

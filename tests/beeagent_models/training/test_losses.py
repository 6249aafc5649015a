import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from beeagent_models.training.losses import box_loss, focal_loss  # noqa: E402 - only where Keras is

pytestmark = pytest.mark.training


def focal(targets: list[float], logits: list[list[float]], **options: float) -> float:
    target = np.asarray(targets, np.float32)[None, :, None]
    return float(focal_loss(target, keras.ops.convert_to_tensor(np.asarray([logits], np.float32)), **options))


def test_focal_loss_of_one_object_by_hand() -> None:
    p = 1 / (1 + math.exp(-0.8))
    assert focal([1], [[0.8]]) == pytest.approx(0.25 * (1 - p) ** 1.5 * -math.log(p), rel=1e-5)


def test_focal_loss_of_background_is_divided_by_the_objects() -> None:
    p = 1 / (1 + math.exp(1.2))
    one = 0.75 * p**1.5 * -math.log(1 - p)
    sure = 1 / (1 + math.exp(-3.0))
    objects = 2 * 0.25 * (1 - sure) ** 1.5 * -math.log(sure)
    assert focal([1, 1, 0], [[3.0], [3.0], [-1.2]]) == pytest.approx((objects + one) / 2, rel=1e-5)


def test_a_class_is_background_for_the_other_classes() -> None:
    p = 0.5
    expected = 0.25 * p**1.5 * -math.log(p) + 0.75 * p**1.5 * -math.log(p)
    assert focal([2], [[0.0, 0.0]]) == pytest.approx(expected, rel=1e-5)
    assert focal([2], [[-9.0, 9.0]]) < 0.001 < focal([2], [[9.0, -9.0]])


def test_ignored_anchors_do_not_count() -> None:
    assert focal([-1, 1], [[30.0], [2.0]]) == focal([1], [[2.0]])


def test_gamma_zero_is_weighted_cross_entropy() -> None:
    assert focal([1], [[-40.0]], gamma=0.0) == pytest.approx(10.0, rel=1e-5)


def giou_loss(wanted: list[float], found: list[float], counts: float = 1.0) -> float:
    targets = np.array([[[*wanted, counts]]], np.float32)
    return float(
        box_loss(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(np.array([[found]], np.float32)))
    )


def test_the_same_box_costs_nothing() -> None:
    assert giou_loss([0.3, -0.2, 0.5, -0.5], [0.3, -0.2, 0.5, -0.5]) == pytest.approx(0, abs=1e-5)


def test_boxes_side_by_side_by_hand() -> None:
    # Unit squares, one 0.5 to the right: they share 0.5, their union is 1.5, their hull too.
    assert giou_loss([0, 0, 0, 0], [0, 0.5, 0, 0]) == pytest.approx(1 - 0.5 / 1.5, rel=1e-4)


def test_boxes_apart_by_hand() -> None:
    # Unit squares, one 2 below: nothing shared, union 2, hull 3.
    assert giou_loss([0, 0, 0, 0], [2, 0, 0, 0]) == pytest.approx(1 + 1 / 3, rel=1e-4)


def test_a_box_of_double_size_by_hand() -> None:
    assert giou_loss([0, 0, 0, 0], [0, 0, math.log(2), math.log(2)]) == pytest.approx(1 - 1 / 4, rel=1e-4)


def test_anchors_without_object_cost_nothing() -> None:
    assert giou_loss([0, 0, 0, 0], [3, 3, 1, 1], counts=0.0) == 0


codes = st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4)


@settings(deadline=None, max_examples=50)
@given(codes, codes)
def test_box_loss_is_between_0_and_2_and_does_not_care_for_order(first: list[float], second: list[float]) -> None:
    loss = giou_loss(first, second)
    assert -1e-4 <= loss <= 2 + 1e-4
    assert giou_loss(second, first) == pytest.approx(loss, abs=1e-4)

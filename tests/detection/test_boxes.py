import numpy as np
import pytest
from beeagent.detection import box_areas, intersection_areas, iou
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask


def test_iou_of_boxes_computed_by_hand() -> None:
    one = np.array([[0, 0, 10, 10], [0, 0, 4, 4]], np.float32)
    other = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    expected = np.array([[1, 50 / 150, 0], [16 / 100, 0, 0]], np.float32)
    assert iou(one[:, None], other) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_of_no_boxes_is_empty(n: int, m: int) -> None:
    assert iou(np.zeros((n, 1, 4)), np.zeros((m, 4))).shape == (n, m)


def test_iou_of_boxes_without_area_is_0() -> None:
    flat = np.array([[3.0, 3.0, 3.0, 9.0]])
    assert iou(flat[:, None], flat).tolist() == [[0.0]]


corners = st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 50)] * 2)


@given(st.lists(corners, min_size=1, max_size=5), st.lists(corners, min_size=1, max_size=5))
def test_iou_agrees_with_pycocotools(ones: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> None:
    first, second = (np.array(boxes, np.float64) for boxes in (ones, others))  # left, top, width, height
    expected = mask.iou(first, second, [0] * len(second))
    for boxes in (first, second):
        boxes[:, 2:] += boxes[:, :2]
    assert iou(first[:, None], second) == pytest.approx(expected)


@given(st.lists(st.tuples(corners, corners), min_size=1, max_size=5))
def test_one_to_one_is_the_diagonal_of_each_with_each(pairs: list[tuple[tuple[int, ...], ...]]) -> None:
    boxes = np.array(pairs, np.float32)
    boxes[..., 2:] += boxes[..., :2]
    first, second = boxes[:, 0], boxes[:, 1]
    for overlap in (iou, intersection_areas):
        np.testing.assert_array_equal(overlap(first, second), overlap(first[:, None], second).diagonal())
        np.testing.assert_array_equal(overlap(first[0], second), overlap(first[:, None], second)[0])


def test_areas_keep_the_type_and_are_0_for_a_box_that_is_reversed() -> None:
    boxes = np.array([[1, 2, 4, 4], [4, 2, 1, 4]], np.float32)
    assert box_areas(boxes).tolist() == [6, 0]
    assert box_areas(boxes).dtype == np.float32
    assert box_areas(boxes.astype(np.float64)).dtype == np.float64

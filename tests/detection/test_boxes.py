import numpy as np
import pytest
from beeagent.detection.boxes import pairwise_iou
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask


def test_a_case_worked_out_by_hand() -> None:
    one = np.array([[0, 0, 10, 10], [0, 0, 4, 4]], np.float32)
    other = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    expected = np.array([[1, 50 / 150, 0], [16 / 100, 0, 0]], np.float32)
    assert pairwise_iou(one, other) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_no_box_overlaps_none(n: int, m: int) -> None:
    assert pairwise_iou(np.zeros((n, 4)), np.zeros((m, 4))).shape == (n, m)


def test_boxes_without_area_overlap_nothing() -> None:
    flat = np.array([[3.0, 3.0, 3.0, 9.0]])
    assert pairwise_iou(flat, flat).tolist() == [[0.0]]


corners = st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 50)] * 2)


@given(st.lists(corners, min_size=1, max_size=5), st.lists(corners, min_size=1, max_size=5))
def test_it_agrees_with_pycocotools(ones: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> None:
    first, second = (np.array(boxes, np.float64) for boxes in (ones, others))  # left, top, width, height
    expected = mask.iou(first, second, [0] * len(second))
    for boxes in (first, second):
        boxes[:, 2:] += boxes[:, :2]
    assert pairwise_iou(first, second) == pytest.approx(expected)

"""Masks: boxes and pixels inside them."""

import numpy as np
from beeagent.detection import NO_MASKS, Detections, Masks
from hypothesis import given, settings
from hypothesis import strategies as st

_CORNER = ((0.5, 0.0), (1.0, 0.0), (1.0, 0.5), (0.5, 0.5))
_TRIANGLE = ((0.0, 1.0), (0.4, 1.0), (0.0, 0.6))


def _detections(*boxes: tuple[float, float, float, float]) -> Detections:
    array = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    count = len(array)
    return Detections(array, np.linspace(0.9, 0.5, count, dtype=np.float32), np.zeros(count, dtype=np.int64), ("bee",))


def test_detections_whose_centre_is_in_any_mask_are_dropped() -> None:
    masks = Masks((_CORNER, _TRIANGLE))
    kept = masks.unmasked(_detections((0.4, 0.1, 0.5, 0.2), (0.6, 0.1, 0.7, 0.2), (0.0, 0.9, 0.1, 1.0)))
    np.testing.assert_allclose(kept.boxes, [[0.4, 0.1, 0.5, 0.2]])
    assert kept.confidences.tolist() == [np.float32(0.9)]


def test_without_masks_nothing_is_dropped() -> None:
    detections = _detections((0.4, 0.1, 0.5, 0.2))
    assert NO_MASKS.unmasked(detections) is detections
    assert not NO_MASKS
    assert NO_MASKS.draw((4, 3)).min() == 255


def test_overlapping_masks_mask_where_they_overlap() -> None:
    masks = Masks((_CORNER, _CORNER))
    assert masks.covered(np.array([[0.7, 0.2, 0.8, 0.3]])).tolist() == [True]
    assert masks.draw((100, 100))[20, 70] == 0


@settings(max_examples=50, deadline=None)
@given(
    polygon=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=6),
    points=st.lists(st.tuples(st.integers(2, 97), st.integers(2, 47)), min_size=1, max_size=20),
)
def test_drawn_pixels_are_those_whose_centre_is_in_a_mask(
    polygon: list[tuple[float, float]], points: list[tuple[int, int]]
) -> None:
    masks = Masks((tuple(polygon),))
    image = masks.draw((100, 50))
    for x, y in points:
        # Where the pixels around agree, no edge is near.
        around = image[y - 2 : y + 3, x - 2 : x + 3]
        if around.min() == around.max():
            centre = np.array([[(x + 0.5) / 100, (y + 0.5) / 50] * 2])
            assert masks.covered(centre)[0] == (image[y, x] == 0)

import math

import cv2
import numpy as np
from beeagent_models.augmentation.geometry import affine_matrix, clip_to_frame, transform_boxes, warp
from hypothesis import given, settings
from hypothesis import strategies as st

NO_BOXES = np.zeros((0, 4), np.float32)


@settings(deadline=None, max_examples=50)
@given(
    angle=st.floats(0, 2 * math.pi),
    scale=st.floats(0.3, 2),
    mirror=st.booleans(),
    axes=st.tuples(st.integers(12, 40), st.integers(12, 40)),
)
def test_the_box_of_a_rotated_ellipse_encloses_it_closely(
    angle: float,
    scale: float,
    mirror: bool,  # noqa: FBT001 - given by hypothesis
    axes: tuple[int, int],
) -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.ellipse(image, (100, 90), axes, 0, 0, 360, (255, 255, 255), -1)
    box = np.array([[100 - axes[0], 90 - axes[1], 101 + axes[0], 91 + axes[1]]], np.float32)
    matrix = affine_matrix(
        scale_x=scale, scale_y=scale, angle=angle, mirror=mirror, source=(100, 90), target=(120, 120)
    )
    rotated = warp(image, matrix, width=240, height=240, fill=(0, 0, 0))[..., 0] > 127
    xs, ys = np.flatnonzero(rotated.any(0)), np.flatnonzero(rotated.any(1))
    seen = [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]
    # What is seen is off by up to a pixel; the ellipse is drawn as a polygon, off in its own image, which is scaled.
    np.testing.assert_allclose(transform_boxes(box, matrix)[0], seen, atol=1 + 1.3 * scale)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3), st.booleans())
def test_quarter_turns_keep_boxes_exact(quarters: int, mirror: bool) -> None:  # noqa: FBT001 - given by hypothesis
    matrix = affine_matrix(
        scale_x=1, scale_y=1, angle=quarters * math.pi / 2, mirror=mirror, source=(30, 20), target=(30, 20)
    )
    box = np.array([[20, 15, 40, 25]], np.float32)
    expected = [20, 15, 40, 25] if quarters % 2 == 0 else [25, 10, 35, 30]
    np.testing.assert_allclose(transform_boxes(box, matrix)[0], expected, atol=1e-4)


def test_object_half_outside_is_kept_ignored_or_dropped() -> None:
    boxes = np.array([[-4, 0, 6, 10], [-6, 20, 4, 30], [-9.5, 40, 0.5, 50], [50, 50, 52, 52]], np.float32)
    kept, ids, ignored = clip_to_frame(boxes, np.arange(4), NO_BOXES, width=100, height=100, smallest=4)
    assert kept.tolist() == [[0, 0, 6, 10]]
    assert ids.tolist() == [0]
    assert ignored.tolist() == [[0, 20, 4, 30], [50, 50, 52, 52]]

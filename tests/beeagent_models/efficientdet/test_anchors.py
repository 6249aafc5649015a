import math

import numpy as np
import pytest
from beeagent_models.efficientdet import EfficientDetConfig, anchor_boxes, config_for, decode_boxes, encode_boxes
from beeagent_models.efficientdet.anchors import feature_shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray


def lite0(anchor_scale: float | None = None) -> EfficientDetConfig:
    return config_for("lite0", labels=("bee",), anchor_scale=anchor_scale)


@pytest.mark.parametrize(("size", "count"), [(320, 19206), (384, 27621), (512, 49104), (640, 76725)])
def test_known_anchor_counts(size: int, count: int) -> None:
    assert anchor_boxes(lite0(), size, size).shape == (count, 4)


def test_anchors_stand_where_plain_loops_put_them() -> None:
    height, width, scale = 192, 320, 2.0
    expected = []
    for level in range(3, 8):
        rows, columns = math.ceil(height / 2**level), math.ceil(width / 2**level)
        for row in range(rows):
            for column in range(columns):
                for octave in range(3):
                    for ratio in (1.0, 2.0, 0.5):
                        side = scale * 2**level * 2 ** (octave / 3)
                        expected.append(
                            (
                                (row + 0.5) / rows,
                                (column + 0.5) / columns,
                                side / math.sqrt(ratio) / height,
                                side * math.sqrt(ratio) / width,
                            )
                        )
    np.testing.assert_allclose(anchor_boxes(lite0(scale), height, width), expected, rtol=1e-6)


def test_first_anchor_is_24_pixels_square_at_the_corner() -> None:
    first = anchor_boxes(lite0(), 320, 320)[0] * 320
    np.testing.assert_allclose(first, [4, 4, 24, 24], rtol=1e-6)


def test_feature_maps_halve_and_round_up() -> None:
    assert feature_shapes(lite0(), 320, 200) == [(40, 25), (20, 13), (10, 7), (5, 4), (3, 2)]


def test_zero_codes_are_the_anchors_themselves() -> None:
    anchors = anchor_boxes(lite0(), 128, 128)
    boxes = decode_boxes(np.zeros_like(anchors), anchors)
    np.testing.assert_allclose((boxes[:, 1] + boxes[:, 3]) / 2, anchors[:, 0], atol=1e-6)
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], anchors[:, 3], atol=1e-6)


def test_a_code_worked_out_by_hand() -> None:
    anchor = np.array([[50, 40, 20, 10]], np.float32)  # y, x, h, w
    box = np.array([[38, 45, 58, 65]], np.float32)  # 20 wide, 20 high, middle (48, 55)
    codes = encode_boxes(box, anchor)
    np.testing.assert_allclose(codes, [[5 / 20, 8 / 10, 0.0, math.log(2)]], atol=1e-6)


def test_an_absurd_code_stays_finite() -> None:
    boxes = decode_boxes(np.full((1, 4), 1e4, np.float32), np.array([[0.5, 0.5, 0.1, 0.1]], np.float32))
    assert np.isfinite(boxes).all()


positions = st.floats(-500, 500, width=32)
sides = st.floats(0.5, 500, width=32)


@settings(deadline=None, max_examples=50)
@given(st.tuples(positions, positions, sides, sides), st.tuples(positions, positions, sides, sides))
def test_decoding_undoes_encoding(
    box: tuple[float, float, float, float], anchor: tuple[float, float, float, float]
) -> None:
    left, top, width, height = box
    boxes: NDArray[np.float32] = np.array([[left, top, left + width, top + height]], np.float32)
    anchors: NDArray[np.float32] = np.array([anchor], np.float32)
    np.testing.assert_allclose(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, atol=0.02)

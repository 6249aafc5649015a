import numpy as np
import pytest
from beeagent_models.efficientdet.anchors import decode_boxes
from beeagent_models.training.matching import IGNORED, NO_OBJECT
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from beeagent_models.training.detector_model import anchor_targets  # noqa: E402 - only where Keras is

pytestmark = pytest.mark.training


def as_arrays(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    anchors = np.concatenate([rng.uniform(0, 256, (40, 2)), rng.uniform(8, 128, (40, 2))], axis=1).astype(np.float32)
    corner = rng.uniform(0, 200, (3, 7, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 90, (3, 7, 2))], axis=2).astype(np.float32)
    boxes[:, 5:] = 0  # padding
    class_ids = rng.integers(0, 3, (3, 7)).astype(np.int32)
    matches = rng.choice([NO_OBJECT, IGNORED, 0, 1, 2, 3, 4], (3, 40)).astype(np.int32)
    return anchors, matches, boxes, class_ids


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_targets_are_those_of_a_loop_over_anchors(seed: int) -> None:
    anchors, matches, boxes, class_ids = as_arrays(seed)
    found_boxes, found_classes = (
        np.asarray(keras.ops.convert_to_numpy(part)) for part in anchor_targets(anchors, matches, boxes, class_ids)
    )
    assert found_boxes.shape == (3, 40, 5)
    assert found_classes.shape == (3, 40, 1)
    for image in range(3):
        for number, (y, x, height, width) in enumerate(anchors):
            match = matches[image, number]
            wanted = [0.0] * 5
            if match >= 0:
                left, top, right, bottom = boxes[image, match]
                wanted = [
                    ((top + bottom) / 2 - y) / height,
                    ((left + right) / 2 - x) / width,
                    np.log((bottom - top) / height),
                    np.log((right - left) / width),
                    1.0,
                ]
            np.testing.assert_allclose(found_boxes[image, number], wanted, rtol=1e-4, atol=1e-5)
            wanted_class = class_ids[image, match] + 1 if match >= 0 else {NO_OBJECT: 0, IGNORED: -1}[match]
            assert found_classes[image, number, 0] == wanted_class


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_targets_lead_back_to_their_objects(seed: int) -> None:
    anchors, matches, boxes, class_ids = as_arrays(seed)
    codes = np.asarray(keras.ops.convert_to_numpy(anchor_targets(anchors, matches, boxes, class_ids)[0]))
    for image in range(3):
        matched = matches[image] >= 0
        decoded = decode_boxes(codes[image, matched, :4], anchors[matched])
        np.testing.assert_allclose(decoded, boxes[image, matches[image, matched]], atol=0.02)

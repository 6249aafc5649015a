"""Detections of a frame: arrays, iteration, pixels, supervision."""

import sys

import numpy as np
import pytest
import supervision
from beeagent.detection import Box, Detection, Detections
from beeagent.errors import BeeagentError


def detections(count: int, **changes: object) -> Detections:
    arrays: dict[str, object] = {
        "boxes": np.zeros((count, 4), dtype=np.float32),
        "confidences": np.zeros(count, dtype=np.float32),
        "class_ids": np.array([2, 0, 2, 1, 2][:count], dtype=np.int64),
    }
    return Detections(**{**arrays, **changes}, labels=("bee", "wasp", "drone"))  # type: ignore[arg-type]  # on purpose


def test_labels_and_counts_follow_the_class_ids() -> None:
    found = detections(5)
    assert len(found) == 5
    assert [found.label(index) for index in range(5)] == ["drone", "bee", "drone", "wasp", "drone"]
    assert list(found.counts().items()) == [("bee", 1), ("wasp", 1), ("drone", 3)]


def test_no_detections_have_no_counts() -> None:
    assert len(detections(0)) == 0
    assert detections(0).counts() == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": np.zeros((2, 4), dtype=np.float32)},
        {"boxes": np.zeros((3, 5), dtype=np.float32)},
        {"boxes": np.zeros(12, dtype=np.float32)},
        {"class_ids": np.zeros(4, dtype=np.int64)},
        {"class_ids": np.zeros((3, 1), dtype=np.int64)},
        {"confidences": np.zeros(2, dtype=np.float32)},
    ],
)
def test_arrays_of_unequal_lengths_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="do not match"):
        detections(3, **changes)


TWO = Detections(
    np.array([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.125]], np.float32),
    np.array([0.75, 0.5], np.float32),
    np.array([1, 0]),
    ("bee", "wasp"),
)


def test_iteration_yields_label_confidence_and_box() -> None:
    assert list(TWO) == [
        Detection("wasp", 0.75, Box(left=0.25, top=0.5, right=0.75, bottom=1.0)),
        Detection("bee", 0.5, Box(0.0, 0.0, 0.5, 0.125)),
    ]
    left, top, right, bottom = next(iter(TWO)).box
    assert (left, top, right, bottom) == (0.25, 0.5, 0.75, 1.0)
    assert [type(value) for value in (next(iter(TWO)).confidence, left)] == [float, float]


def test_xyxy_is_in_pixels_of_the_frame() -> None:
    boxes = TWO.xyxy((640, 480))
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[160, 240, 480, 480], [0, 0, 320, 60]]
    assert detections(0).xyxy((640, 480)).shape == (0, 4)


def test_supervision_gets_pixels_confidences_classes_and_names() -> None:
    converted = TWO.to_supervision((640, 480))
    assert isinstance(converted, supervision.Detections)
    np.testing.assert_array_equal(converted.xyxy, TWO.xyxy((640, 480)))
    np.testing.assert_array_equal(converted.confidence, TWO.confidences)
    np.testing.assert_array_equal(converted.class_id, [1, 0])
    assert list(converted["class_name"]) == ["wasp", "bee"]
    assert len(detections(0).to_supervision((640, 480))) == 0


def test_missing_supervision_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(BeeagentError, match=r"needs supervision, .* pip install '\.\[evaluate\]'"):
        TWO.to_supervision((640, 480))

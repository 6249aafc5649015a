import json
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.cloud import CloudDetectionError
from beeagent.cloud.rekognition import parse_response
from beeagent.detection import Detections
from hypothesis import given
from hypothesis import strategies as st
from support.rekognition_server import ARTICLE_ANSWER
from support.shared_data import shared_file

pytestmark = pytest.mark.aws


def read(labels: Any, **names: str) -> Detections:  # noqa: ANN401 - malformed ones too
    return parse_response({"CustomLabels": labels, "ResponseMetadata": {}}, labels=("bee",), names=names)


def label(name: str = "bee", confidence: float = 50.0, **box: float) -> dict[str, Any]:
    whole = {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4, **box}
    return {"Name": name, "Confidence": confidence, "Geometry": {"BoundingBox": whole}}


def test_response_of_the_article() -> None:
    found = read(ARTICLE_ANSWER)
    assert found.label(0) == "bee"
    assert found.confidences.tolist() == pytest.approx([0.999679946899414])
    left, top = 0.34908, 0.36126
    assert found.boxes[0].tolist() == pytest.approx([left, top, left + 0.17472, top + 0.23268])


def test_real_response_for_a_crowded_hive() -> None:
    genuine = json.loads(shared_file("third_party/3898660.rekognition.json").read_text())
    height, width = cv2.imread(str(shared_file("third_party/3898660.jpg"))).shape[:2]
    found = read(
        [
            label("bee", one["confidence"], Left=one["left"] / width, Top=one["top"] / height,
                  Width=one["width"] / width, Height=one["height"] / height)
            for one in reversed(genuine)
        ]
    )  # fmt: skip
    assert found.counts() == {"bee": 22}
    assert found.confidences.tolist() == pytest.approx([one["confidence"] / 100 for one in genuine])
    assert found.boxes[0].tolist() == pytest.approx([120 / width, 252 / height, 187 / width, 315 / height])
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= 1


def test_labels_are_renamed_kept_or_omitted() -> None:
    found = read([label("Apis"), label("wasp", 90), label("dirt", 99)], Apis="bee", dirt="")
    assert [found.label(i) for i in range(len(found))] == ["wasp", "bee"]
    assert found.labels == ("bee", "wasp")


def test_boxes_are_clipped_to_the_frame_and_labels_without_a_box_ignored() -> None:
    found = read([label(Left=-0.1, Width=1.3), {"Name": "scene", "Confidence": 99.0}, {**label(), "Geometry": {}}])
    assert found.boxes.tolist() == [pytest.approx([0, 0.2, 1, 0.6])]


@pytest.mark.parametrize(
    "response",
    [
        None, [], {}, {"CustomLabels": None}, {"CustomLabels": {}}, {"message": "<html>"},
        {"CustomLabels": [{"Name": "bee"}]}, {"CustomLabels": [label(confidence=100.1)]},
        {"CustomLabels": [label(confidence=float("nan"))]}, {"CustomLabels": [label(Left=float("inf"))]},
        {"CustomLabels": [label(Width=-0.1)]}, {"CustomLabels": [label("")]},
    ],
)  # fmt: skip
def test_malformed_response_is_refused(response: object) -> None:
    with pytest.raises(CloudDetectionError) as caught:
        parse_response(response, labels=("bee",), names={})
    assert caught.value.reason == "refused"


finite = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(st.floats(0, 100), finite, finite, st.floats(0, 1e6), st.floats(0, 1e6)), max_size=8))
def test_detections_are_valid_for_any_boxes(boxes: list[tuple[float, ...]]) -> None:
    found = read([label("bee", c, Left=x, Top=y, Width=w, Height=h) for c, x, y, w, h in boxes])
    assert len(found) == len(boxes)
    assert np.all(np.diff(found.confidences) <= 0)
    assert np.all((found.boxes >= 0) & (found.boxes <= 1))
    assert np.all(found.boxes[:, :2] <= found.boxes[:, 2:])

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.messages import detections_message
from beeagent_models.results import read_result
from hypothesis import given
from hypothesis import strategies as st
from support.shared_data import shared_file

LABELS = ("bee", "wasp")
rows = st.lists(
    st.tuples(
        st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
        st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
        st.floats(0, 1),
        st.integers(0, 1),
    ),
    max_size=6,
)


def message(found: Detections, **changes: object) -> dict[str, Any]:
    made = detections_message(
        event_id=UUID(int=7),
        device="hive-7",
        camera="front",
        seq=1,
        captured_at=datetime(2026, 5, 4, tzinfo=timezone.utc),
        frame_width=640,
        frame_height=480,
        model="bees-lite0@3f9c21d0",
        decided_by="edge",
        detections=found,
        inference_ms=1.0,
        total_ms=2.0,
    )
    return {**json.loads(made.to_json()), **changes}


def one(confidence: float = 0.5) -> Detections:
    return Detections(
        np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), np.array([confidence], np.float32), np.zeros(1, np.int64), LABELS
    )


@given(rows)
def test_published_messages_are_readable(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[list[float], list[float], float, int]]
) -> None:
    drawn = sorted(drawn, key=lambda row: -row[2])
    found = Detections(
        boxes=np.array([[xs[0], ys[0], xs[1], ys[1]] for xs, ys, _, _ in drawn], np.float32).reshape(-1, 4),
        confidences=np.array([confidence for _, _, confidence, _ in drawn], np.float32),
        class_ids=np.array([class_id for _, _, _, class_id in drawn], np.int64),
        labels=LABELS,
    )
    path = tmp_path_factory.getbasetemp() / "message.json"
    path.write_text(json.dumps(message(found)))
    result = read_result(path)
    assert result.size == (640, 480)
    assert np.allclose(result.detections.boxes, found.boxes, atol=1e-4)
    assert np.allclose(result.detections.confidences, found.confidences, atol=1e-4)
    assert [result.detections.label(i) for i in range(len(found))] == [found.label(i) for i in range(len(found))]


def test_a_line_of_many_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text("".join(json.dumps(message(one(confidence))) + "\n" for confidence in (0.25, 0.5, 0.75)))
    assert [read_result(path, line=n).detections.confidences[0] for n in (1, 2, 3)] == [0.25, 0.5, 0.75]
    with pytest.raises(InputError, match=r"messages\.jsonl has no line 4"):
        read_result(path, line=4)


def test_an_indented_message_is_read(tmp_path: Path) -> None:
    path = tmp_path / "message.json"
    path.write_text(json.dumps(message(one()), indent=2))
    assert len(read_result(path).detections) == 1


@pytest.mark.parametrize("indent", [None, 2])
def test_byte_order_mark_is_passed_over(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "message.json"
    path.write_text(json.dumps(message(one()), indent=indent), encoding="utf-8-sig")
    assert len(read_result(path).detections) == 1


def test_byte_order_marks_inside_joined_results_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_bytes(2 * (json.dumps(message(one())) + "\n").encode("utf-8-sig"))
    assert [len(read_result(path, line=n).detections) for n in (1, 2)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "result: Invalid JSON"),
        ("{", "result: Invalid JSON"),
        ("[" * 100_000, "result: Invalid JSON"),
        ("7", r"message beeagent\.detections/1: Input should be"),
        ('{"schema": "beeagent.status/1"}', "message .*schema: "),
        (json.dumps(message(one(), frame=None)), "message .*frame: "),
        (
            json.dumps(message(one(), detections=[{"label": "bee", "confidence": 2}])),
            r"message .*detections\.0\.confidence: ",
        ),
        ('{"CustomLabels": 1}', "response of Rekognition: CustomLabels: "),
        ('{"CustomLabels": [{"Name": "bee", "Confidence": 101}]}', r"response .* CustomLabels\.0\.Confidence: "),
        (
            '{"CustomLabels": [{"Name": "bee", "Confidence": 99, "Geometry": {"BoundingBox": {"Left": NaN}}}]}',
            r"response .* CustomLabels\.0\.Geometry\.BoundingBox\.Left: ",
        ),
        ('[{"left": 1}]', r"list of boxes in pixels: 0\.top: "),
        ('[{"left": 1, "top": 1, "width": 1, "height": 1, "confidence": 9}]', ".*but the image size is unknown"),
    ],
)
def test_invalid_message_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "message.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"message\.json:1: (no )?{complaint}") as caught:
        read_result(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read: No such file"):
        read_result(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match=r"binary\.json is not UTF-8"):
        read_result(tmp_path / "binary.json")


def bounding(left: float, top: float, width: float, height: float) -> dict[str, object]:
    return {"BoundingBox": {"Left": left, "Top": top, "Width": width, "Height": height}}


@pytest.mark.parametrize("indent", [None, 2])
def test_rekognitions_response_is_read_strongest_first_and_clipped(tmp_path: Path, indent: int | None) -> None:
    content = {
        "CustomLabels": [
            {"Name": "wasp", "Confidence": 25.0, "Geometry": bounding(-0.1, 0.5, 0.2, 0.75)},
            {"Name": "bee", "Confidence": 99.97, "Geometry": bounding(0.25, 0.5, 0.5, 0.25)},
            {"Name": "summer", "Confidence": 80.0},
        ],
        "ResponseMetadata": {"HTTPStatusCode": 200},
    }
    (tmp_path / "a.jpg.json").write_text(json.dumps(content, indent=indent))
    result = read_result(tmp_path / "a.jpg.json")
    assert result.size is None
    found = result.detections
    assert [found.label(i) for i in range(len(found))] == ["bee", "wasp"]
    assert found.confidences.tolist() == pytest.approx([0.9997, 0.25])
    assert found.boxes[0].tolist() == [0.25, 0.5, 0.75, 0.75]
    assert found.boxes[1].tolist() == pytest.approx([0, 0.5, 0.1, 1])


def test_an_image_that_rekognition_refused_has_no_result_but_a_reason(tmp_path: Path) -> None:
    result = tmp_path / "hive.json"
    result.write_text(json.dumps({"Error": {"Code": "ImageTooLargeException", "Message": "It has\n20 MB"}}))
    with pytest.raises(InputError, match=r"Rekognition refused the image: ImageTooLargeException It has.20 MB"):
        read_result(result)


def test_a_list_of_boxes_in_pixels_is_measured_by_its_image(tmp_path: Path) -> None:
    box = {"left": 100, "top": 50, "width": 100, "height": 100, "confidence": 50}
    (tmp_path / "a.json").write_text(json.dumps([box, {**box, "label": "bee", "confidence": 75}]))
    found = read_result(tmp_path / "a.json", image_size=(400, 200)).detections
    assert [found.label(i) for i in range(2)] == ["bee", "object"]
    assert found.boxes.tolist() == [[0.25, 0.25, 0.5, 0.75]] * 2
    with pytest.raises(InputError, match=r"to \(200, 150\) is outside of the image of 150x200: give the image"):
        read_result(tmp_path / "a.json", image_size=(150, 200))


def test_the_genuine_answer_of_the_article_is_read() -> None:
    found = read_result(shared_file("third_party/3898660.rekognition.json"), image_size=(500, 375)).detections
    assert len(found) == 22
    assert found.confidences[0] == pytest.approx(0.99998)
    assert found.boxes[0].tolist() == pytest.approx([120 / 500, 252 / 375, 187 / 500, 315 / 375])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    json_values
    | st.fixed_dictionaries({"CustomLabels": json_values})
    | st.lists(st.fixed_dictionaries({"left": json_values, "top": st.just(0), "width": json_values}), max_size=2)
)
def test_any_json_is_a_result_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        read_result(path, image_size=(10, 10))
    except InputError as error:
        assert "any.json" in str(error)  # noqa: PT017 - not every value is refused

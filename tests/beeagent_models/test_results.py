import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from beeagent.delivery.message import detections_message
from beeagent.detection.detections import Detections
from beeagent.errors import InputError
from beeagent_models.results import read_result
from hypothesis import given
from hypothesis import strategies as st

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
    return {**made, **changes}


def one(confidence: float = 0.5) -> Detections:
    return Detections(
        np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), np.array([confidence], np.float32), np.zeros(1, np.int64), LABELS
    )


@given(rows)
def test_what_the_agent_publishes_is_read_back(
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
    assert (result.width, result.height) == (640, 480)
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


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ('{"schema": "beeagent.status/1"}', "schema: "),
        (json.dumps(message(one(), frame=None)), "frame: "),
        (json.dumps(message(one(), detections=[{"label": "bee", "confidence": 2}])), r"detections\.0\.confidence: "),
    ],
)
def test_what_is_no_message_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "message.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"message\.json:1: no message beeagent\.detections/1: {complaint}") as caught:
        read_result(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read: No such file"):
        read_result(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match=r"binary\.json is not UTF-8"):
        read_result(tmp_path / "binary.json")

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.messages import DetectionsMessage, MessageTooLargeError, detections_message, load_schema
from beeagent.messages.schema import generate_schema
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

VALIDATOR = Draft202012Validator(load_schema("detections"), format_checker=FormatChecker())
EVENT = UUID("8f14e45f-ceea-467f-a0e6-0242ac120002")
MOMENT = datetime(2026, 5, 4, 10, 21, 7, 123456, tzinfo=timezone.utc)

ratios = st.floats(0, 1, width=32)
labels = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6, unique=True)


def make_detections(
    boxes: list[list[float]], confidences: list[float], class_ids: list[int], names: tuple[str, ...] = ("bee",)
) -> Detections:
    return Detections(
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        confidences=np.array(confidences, dtype=np.float32),
        class_ids=np.array(class_ids, dtype=np.int64),
        labels=names,
    )


@st.composite
def any_detections(draw: st.DrawFn) -> Detections:
    names = draw(labels)
    count = draw(st.integers(0, 30))
    boxes = []
    for _ in range(count):
        left, right = sorted((draw(ratios), draw(ratios)))
        top, bottom = sorted((draw(ratios), draw(ratios)))
        boxes.append([left, top, right, bottom])
    confidences = sorted((draw(ratios) for _ in range(count)), reverse=True)
    class_ids = [draw(st.integers(0, len(names) - 1)) for _ in range(count)]
    return make_detections(boxes, confidences, class_ids, tuple(names))


def message_of(detections: Detections, **changes: Any) -> DetectionsMessage:  # noqa: ANN401 - any argument
    arguments: dict[str, Any] = {
        "event_id": EVENT,
        "device": "hive-7",
        "camera": "front",
        "seq": 48213,
        "captured_at": MOMENT,
        "frame_width": 1280,
        "frame_height": 720,
        "model": "bees-lite0@3f9c21d0",
        "decided_by": "edge",
        "detections": detections,
        "inference_ms": 18.4,
        "total_ms": 39.0,
    }
    return detections_message(**(arguments | changes))


def json_of(detections: Detections, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any argument
    read: dict[str, Any] = json.loads(message_of(detections, **changes).to_json())
    return read


def test_a_message_is_the_one_of_the_design() -> None:
    found = make_detections([[0.3491, 0.3612, 0.5238, 0.5939]], [0.97142], [0])
    assert json.loads(message_of(found).encode(limit=7000)) == {
        "schema": "beeagent.detections/1",
        "event_id": "8f14e45f-ceea-467f-a0e6-0242ac120002",
        "device": "hive-7",
        "camera": "front",
        "seq": 48213,
        "captured_at": "2026-05-04T10:21:07.123456Z",
        "frame": {"width": 1280, "height": 720},
        "model": "bees-lite0@3f9c21d0",
        "decided_by": "edge",
        "detections": [
            {
                "label": "bee",
                "confidence": 0.9714,
                "box": {"left": 0.3491, "top": 0.3612, "width": 0.1747, "height": 0.2327},
            }
        ],
        "counts": {"bee": 1},
        "latency_ms": {"inference": 18.4, "total": 39.0},
    }


def test_detections_carry_the_numbers_of_their_tracks() -> None:
    found = make_detections([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], [0.9, 0.8], [0, 0])
    message = json_of(found, tracks=[7, 0])
    VALIDATOR.validate(message)
    assert [one.get("track") for one in message["detections"]] == [7, None]
    assert "track" not in message["detections"][1]
    assert DetectionsMessage.decode(json.dumps(message).encode()).detections[0].track == 7
    with pytest.raises(ValueError, match="zip"):
        message_of(found, tracks=[7])


@given(any_detections())
def test_any_detections_make_a_valid_message_with_boxes_within_the_frame(detections: Detections) -> None:
    message = json.loads(message_of(detections).encode(limit=1_000_000), parse_float=Decimal)
    for index, found in enumerate(message["detections"]):
        box = found["box"]
        assert box["left"] + box["width"] <= 1
        assert box["top"] + box["height"] <= 1
        left, top, right, bottom = (Decimal(float(edge)) for edge in detections.boxes[index])
        step = Decimal("0.00005")
        assert abs(box["left"] - left) <= step
        assert abs(box["top"] - top) <= step
        assert abs(box["left"] + box["width"] - right) <= step
        assert abs(box["top"] + box["height"] - bottom) <= step
        assert found["label"] == detections.labels[int(detections.class_ids[index])]
        for value in (*box.values(), found["confidence"]):
            assert value.as_tuple().exponent >= -4
    assert sum(message["counts"].values()) == len(detections)
    VALIDATOR.validate(json.loads(message_of(detections).encode(limit=1_000_000)))


@given(any_detections(), st.integers(500, 6000))
def test_shortened_message_keeps_the_strongest_detections_that_fit(detections: Detections, limit: int) -> None:
    message = json_of(detections)
    try:
        encoded = message_of(detections).encode(limit=limit)
    except MessageTooLargeError:
        bare = {**message, "detections": [], "omitted": len(detections)}
        assert len(json.dumps(bare, ensure_ascii=False, separators=(",", ":")).encode()) > limit
        return
    assert len(encoded) <= limit
    read = json.loads(encoded)
    VALIDATOR.validate(read)
    kept = len(read["detections"])
    assert read["detections"] == message["detections"][:kept]
    assert read["counts"] == message["counts"]
    assert read.get("omitted", 0) == len(detections) - kept
    if "omitted" in read:
        one_more = {**message, "detections": message["detections"][: kept + 1]}
        if kept + 1 < len(detections):
            one_more["omitted"] = len(detections) - kept - 1
        assert len(json.dumps(one_more, ensure_ascii=False, separators=(",", ":")).encode()) > limit


def test_the_json_is_compact_and_in_utf_8() -> None:
    encoded = message_of(make_detections([[0, 0, 1, 1]], [1], [0], ("пчела",))).encode(limit=7000)
    assert "пчела".encode() in encoded
    assert b": " not in encoded


def test_every_field_of_a_message_is_in_its_schema() -> None:
    message = json_of(
        make_detections([[0, 0, 1, 1]], [1], [0]),
        decided_by="edge-degraded",
        fallback="timeout",
        source="a.mp4",
        position_s=1.5,
    )
    known = load_schema("detections")["properties"]
    assert set(message) | {"omitted"} == set(known)


@pytest.mark.parametrize(
    ("given_source", "position_s", "expected"),
    [
        ("IMG_0007.jpg", None, {"name": "IMG_0007.jpg"}),
        ("hive.mp4", 12.40001, {"name": "hive.mp4", "position_s": 12.4}),
        ("n\udcffx.png", None, {"name": "n\ufffdx.png"}),
    ],
)
def test_source_is_named(given_source: str, position_s: float | None, expected: dict[str, Any]) -> None:
    message = json_of(make_detections([], [], []), source=given_source, position_s=position_s)
    assert message["source"] == expected
    VALIDATOR.validate(message)


def test_no_source_no_position() -> None:
    assert "source" not in json_of(make_detections([], [], []))
    with pytest.raises(ValueError, match="without a source"):
        message_of(make_detections([], [], []), position_s=1.0)


def test_fallback_goes_with_edge_degraded_only() -> None:
    nothing = make_detections([], [], [])
    message = json_of(nothing, decided_by="edge-degraded", fallback="timeout")
    assert message["fallback"] == {"reason": "timeout"}
    VALIDATOR.validate(message)
    assert not VALIDATOR.is_valid({**message, "decided_by": "edge"})
    assert not VALIDATOR.is_valid({key: value for key, value in message.items() if key != "fallback"})
    with pytest.raises(ValueError, match="edge-degraded"):
        message_of(nothing, decided_by="edge-degraded")
    with pytest.raises(ValueError, match="edge-degraded"):
        message_of(nothing, fallback="timeout")


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq": 0},
        {"frame_width": 0},
        {"decided_by": "nobody"},
        {"inference_ms": -1.0},
        {"total_ms": float("nan")},
        {"captured_at": MOMENT.replace(tzinfo=None)},
    ],
)
def test_value_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        message_of(make_detections([], [], []), **wrong)


def test_captured_at_is_utc_with_six_decimals() -> None:
    summer = timezone(timedelta(hours=2))
    whole = datetime(2026, 5, 4, 12, 0, tzinfo=summer)
    assert json_of(make_detections([], [], []), captured_at=whole)["captured_at"] == "2026-05-04T10:00:00.000000Z"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("seq",), "1"),
        (("seq",), 0),
        (("event_id",), "not-a-uuid"),
        (("captured_at",), "2026-05-04T10:21:07Z"),
        (("frame", "width"), 1.5),
        (("frame", "depth"), 3),
        (("decided_by",), "me"),
        (("device",), "a/b"),
        (("detections", 0, "confidence"), 1.2),
        (("detections", 0, "box", "left"), -0.1),
        (("detections", 0, "box", "area"), 0.1),
        (("counts", "bee"), 0),
        (("omitted",), 0),
        (("latency_ms", "total"), "39"),
    ],
)
def test_the_schema_refuses(place: tuple[str | int, ...], value: object) -> None:
    message = json_of(make_detections([[0, 0, 1, 1]], [1], [0]))
    VALIDATOR.validate(message)
    target: Any = message
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    assert not VALIDATOR.is_valid(message)


def test_shortening_twice_counts_all_omitted_detections() -> None:
    message = message_of(make_detections([[0, 0, 1, 1]] * 30, [1] * 30, [0] * 30))
    once = DetectionsMessage.decode(message.encode(limit=2000))
    twice = json.loads(once.encode(limit=1000))
    assert len(twice["detections"]) < len(once.detections)
    assert len(twice["detections"]) + twice["omitted"] == twice["counts"]["bee"] == 30


def test_message_reserved_before_the_clock_was_set_is_readable() -> None:
    message = message_of(make_detections([], [], []), captured_at=datetime(1970, 1, 1, tzinfo=timezone.utc))
    years_ms = (MOMENT - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1000
    assert DetectionsMessage.decode(message.updated(seq=1, total_ms=years_ms).to_json()).latency_ms.total == years_ms


@pytest.mark.parametrize("name", ["detections", "event", "state", "status", "traffic"])
def test_schema_files_are_generated_from_the_models(name: str) -> None:
    assert load_schema(name) == generate_schema(name), "call beeagent.messages.schema.write_schemas()"


@pytest.mark.parametrize("name", ["detections", "event", "state", "status", "traffic"])
def test_schemas_are_schemas_and_describe_every_field(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:beeagent:schema:{name}:1"

    def fields(part: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(part, dict):
            for key, value in part.items():
                if key == "properties":
                    yield from value.items()
                if key not in ("if", "then", "else"):
                    yield from fields(value)

    undescribed = [key for key, value in fields(schema) if "description" not in value]
    assert undescribed == []


def test_an_unknown_schema_is_refused() -> None:
    with pytest.raises(InputError, match=r"'nothing'.*detections, event, state, status or traffic"):
        load_schema("nothing")

"""The status message says what the stages reported."""

import json
import time
from datetime import datetime, timezone
from typing import Any

from beeagent.messages import CameraCounts, load_schema
from beeagent.outbox import OutboxCounts
from beeagent.runtime.health import Health
from jsonschema import Draft202012Validator


def _health() -> Health:
    return Health(
        device="hive-7",
        camera="front",
        model=lambda: "bees@12345678",
        counts=lambda: CameraCounts(skipped=4, replaced=5, rate_limited=6, reconnects=7),
        outbox=lambda: OutboxCounts(produced=9, delivered=5, dropped={"full": 1}),
        last_delivery=lambda: datetime(2026, 5, 4, 10, 21, 7, tzinfo=timezone.utc),
    )


def _read(payload: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(payload)
    Draft202012Validator(load_schema("status")).validate(message)
    return message


def test_online_without_troubles() -> None:
    status = _read(_health().status())
    assert (status["state"], status["reasons"]) == ("online", [])
    assert status["outbox"] == {
        "produced": 9,
        "delivered": 5,
        "waiting": 3,
        "dropped": {"full": 1},
        "last_delivery_at": "2026-05-04T10:21:07.000000Z",
    }
    counts = ("frames_skipped", "frames_replaced", "frames_rate_limited", "reconnects")
    assert [status["cameras"][0][count] for count in counts] == [4, 5, 6, 7]


def test_a_trouble_degrades_until_it_is_over() -> None:
    health = _health()
    assert health.set_trouble("camera", "gone")
    assert not health.set_trouble("camera", "gone")
    status = _read(health.status())
    assert (status["state"], status["reasons"]) == ("degraded", ["camera: gone"])
    assert health.set_trouble("camera", None)
    assert _read(health.status())["state"] == "online"


def test_frames_are_counted_with_their_age() -> None:
    health = _health()
    for _ in range(3):
        health.count_frame(captured_ns=time.monotonic_ns() - 2_000_000_000)
    camera = _read(health.status())["cameras"][0]
    assert camera["frames_read"] == 3
    assert camera["frame_age_s"] >= 2
    assert camera["frames_per_s"] > 0


def test_the_farewell_is_offline() -> None:
    assert _read(_health().farewell("stopped"))["reasons"] == ["stopped"]

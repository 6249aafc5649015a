import json
from datetime import datetime, timezone
from typing import Any

import pytest
from beeagent.messages import CameraStatus, CollectionStatus, SecondOpinionStatus, load_schema, status_message
from beeagent.outbox import OutboxCounts
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

VALIDATOR = Draft202012Validator(load_schema("status"), format_checker=FormatChecker())
MOMENT = datetime(2026, 5, 4, 10, 21, 7, 5, tzinfo=timezone.utc)

counts = st.integers(0, 10**9)
seconds = st.floats(0, 1e9, allow_nan=False)


@given(
    reasons=st.lists(st.text(min_size=1), max_size=3),
    offline=st.booleans(),
    cameras=st.lists(
        st.builds(
            CameraStatus,
            name=st.text(min_size=1, max_size=256),
            frames_read=counts,
            frames_skipped=counts,
            frames_per_s=seconds,
            frame_age_s=st.none() | seconds,
        ),
        max_size=3,
    ),
    outbox=st.none()
    | st.builds(OutboxCounts, counts, counts, st.dictionaries(st.text(), st.integers(1, 9), max_size=2)),
    uptime=st.none() | seconds,
    workers=st.none() | st.integers(1, 64),
    threads=st.none() | st.integers(1, 64),
    last_delivery=st.none() | st.datetimes(timezones=st.just(timezone.utc)),
    second_opinion=st.none()
    | st.builds(
        SecondOpinionStatus,
        asked=counts,
        cloud=counts,
        degraded=st.dictionaries(st.text(), st.integers(1, 9), max_size=2),
        calls=counts,
        saved=counts,
        seen_running_s=seconds,
        estimated_cost_usd=st.floats(0, 1e11),
        collected=st.none() | st.builds(CollectionStatus, pictures=counts, megabytes=seconds),
    ),
)
def test_any_status_is_valid(  # noqa: PLR0913 - what a status tells
    *,
    reasons: list[str],
    offline: bool,
    cameras: list[CameraStatus],
    outbox: OutboxCounts | None,
    uptime: float | None,
    workers: int | None,
    threads: int | None,
    last_delivery: datetime | None,
    second_opinion: SecondOpinionStatus | None,
) -> None:
    if outbox is not None and outbox.waiting < 0:
        outbox = None
    status = status_message(
        device="hive-7",
        state=("offline" if offline else "degraded") if reasons else "online",
        reasons=reasons,
        at=MOMENT,
        agent_version="0.1.0",
        uptime_s=uptime,
        model="bees-lite0@3f9c21d0",
        workers=workers,
        threads=threads,
        cameras=cameras,
        outbox=outbox,
        last_delivery=last_delivery,
        second_opinion=second_opinion,
    )
    message = json.loads(status.encode(limit=1_000_000))
    VALIDATOR.validate(message)
    schema = load_schema("status")
    assert set(message) <= set(schema["properties"])
    assert set(message.get("second_opinion", {})) <= set(schema["$defs"]["SecondOpinionStatus"]["properties"])
    assert set(message.get("outbox", {})) <= set(schema["$defs"]["OutboxStatus"]["properties"])


def test_the_outbox_adds_up_in_the_status() -> None:
    status = status_message(
        device="hive-7",
        state="degraded",
        reasons=["no connection"],
        at=MOMENT,
        agent_version="0.1.0",
        outbox=OutboxCounts(produced=10, delivered=6, dropped={"full": 1}),
    )
    message = json.loads(status.to_json())
    assert message["at"] == "2026-05-04T10:21:07.000005Z"
    assert message["outbox"] == {"produced": 10, "delivered": 6, "waiting": 3, "dropped": {"full": 1}}


@pytest.mark.parametrize(
    "wrong", [{"state": "online", "reasons": ["hot"]}, {"state": "degraded", "reasons": []}, {"state": "asleep"}]
)
def test_state_must_match_reasons(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"device": "d", "state": "degraded", "reasons": ["x"], "at": MOMENT, "agent_version": "1"}
    VALIDATOR.validate(json.loads(status_message(**good).to_json()))
    with pytest.raises(ValueError, match="state"):
        status_message(**(good | wrong))

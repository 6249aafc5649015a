"""`beeagent status` with a real broker."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from beeagent.cli.status import show_status, status_lines
from beeagent.errors import InputError
from beeagent.messages import (
    Asleep,
    CameraStatus,
    CollectionStatus,
    SecondOpinionStatus,
    StatusMessage,
    UnreadableError,
    status_message,
)
from beeagent.outbox import OutboxCounts
from beeagent.settings import load_settings
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import publish
from support.beeagent_process import run_beeagent, running_agent, tiny_model
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber

MOMENT = datetime(2026, 5, 4, 10, 21, 7, tzinfo=timezone.utc)


def status(device: str = "hive-7", *reasons: str, state: Any = None) -> bytes:  # noqa: ANN401 - a literal
    message = status_message(
        device=device,
        state=state or ("degraded" if reasons else "online"),
        reasons=reasons,
        at=MOMENT,
        agent_version="0.1.0",
        uptime_s=93784,
        model="bees-lite0@3f9c21d0",
        cameras=[
            CameraStatus(name="front", frames_read=48213, frames_skipped=2, frames_per_s=12.34, frame_age_s=0.081)
        ],
        outbox=OutboxCounts(produced=213, delivered=200, dropped={"full": 3, "refused": 1}),
        last_delivery=MOMENT - timedelta(seconds=2),
        second_opinion=SecondOpinionStatus(
            asked=9,
            cloud=5,
            degraded={"timeout": 2, "budget": 1},
            calls=6,
            saved=3,
            seen_running_s=5400.0,
            estimated_cost_usd=6.0,
            collected=CollectionStatus(pictures=12, megabytes=3.5),
        ),
    )
    return message.encode(limit=7000)


def retain(port: int, topic: str, payload: bytes) -> None:
    publish.single(topic, payload, qos=1, retain=True, port=port)


def printed_status(broker: Mosquitto, device: str = "+", *, wait_s: float = 1.0) -> tuple[bool, list[str]]:
    lines: list[str] = []
    fine = show_status(
        load_settings({"broker": str(broker.address)}, config=None), device=device, wait_s=wait_s, write=lines.append
    )
    return fine, lines


def test_all_fields_are_printed() -> None:
    lines = status_lines(
        StatusMessage.decode(status("hive-7", "camera: gone", "broker: away")), now=MOMENT + timedelta(hours=3)
    )
    assert lines == [
        "hive-7 is degraded, as of 2026-05-04T10:21:07.000000Z (3 h ago)",
        "  reason     camera: gone",
        "  reason     broker: away",
        "  agent      beeagent 0.1.0, up 1 d 2 h 3 min",
        "  model      bees-lite0@3f9c21d0",
        "  camera     front: 12.3 frames/s, newest frame 0.1 s old; 48213 processed, 2 could not be read",
        "  results    213 produced: 200 delivered, 9 waiting, 4 dropped (3 full, 1 refused)",
        "  delivery   last at 2026-05-04T10:21:05.000000Z (3 h ago)",
        (
            "  opinion    9 uncertain frames: 5 decided by the cloud model, 3 without it (1 budget, 2 timeout); "
            "6 calls, 3 saved"
        ),
        "  opinion    the cloud model ran for at least 1 h 30 min: about $6.00 or more",
        "  opinion    12 frames saved as training data, 3.5 MB",
    ]


def test_camera_counts_are_printed_unless_0() -> None:
    camera = CameraStatus(
        name="front",
        frames_read=9,
        frames_skipped=0,
        frames_per_s=1.0,
        frames_replaced=3,
        frames_rate_limited=2,
        reconnects=1,
    )
    message = status_message(device="d", state="online", reasons=[], at=MOMENT, agent_version="9", cameras=[camera])
    (line,) = [
        line for line in status_lines(StatusMessage.decode(message.encode(limit=7000)), now=MOMENT) if "front" in line
    ]
    assert line.endswith("9 processed, 0 could not be read, 3 replaced by newer ones, 2 over max_rate, 1 reconnects")


def test_time_in_the_future_has_no_age() -> None:
    (line, *_) = status_lines(StatusMessage.decode(status()), now=MOMENT - timedelta(seconds=1))
    assert line == "hive-7 is online, as of 2026-05-04T10:21:07.000000Z"


def test_measured_workers_are_printed() -> None:
    for threads, on in ((None, ""), (4, " on 4 thread(s)")):
        message = status_message(
            device="d", state="online", reasons=[], at=MOMENT, agent_version="9", workers=2, threads=threads
        )
        lines = status_lines(StatusMessage.decode(message.encode(limit=7000)), now=MOMENT)
        assert lines[-1] == f"  workers    2 frame(s) in parallel{on}, as measured"


@pytest.mark.parametrize(
    ("until", "words"),
    [(MOMENT + timedelta(hours=9), "2026-05-04T19:21:07.000000Z"), (None, "it is bright")],
)
def test_sleep_is_printed_and_is_fine(mosquitto: Mosquitto, until: datetime | None, words: str) -> None:
    message = status_message(
        device="d",
        state="online",
        reasons=[],
        at=MOMENT,
        agent_version="9",
        asleep=Asleep.between(MOMENT - timedelta(hours=1), until),
    )
    retain(mosquitto.port, "beeagent/d/status", message.encode(limit=7000))
    fine, lines = printed_status(mosquitto, "d", wait_s=60)
    assert fine
    assert lines[0].startswith("d is online and asleep, as of ")
    assert lines[-1].startswith("  asleep     since 2026-05-04T09:21:07.000000Z (")
    assert f", until {words}" in lines[-1]


def test_minimal_status() -> None:
    least = status_message(device="d", state="offline", reasons=["stopped"], at=MOMENT, agent_version="9")
    assert status_lines(StatusMessage.decode(least.encode(limit=7000)), now=MOMENT) == [
        "d is offline, as of 2026-05-04T10:21:07.000000Z (0.0 s ago)",
        "  reason     stopped",
        "  agent      beeagent 9",
    ]


def test_success_if_all_devices_are_online(mosquitto: Mosquitto) -> None:
    retain(mosquitto.port, "beeagent/hive-7/status", status())
    assert printed_status(mosquitto)[0]
    retain(mosquitto.port, "beeagent/hive-8/status", status("hive-8", "stopped", state="offline"))
    fine, lines = printed_status(mosquitto)
    assert not fine
    assert [line.split(",")[0] for line in lines if " is " in line] == ["hive-7 is online", "hive-8 is offline"]
    fine, lines = printed_status(mosquitto, "hive-7", wait_s=60)  # which is not waited for, or the test would be slow
    assert fine
    assert not any("hive-8" in line for line in lines)


def test_failure_without_status_or_with_a_foreign_one(mosquitto: Mosquitto) -> None:
    assert printed_status(mosquitto, "hive-9", wait_s=0.2) == (
        False,
        ["no status of device hive-9: no agent of that name has connected"],
    )
    assert printed_status(mosquitto, wait_s=0.2) == (False, ["no status of any device at beeagent/+/status"])
    retain(mosquitto.port, "beeagent/hive-7/status", b"\x1b[2J")
    fine, lines = printed_status(mosquitto, "hive-7")
    assert not fine
    assert lines[0].startswith("not a status message of beeagent on beeagent/hive-7/status: ")
    assert lines[0].isprintable()


@pytest.mark.parametrize("broker", ["none", "embedded", "mqtt://127.0.0.1:1"])
def test_missing_broker_is_refused(broker: str) -> None:
    with pytest.raises(InputError, match=r"--broker"):
        show_status(load_settings({"broker": broker}, config=None), device="+", wait_s=1, write=print)


@pytest.mark.parametrize("device", ["#", "a/b", "", "++"])
def test_invalid_device_name_is_refused(device: str) -> None:
    with pytest.raises(InputError, match="name"):
        show_status(load_settings({}, config=None), device=device, wait_s=1, write=print)


def test_status_of_a_running_and_a_stopped_agent(mosquitto: Mosquitto, tmp_path: Path) -> None:
    broker = ("--broker", f"mqtt://127.0.0.1:{mosquitto.port}")
    command = ("status", *broker, "--device", "hive-7")
    with subscriber(mosquitto.port, "beeagent/#") as subscribed:
        with running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), *broker, "--device", "hive-7",
            "--publish", "always", folder=tmp_path,
        ) as agent:  # fmt: skip
            subscribed.wait_until(lambda: any(b'"online"' in message for message in subscribed.payloads("/status")))
            ended = run_beeagent(*command, folder=tmp_path)
            assert ended.returncode == 0, ended.stderr
            assert ended.stdout.startswith("hive-7 is online, as of ")
            subscribed.wait_until(lambda: subscribed.payloads("/detections"))
            agent.process.terminate()
            assert agent.end() == 0, agent.errors
        subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
    last = json.loads(subscribed.payloads("/status")[-1])
    assert last["outbox"]["delivered"] > 0
    assert last["outbox"]["last_delivery_at"] <= last["at"]
    ended = run_beeagent(*command, folder=tmp_path)
    assert ended.returncode == 1
    assert "  reason     stopped" in ended.stdout.splitlines()
    assert "delivery   last at" in ended.stdout


@given(
    place=st.sampled_from(["device", "at", "agent", "model", "reason", "camera", "dropped", "last_delivery_at"]),
    text=st.text(
        alphabet=st.characters(categories=["Cc", "Cf", "L", "Nd", "Zl", "Zp", "So"]), min_size=1, max_size=300
    ),
)
def test_control_characters_in_a_status_are_replaced(place: str, text: str) -> None:
    message = json.loads(status("hive-7", "x"))
    if place == "reason":
        message["reasons"] = [text]
    elif place == "camera":
        message["cameras"][0]["name"] = text
    elif place == "dropped":
        message["outbox"]["dropped"] = {text: 1}
    elif place == "last_delivery_at":
        message["outbox"][place] = text
    else:
        message[place] = text
    try:
        read = StatusMessage.decode(json.dumps(message).encode())
    except UnreadableError:
        return  # too long
    for line in status_lines(read, now=MOMENT):
        assert line.isprintable()
        assert len(line) < 400


@given(
    value=st.none() | st.integers() | st.floats() | st.text(max_size=9),
    place=st.sampled_from(["uptime_s", "age", "count"]),
)
def test_odd_numbers_in_a_status(value: object, place: str) -> None:
    message = json.loads(status())
    if place == "uptime_s":
        message[place] = value
    elif place == "age":
        message["cameras"][0]["frame_age_s"] = value
    else:
        message["outbox"]["waiting"] = value
    try:
        read = StatusMessage.decode(json.dumps(message).encode())
    except UnreadableError:
        return
    assert status_lines(read, now=MOMENT)

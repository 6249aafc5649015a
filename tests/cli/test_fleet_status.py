"""`beeagent fleet status` with a real broker."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from beeagent.cli.fleet_status import fleet_json, fleet_table, show_fleet
from beeagent.errors import InputError
from beeagent.messages import (
    Asleep,
    CameraStatus,
    DeviceHealth,
    StatusMessage,
    UnreadableError,
    device_health,
    outliers_first,
    status_message,
)
from beeagent.outbox import OutboxCounts
from beeagent.settings import load_settings
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import publish
from support.beeagent_command import run_command
from support.mosquitto import Mosquitto

NOW = datetime(2026, 5, 4, 10, 21, 7, tzinfo=timezone.utc)


def status(device: str, *reasons: str, **changes: Any) -> StatusMessage:  # noqa: ANN401 - fields of a status
    fields: dict[str, Any] = {
        "state": "degraded" if reasons else "online",
        "at": NOW - timedelta(seconds=5),
        "agent_version": "0.2.0",
        "model": "bees-lite0@3f9c21d0",
        "cameras": [CameraStatus(name="front", frames_read=9, frames_skipped=0, frames_per_s=12.34)],
        "outbox": OutboxCounts(produced=213, delivered=200, dropped={"full": 3}),
        "last_delivery": NOW - timedelta(seconds=65),
    }
    return status_message(device=device, reasons=reasons, **(fields | changes))


def health(device: str, *reasons: str, retained: bool = True, **changes: Any) -> DeviceHealth:  # noqa: ANN401 - as above
    return device_health(device, status(device, *reasons, **changes), retained=retained, now=NOW)


def printed(broker: Mosquitto, *, as_json: bool = False, wait_s: float = 1.0) -> tuple[bool, list[str]]:
    lines: list[str] = []
    settings = load_settings({"broker": str(broker.address)}, config=None)
    return show_fleet(settings, wait_s=wait_s, as_json=as_json, write=lines.append), lines


def retain(broker: Mosquitto, *messages: tuple[str, bytes]) -> None:
    publish.multiple([(topic, payload, 1, True) for topic, payload in messages], port=broker.port)


def test_table_has_outliers_first() -> None:
    devices = outliers_first(
        [
            health("a"),
            health("b", agent_version="0.1.0"),
            health("c", model="bees-lite0@00000000"),
            health("d", "camera: gone"),
            health("e", "connection lost", state="offline"),
            health("f", at=NOW - timedelta(minutes=10)),
            health("g", outbox=OutboxCounts(produced=900, delivered=100, dropped={}), last_delivery=None),
            health("h"),
        ]
    )
    assert [" ".join(line.split()) for line in fleet_table(devices, {}, ignored=0)] == [
        "device health status last result version model frames/s waiting problems",
        "f quiet 10 min ago 1 min ago 0.2.0 bees-lite0@3f9c21d0 12.3 10 no status for minutes",
        "e offline 5.0 s ago 1 min ago 0.2.0 bees-lite0@3f9c21d0 12.3 10 connection lost",
        "d degraded 5.0 s ago 1 min ago 0.2.0 bees-lite0@3f9c21d0 12.3 10 camera: gone",
        "b online 5.0 s ago 1 min ago 0.1.0 bees-lite0@3f9c21d0 12.3 10 version differs from most (0.2.0)",
        "c online 5.0 s ago 1 min ago 0.2.0 bees-lite0@00000000 12.3 10 model differs from most (bees-lite0@3f9c21d0)",
        "g online 5.0 s ago none 0.2.0 bees-lite0@3f9c21d0 12.3 800 800 results waiting",
        "a online 5.0 s ago 1 min ago 0.2.0 bees-lite0@3f9c21d0 12.3 10",
        "h online 5.0 s ago 1 min ago 0.2.0 bees-lite0@3f9c21d0 12.3 10",
        "8 devices: 1 quiet, 1 offline, 1 degraded, 5 online",
    ]


def test_json_has_all_fields() -> None:
    (device,) = fleet_json([health("hive-7")], {"x": "no JSON"}, ignored=2, now=NOW)["devices"]
    assert device == {
        "device": "hive-7",
        "health": "online",
        "problems": [],
        "status_at": "2026-05-04T10:21:02.000000Z",
        "status_age_s": 5.0,
        "asleep": False,
        "agent": "0.2.0",
        "model": "bees-lite0@3f9c21d0",
        "uptime_s": None,
        "last_result_at": "2026-05-04T10:20:02.000000Z",
        "last_result_age_s": 65.0,
        "frames_per_s": 12.34,
        "waiting": 10,
        "dropped": 3,
    }


def test_sleeping_device_is_healthy() -> None:
    one = health("a", asleep=Asleep.between(NOW, None))
    assert fleet_table([one], {}, ignored=0)[1].split()[:2] == ["a", "online"]
    assert "asleep" in fleet_table([one], {}, ignored=0)[1]
    assert one.to_json()["asleep"]


def test_wrong_clock_is_a_problem_and_no_silence() -> None:
    assert health("a", at=NOW - timedelta(days=9), retained=False).health == "online"
    assert health("a", at=NOW - timedelta(days=9), retained=False).problems == ("its clock is wrong",)
    assert health("a", at=NOW + timedelta(days=9)).problems == ("its clock is wrong",)
    assert health("a", at=NOW + timedelta(days=9)).status_age_s == 0


def test_offline_device_stays_offline_however_long() -> None:
    assert health("a", "stopped", state="offline", at=NOW - timedelta(days=9)).health == "offline"


def test_status_of_another_device_is_a_problem() -> None:
    assert device_health("b", status("a"), retained=True, now=NOW).problems == ("its status is of device a",)


def test_fleet_at_a_broker(mosquitto: Mosquitto) -> None:
    now = datetime.now(timezone.utc)
    devices = [f"hive-{number}" for number in range(300)]
    retain(
        mosquitto,
        *((f"beeagent/{one}/status", status(one, at=now, last_delivery=now).encode(limit=7000)) for one in devices),
    )
    fine, lines = printed(mosquitto)
    assert fine
    assert lines[-1] == "300 devices: 300 online"
    assert sorted(line.split()[0] for line in lines[1:-1]) == sorted(devices)
    retain(
        mosquitto,
        ("beeagent/hive-9/status", status("hive-9", "stopped", state="offline", at=now).encode(limit=7000)),
        ("beeagent/hive-8/status", b""),
        ("beeagent/hive-7/status", b"\x1b]0;owned\x07\x1b[2J{"),
        ("beeagent/hive\u202e/status", status("x", at=now).encode(limit=7000)),
        ("beeagent/hive-6/status", b"9" * 100_000),
        ("beeagent/hive-5/front/status", b"of another"),
    )
    fine, lines = printed(mosquitto)
    assert not fine
    assert lines[1].startswith("hive-9 ")
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("not a status message of beeagent, of device hive-7: ") for line in lines)
    assert "not a status message of beeagent, of device hive-6: 100000 bytes long" in lines
    assert lines[-1] == "298 devices: 1 offline, 297 online"
    fine, (line,) = printed(mosquitto, as_json=True)
    assert not fine
    assert line.isascii()
    fleet = json.loads(line)
    assert fleet["summary"] == {"devices": 298, "quiet": 0, "offline": 1, "degraded": 0, "online": 297}
    assert fleet["devices"][0]["device"] == "hive-9"
    assert [one["device"] for one in fleet["unreadable"]] == ["hive-6", "hive-7"]


def test_no_device_at_a_broker(mosquitto: Mosquitto) -> None:
    assert printed(mosquitto, wait_s=0.2) == (False, ["no status of any device at beeagent/+/status"])


def test_too_many_devices_are_left_out(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beeagent.cli.fleet_status._MAX_DEVICES", 2)
    retain(mosquitto, *((f"beeagent/{one}/status", b"x") for one in "abcd"))
    _, lines = printed(mosquitto)
    assert len(lines) == 4
    assert lines[2] == "2 messages were of more than 2 devices and are left out"


@pytest.mark.parametrize("broker", ["none", "embedded", "mqtt://127.0.0.1:1"])
def test_missing_broker_is_refused(broker: str) -> None:
    with pytest.raises(InputError, match=r"--broker"):
        show_fleet(load_settings({"broker": broker}, config=None), wait_s=1, as_json=False, write=print)


def test_command(mosquitto: Mosquitto, tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    retain(mosquitto, ("beeagent/hive-7/status", status("hive-7", at=now).encode(limit=7000)))
    command = ("fleet", "status", "--broker", str(mosquitto.address), "--wait", "1")
    ended = run_command(*command, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[1].split()[:2] == ["hive-7", "online"]
    retain(mosquitto, ("beeagent/hive-8/status", status("hive-8", "camera: gone", at=now).encode(limit=7000)))
    ended = run_command(*command, "--json", folder=tmp_path)
    assert ended.returncode == 1
    assert [one["health"] for one in json.loads(ended.stdout)["devices"]] == ["degraded", "online"]


TEXTS = st.text(alphabet=st.characters(categories=["Cc", "Cf", "L", "Nd", "Zl", "Zp", "So", "Mn"]), max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(
        st.tuples(TEXTS, st.dictionaries(st.sampled_from(list(status("a").model_dump(by_alias=True))), JSON | TEXTS)),
        max_size=4,
    ),
    st.booleans(),
)
def test_hostile_status_never_breaks_table_or_json(
    messages: list[tuple[str, dict[str, object]]],
    retained: bool,  # noqa: FBT001 - from hypothesis
) -> None:
    devices, unreadable = [], {}
    for device, changes in messages:
        message = {**json.loads(status("hive-7", "x").to_json()), **changes}
        try:
            read = StatusMessage.decode(json.dumps(message).encode())
        except UnreadableError as error:
            unreadable[device] = str(error)
        else:
            devices.append(device_health(device, read, retained=retained, now=NOW))
    devices = outliers_first(devices)
    for line in fleet_table(devices, unreadable, ignored=1):
        assert line.isprintable()
        assert len(line) < 1000
    assert json.dumps(fleet_json(devices, unreadable, ignored=1, now=NOW)).isascii()
    assert len(devices) + len(unreadable) <= len(messages)


@given(
    at=st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z"),
    last=st.none() | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z"),
    reasons=st.lists(TEXTS, max_size=30),
    retained=st.booleans(),
)
def test_any_time_and_reason_is_printed(at: str, last: str | None, reasons: list[str], retained: bool) -> None:  # noqa: FBT001 - from hypothesis
    message = json.loads(status("hive-7", "x").to_json())
    message |= {"at": at, "reasons": reasons, "state": "degraded" if reasons else "online"}
    message["outbox"]["last_delivery_at"] = last
    try:
        read = StatusMessage.decode(json.dumps(message).encode())
    except UnreadableError:
        return
    one = device_health("hive-7", read, retained=retained, now=NOW)
    assert one.status_age_s >= 0
    assert one.last_result_age_s is None or one.last_result_age_s >= 0
    for line in fleet_table(outliers_first([one]), {}, ignored=0):
        assert line.isprintable()
        assert len(line) < 1000

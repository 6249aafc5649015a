"""A full or read-only disk, and a clock that is set while the agent runs."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beeagent.messages import load_schema
from beeagent.outbox import Outbox
from jsonschema import Draft202012Validator, FormatChecker
from support.beeagent_process import DEADLINE, RunningAgent, running_agent, tiny_model
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import Subscriber, subscriber
from support.outbox_files import read_books
from support.settable_clock import SettableClock
from support.tiny_disk import TinyDisk, tiny_disk

pytestmark = pytest.mark.faults


def arguments(folder: Path, broker: Mosquitto, state: Path) -> list[str | Path]:
    return [
        "--camera", "synthetic:160x120@30", *tiny_model(folder), "--publish", "always", "--device", "hive",
        "--broker", f"mqtt://127.0.0.1:{broker.port}", "--state-dir", state, "--threads", "1",
    ]  # fmt: skip


def seqs(seen: Subscriber) -> list[int]:
    return [json.loads(payload)["seq"] for payload in seen.payloads("/detections")]


def wait_for_status(seen: Subscriber, fits: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for a status that fits, among those to come."""
    mark = len(seen.payloads("/status"))
    seen.wait_until(
        lambda: any(fits(json.loads(payload)) for payload in seen.payloads("/status")[mark:]), deadline=DEADLINE
    )


def stop(agent: RunningAgent) -> None:
    agent.process.send_signal(signal.SIGTERM)
    assert agent.end() == 0, agent.errors
    assert not any("Traceback" in line for line in agent.errors), agent.errors


def cannot_store(status: dict[str, Any]) -> bool:
    return status["state"] == "degraded" and "results cannot be stored" in "".join(status["reasons"])


def test_full_disk_is_reported_and_loses_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        subscriber(mosquitto.port, "beeagent/#") as seen,
        tiny_disk(tmp_path / "disk") as disk,
        running_agent(*arguments(tmp_path, mosquitto, disk.folder), folder=tmp_path, prefix=disk.prefix) as agent,
    ):
        seen.wait_for(5, topic_end="/detections", deadline=DEADLINE)
        disk.fill()
        wait_for_status(seen, cannot_store)
        assert "full" in seen.payloads("/status")[-1].decode()
        disk.empty()
        wait_for_status(seen, lambda status: status["state"] == "online")
        reached = len(seqs(seen))
        seen.wait_for(reached + 5, topic_end="/detections", deadline=DEADLINE)
        stop(agent)
        assert seqs(seen) == list(range(1, len(seqs(seen)) + 1))
        books = read_books(outbox_of(disk))
        assert books.balanced
        assert books.dropped == {}


def test_kill_and_restart_on_full_disk_loses_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with subscriber(mosquitto.port, "beeagent/#") as seen, tiny_disk(tmp_path / "disk") as disk:
        given = arguments(tmp_path, mosquitto, disk.folder)
        with running_agent(*given, folder=tmp_path, prefix=disk.prefix) as agent:
            seen.wait_for(5, topic_end="/detections", deadline=DEADLINE)
            disk.fill()
            wait_for_status(seen, cannot_store)
            agent.process.kill()
            agent.process.wait(DEADLINE)
        assert read_books(outbox_of(disk)).balanced
        with running_agent(*given, folder=tmp_path, prefix=disk.prefix) as agent:
            wait_for_status(seen, cannot_store)
            reached = len(seqs(seen))
            disk.empty()
            seen.wait_for(reached + 5, topic_end="/detections", deadline=DEADLINE)
            stop(agent)
        assert list(dict.fromkeys(seqs(seen))) == list(range(1, max(seqs(seen)) + 1))
        by_seq: dict[int, set[bytes]] = {}
        for payload in seen.payloads("/detections"):
            by_seq.setdefault(json.loads(payload)["seq"], set()).add(payload)
        assert all(len(payloads) == 1 for payloads in by_seq.values())
        assert read_books(outbox_of(disk)).dropped == {}


def test_read_only_file_system_exits_2_and_loses_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with subscriber(mosquitto.port, "beeagent/#") as seen, tiny_disk(tmp_path / "disk") as disk:
        given = arguments(tmp_path, mosquitto, disk.folder)
        with running_agent(*given, folder=tmp_path, prefix=disk.prefix) as agent:
            seen.wait_for(5, topic_end="/detections", deadline=DEADLINE)
            agent.process.kill()
            agent.process.wait(DEADLINE)
        disk.remount("ro")
        with running_agent(*given, folder=tmp_path, prefix=disk.prefix) as agent:
            assert agent.end() == 2
            assert "cannot be opened: Read-only file system" in agent.errors[-1]
            assert "check the folder and its permissions" in agent.errors[-1]
        disk.remount("rw")
        with running_agent(*given, folder=tmp_path, prefix=disk.prefix) as agent:
            reached = max(seqs(seen))
            seen.wait_until(lambda: max(seqs(seen)) >= reached + 5, deadline=DEADLINE)
            stop(agent)
        assert list(dict.fromkeys(seqs(seen))) == list(range(1, max(seqs(seen)) + 1))
        assert read_books(outbox_of(disk)).balanced


def test_damaged_outbox_is_reported_and_replaced(mosquitto: Mosquitto, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "hive-camera.outbox.sqlite3").write_bytes(b"no outbox at all")
    with (
        subscriber(mosquitto.port, "beeagent/#") as seen,
        running_agent(*arguments(tmp_path, mosquitto, state), folder=tmp_path) as agent,
    ):
        wait_for_status(seen, lambda status: "renamed to" in "".join(status["reasons"]))
        seen.wait_for(5, topic_end="/detections", deadline=DEADLINE)
        stop(agent)
    status = next(status for payload in seen.payloads("/status") if (status := json.loads(payload))["reasons"])
    Draft202012Validator(load_schema("status"), format_checker=FormatChecker()).validate(status)
    assert status["state"] == "degraded"
    assert (state / "hive-camera.outbox.sqlite3.damaged-1").read_bytes() == b"no outbox at all"


def test_outbox_settings_apply_and_dropped_results_are_counted(mosquitto: Mosquitto, tmp_path: Path) -> None:
    state = tmp_path / "state"
    small = {
        "BEEAGENT_OUTBOX_MEGABYTES": "0.1",
        "BEEAGENT_OUTBOX_DRAIN_RATE": "1",
    }  # so that it is still there at the first commit

    def padded(seq: int) -> bytes:
        return json.dumps({"seq": seq, "padding": "x" * 900}).encode()

    outbox = Outbox(state / "hive-camera.outbox.sqlite3")
    for _ in range(300):
        number = outbox.next_number("hive/camera")
        outbox.put(stream="hive/camera", topic="beeagent/hive/camera/detections", payload=padded(number))
    assert outbox.close(timeout=DEADLINE)
    with (
        subscriber(mosquitto.port, "beeagent/#") as seen,
        running_agent(*arguments(tmp_path, mosquitto, state), folder=tmp_path, **small) as agent,
    ):
        seen.wait_until(lambda: max(seqs(seen), default=0) > 300, deadline=DEADLINE)
        stop(agent)
        seen.wait_until(lambda: b'"offline"' in seen.payloads("/status")[-1])
    counts = json.loads(seen.payloads("/status")[-1])["outbox"]
    assert counts["produced"] == counts["delivered"] + counts["waiting"] + sum(counts["dropped"].values())
    assert set(counts["dropped"]) == {"full"}
    assert counts["dropped"]["full"] > 100  # a third of the three hundred kilobytes has room


def outbox_of(disk: TinyDisk) -> Path:
    return disk.seen / "hive-camera.outbox.sqlite3"


@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_change_by_an_hour_loses_nothing(hours: int, mosquitto: Mosquitto, tmp_path: Path) -> None:
    clock = SettableClock(tmp_path)
    with (
        subscriber(mosquitto.port, "beeagent/#") as seen,
        running_agent(
            *arguments(tmp_path, mosquitto, tmp_path / "state"), folder=tmp_path, **clock.environment
        ) as agent,
    ):
        seen.wait_for(5, topic_end="/detections", deadline=DEADLINE)
        clock.set(hours=hours)
        times = [json.loads(payload)["captured_at"][:13] for payload in seen.payloads("/detections")]
        seen.wait_until(
            lambda: json.loads(seen.payloads("/detections")[-1])["captured_at"][:13] not in times, deadline=DEADLINE
        )
        reached = len(seqs(seen))
        seen.wait_for(reached + 20, topic_end="/detections", deadline=DEADLINE)
        stop(agent)
        assert seqs(seen) == list(range(1, len(seqs(seen)) + 1))
        states = [json.loads(payload) for payload in seen.payloads("/status")]
    assert [status["reasons"] for status in states if status["state"] == "degraded"] == []
    assert states[-1]["outbox"]["dropped"] == {}
    books = read_books(tmp_path / "state" / "hive-camera.outbox.sqlite3")
    assert books.balanced
    assert books.rows == 0

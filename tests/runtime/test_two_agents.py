"""Two agents on one outbox, in two processes: the second is refused, and the first loses nothing."""

import json
import os
import signal
from pathlib import Path

import pytest
from support.beeagent_process import run_beeagent, running_agent, tiny_bare_model, tiny_model
from support.greengrass_nucleus import nucleus_at
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber
from support.outbox_files import read_books

pytestmark = pytest.mark.faults

NOBODY = "mqtt://127.0.0.1:1"


def _arguments(folder: Path, broker: str) -> list[str | Path]:
    return [
        "--camera", "synthetic:160x120@60", *tiny_model(folder), "--publish", "always", "--device", "hive",
        "--broker", broker, "--stdout", "--threads", "1",
    ]  # fmt: skip


def _outbox(folder: Path) -> Path:
    return folder / "state" / "beeagent" / "hive-camera.outbox.sqlite3"


def _locks_on(path: Path) -> set[str]:
    """Return the kinds of locks on a file in `/proc/locks`, of any process."""
    inode = path.stat().st_ino
    lines = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    return {line[1] for line in lines if line[5].rpartition(":")[2] == str(inode)}


def _assert_refused(folder: Path, *arguments: str | Path) -> None:
    second = run_beeagent(*arguments, folder=folder)
    assert second.returncode == 2, second.stderr
    assert second.stdout == ""
    (line,) = second.stderr.splitlines()
    assert str(_outbox(folder)) in line
    assert "in use by another beeagent" in line
    assert "--camera-name or --state-dir" in line


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="Linux alone lists locks there")  # noqa: PTH110 - at import
def test_outbox_is_locked_while_agent_runs(tmp_path: Path) -> None:
    with running_agent(*_arguments(tmp_path, NOBODY), folder=tmp_path) as agent:
        agent.messages(1)
        assert "POSIX" in _locks_on(_outbox(tmp_path))
        assert "FLOCK" in _locks_on(_outbox(tmp_path).with_name("hive-camera.outbox.sqlite3.lock"))


def test_second_agent_exits_2_without_broker_and_nothing_is_lost(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with running_agent(*_arguments(tmp_path, NOBODY), folder=tmp_path) as first:
        produced = first.messages(5)
        _assert_refused(tmp_path, *_arguments(tmp_path, NOBODY))
        produced += first.messages(5)
        first.process.send_signal(signal.SIGTERM)
        assert first.end() == 0, first.errors
    assert read_books(_outbox(tmp_path)).balanced
    with subscriber(mosquitto.port, "beeagent/#") as subscribed:
        again = run_beeagent(
            *_arguments(tmp_path, f"mqtt://127.0.0.1:{mosquitto.port}"), "--frames", "1", folder=tmp_path
        )
        assert again.returncode == 0, again.stderr
        subscribed.wait_until(
            lambda: (
                {message["event_id"] for message in produced}
                <= {json.loads(payload)["event_id"] for payload in subscribed.payloads("/detections")}
            )
        )
    numbers = [json.loads(payload)["seq"] for payload in subscribed.payloads("/detections")]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_second_agent_exits_2_with_broker(mosquitto: Mosquitto, tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, f"mqtt://127.0.0.1:{mosquitto.port}")
    with (
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(*arguments, folder=tmp_path) as first,
    ):
        first.messages(5)
        _assert_refused(tmp_path, *arguments)
        first.messages(5)
        first.process.send_signal(signal.SIGTERM)
        assert first.end() == 0, first.errors
        subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
    numbers = [json.loads(payload)["seq"] for payload in subscribed.payloads("/detections")]
    assert numbers == list(range(1, len(numbers) + 1))
    states = [json.loads(payload)["state"] for payload in subscribed.payloads("/status")]
    assert states.count("offline") == 1


def test_agent_and_component_cannot_share_an_outbox(tmp_path: Path) -> None:
    _, model, _, labels = tiny_bare_model(tmp_path)
    with nucleus_at(tmp_path) as nucleus:
        nucleus.configuration = {
            "camera": "synthetic:160x120@60", "publish": "always", "broker": NOBODY, "device": "hive",
            "model": str(model), "labels": str(labels), "stdout": True,
        }  # fmt: skip
        variables = {
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(nucleus.socket),
            "SVCUID": nucleus.token,
        }
        with running_agent(*_arguments(tmp_path, NOBODY), folder=tmp_path) as first:
            first.messages(1)
            second = run_beeagent("--greengrass", folder=tmp_path, **variables)
            assert second.returncode == 2, second.stderr
            assert "in use by another beeagent" in second.stderr.splitlines()[-1]
        with running_agent("--greengrass", folder=tmp_path, **variables) as first:
            first.messages(1)
            _assert_refused(tmp_path, *_arguments(tmp_path, NOBODY))

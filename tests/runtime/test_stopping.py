"""SIGTERM and SIGINT stop the agent cleanly despite hanging parts, and systemd is notified.

None of these would end by itself: a process that waits for what hangs runs into the deadline.
"""

import json
import signal
import sqlite3
from pathlib import Path

import pytest
from support.beeagent_process import DEADLINE, running_agent, tiny_model
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber
from support.notify_socket import notify_socket

pytestmark = pytest.mark.faults

HANGING = (str(Path(__file__).parents[1] / "support" / "hanging_agent.py"),)
WATCHED = {"WATCHDOG_USEC": "1000000"}
STARVED = 2.0  # seconds without a sign of life


def _stored(folder: Path) -> int:
    """Count the results in the outbox's file."""
    (path,) = (folder / "state").glob("**/*.outbox.sqlite3")
    with sqlite3.connect(path) as outbox:
        return int(outbox.execute("SELECT count(*) FROM message").fetchone()[0])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_systemd_is_notified_of_ready_alive_and_stopping(how: signal.Signals, tmp_path: Path) -> None:
    with (
        notify_socket(tmp_path) as systemd,
        running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--broker", "none",
            folder=tmp_path, NOTIFY_SOCKET=systemd.address, **WATCHED,
        ) as agent,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1")
        agent.process.send_signal(how)
        assert agent.end() == 0, agent.errors
        assert systemd.all_so_far()[-1] == "STOPPING=1"


def test_missing_camera_exits_2_and_is_never_ready(tmp_path: Path) -> None:
    with (
        notify_socket(tmp_path) as systemd,
        running_agent(
            "--camera", tmp_path / "absent.mp4", *tiny_model(tmp_path), "--broker", "none",
            folder=tmp_path, NOTIFY_SOCKET=systemd.address,
        ) as agent,
    ):  # fmt: skip
        assert agent.end() == 2, agent.errors
        assert "READY=1" not in systemd.all_so_far()


def test_hanging_model_starves_watchdog_but_stops_in_time(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        notify_socket(tmp_path) as systemd,
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--publish", "always",
            "--broker", f"mqtt://127.0.0.1:{mosquitto.port}",
            folder=tmp_path, program=HANGING, NOTIFY_SOCKET=systemd.address, **WATCHED,
        ) as agent,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        systemd.wait_for_silence(STARVED)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
        assert systemd.all_so_far()[-1] == "STOPPING=1"
        subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
        assert json.loads(subscribed.payloads("/status")[-1])["reasons"] == ["stopped"]
    assert any("did not stop in time" in line for line in agent.errors)


def test_failure_beside_hanging_model_exits_1_at_once(tmp_path: Path) -> None:
    """Python's own end waited for the thread in the model, for which systemd had to kill the process."""
    with running_agent(
        "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--broker", "none",
        "--threads", "2", "--workers", "2",
        folder=tmp_path, program=HANGING, FAIL_BESIDE="1",
    ) as agent:  # fmt: skip
        assert agent.end() == 1, agent.errors
    assert any("the model failed" in line for line in agent.errors)
    assert "did not stop in time" in agent.errors[-1]


def test_hanging_broker_does_not_delay_stop(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--publish", "always", "--stdout",
            "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path,
        ) as agent,
    ):  # fmt: skip
        subscribed.wait_for(1, topic_end="/detections")
        mosquitto.pause()
        agent.messages(5)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
        mosquitto.resume()
    assert _stored(tmp_path) > 0


def test_blocked_stdout_does_not_delay_stop(tmp_path: Path) -> None:
    with (
        notify_socket(tmp_path) as systemd,
        running_agent(
            "--camera", "synthetic:320x240@200", *tiny_model(tmp_path), "--publish", "always", "--stdout",
            "--broker", "none", folder=tmp_path, NOTIFY_SOCKET=systemd.address, **WATCHED,
        ) as agent,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        systemd.wait_for_silence(STARVED)  # the pipe is full
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(DEADLINE) == 0


def test_signal_ends_wait_for_broker_at_end_of_file(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with running_agent(
        "--camera", "synthetic:320x240@30", "--frames", "20", *tiny_model(tmp_path), "--publish", "always", "--stdout",
        "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path,
    ) as agent:  # fmt: skip
        agent.messages(1)
        mosquitto.pause()
        agent.messages(19)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
        mosquitto.resume()

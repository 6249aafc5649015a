"""SIGTERM and SIGINT end the agent in order whatever hangs, and systemd hears of it.

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

HANGING = (str(Path(__file__).parents[1] / "support" / "hanging_agent.py"),)
WATCHED = {"WATCHDOG_USEC": "1000000"}
STARVED = 2.0  # seconds without a sign of life


def _stored(folder: Path) -> int:
    """Count the results in the outbox's file."""
    (path,) = (folder / "state").glob("**/*.outbox.sqlite3")
    with sqlite3.connect(path) as outbox:
        return int(outbox.execute("SELECT count(*) FROM message").fetchone()[0])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_systemd_hears_of_the_start_the_life_and_the_end(how: signal.Signals, tmp_path: Path) -> None:
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


def test_a_camera_that_is_refused_is_never_ready(tmp_path: Path) -> None:
    with (
        notify_socket(tmp_path) as systemd,
        running_agent(
            "--camera", tmp_path / "absent.mp4", *tiny_model(tmp_path), "--broker", "none",
            folder=tmp_path, NOTIFY_SOCKET=systemd.address,
        ) as agent,
    ):  # fmt: skip
        assert agent.end() == 2, agent.errors
        assert "READY=1" not in systemd.all_so_far()


def test_a_model_that_hangs_starves_the_watchdog_and_not_the_end(mosquitto: Mosquitto, tmp_path: Path) -> None:
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
    assert any("left behind" in line for line in agent.errors)


def test_a_failure_beside_a_model_that_hangs_ends_the_process_at_once(tmp_path: Path) -> None:
    """Python's own end waited for the thread in the model, for which systemd had to kill the process."""
    with running_agent(
        "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--broker", "none",
        "--threads", "2", "--workers", "2",
        folder=tmp_path, program=HANGING, FAIL_BESIDE="1",
    ) as agent:  # fmt: skip
        assert agent.end() == 1, agent.errors
    assert any("the model failed" in line for line in agent.errors)
    assert "left behind" in agent.errors[-1]


def test_a_broker_that_hangs_does_not_hold_up_the_end(mosquitto: Mosquitto, tmp_path: Path) -> None:
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


def test_a_reader_that_does_not_read_does_not_hold_up_the_end(tmp_path: Path) -> None:
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


def test_a_signal_ends_the_wait_for_the_broker_at_the_end_of_a_file(mosquitto: Mosquitto, tmp_path: Path) -> None:
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

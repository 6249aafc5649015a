"""An agent with a sleeping camera: its reports, its delivery, and waking without loss."""

import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from beeagent.messages import load_schema
from jsonschema import Draft202012Validator, FormatChecker
from support import agent_with_clock
from support.beeagent_process import DEADLINE, RunningAgent, run_beeagent, running_agent, tiny_bare_model, tiny_model
from support.mjpeg_server import MjpegServer
from support.mosquitto import Mosquitto, free_port
from support.mqtt_subscriber import Subscriber, subscriber
from support.notify_socket import notify_socket
from support.prometheus_text import read_metrics
from support.tiny_models import square_finder

PLACES = """
[lines.door]
points = [[0.0, 0.5], [1.0, 0.5]]
in = "down"
"""
NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
BY_DAY = ("--active", "sunrise-30m..sunset+30m", "--latitude", "46.95", "--longitude", "7.45")
EVENING, MORNING = NOON + timedelta(hours=8), NOON + timedelta(hours=20)


class ClockFile:
    """The clock of the agent, set by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, now: datetime) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(now.isoformat(), encoding="utf-8")
        new.rename(self.path)


def _get(port: int, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@dataclass
class Hive:
    """An agent at a camera and a broker, with a clock that is set by hand."""

    process: RunningAgent
    clock: ClockFile
    camera: MjpegServer
    subscribed: Subscriber
    http_port: int

    def messages(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.subscribed.payloads(f"/{kind}")]

    def status(self) -> dict[str, Any]:
        newest: dict[str, Any] = self.messages("status")[-1] if self.messages("status") else {}
        return newest

    def is_asleep(self) -> bool:
        return "asleep" in self.status()

    def fall_asleep(self, now: datetime = EVENING) -> None:
        self.clock.set(now)
        self.subscribed.wait_until(self.is_asleep)
        assert self.camera.wait_until_nobody_watches(DEADLINE)

    def wake(self, now: datetime = MORNING) -> list[dict[str, Any]]:
        """Return the detections after waking."""
        before = len(self.messages("detections"))
        self.clock.set(now)
        self.subscribed.wait_until(lambda: len(self.messages("detections")) > before)
        self.subscribed.wait_until(lambda: not self.is_asleep())
        return self.messages("detections")[before:]

    def end(self) -> None:
        self.process.process.send_signal(signal.SIGTERM)
        assert self.process.end() == 0, self.process.errors


@contextmanager
def hive(mosquitto: Mosquitto, folder: Path, *options: str | Path, **more: str) -> Iterator[Hive]:
    clock = ClockFile(folder / "clock")
    clock.set(NOON)
    port = free_port()
    with (
        MjpegServer() as camera,
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(
            "--camera", camera.url, "--device", "hive", "--camera-name", "front", *BY_DAY, "--broker",
            f"mqtt://127.0.0.1:{mosquitto.port}", "--publish", "always", "--http-port", str(port), *options,
            folder=folder, program=[agent_with_clock.__file__], CLOCK=str(clock.path), **more,
        ) as process,
    ):  # fmt: skip
        subscribed.wait_for(3, topic_end="/detections")
        yield Hive(process, clock, camera, subscribed, port)


def test_agent_reports_its_sleep(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        notify_socket() as systemd,
        hive(mosquitto, tmp_path, *tiny_model(tmp_path), NOTIFY_SOCKET=systemd.address) as agent,
    ):
        assert not agent.is_asleep()
        agent.fall_asleep()
        status = agent.status()
        assert (status["state"], status["reasons"]) == ("online", [])
        assert status["cameras"][0]["frames_per_s"] == 0
        assert status["asleep"]["since"] == "2026-05-04T20:00:00.000000Z"
        assert status["asleep"]["until"].startswith("2026-05-05T03:3")
        systemd.wait_for(f"STATUS=online: asleep until {status['asleep']['until']}")
        code, body = _get(agent.http_port, "/healthz")
        assert (code, json.loads(body)) == (200, {"state": "online", "reasons": [], "asleep": status["asleep"]})
        metrics = read_metrics(_get(agent.http_port, "/metrics")[1])
        assert metrics["beeagent_asleep", ()] == 1
        assert metrics["beeagent_wake_timestamp_seconds", ()] > EVENING.timestamp()
        broker = f"mqtt://127.0.0.1:{mosquitto.port}"
        shown = run_beeagent("status", "--broker", broker, "--device", "hive", folder=tmp_path)
        assert shown.returncode == 0, shown.stdout
        assert "hive is online and asleep" in shown.stdout
        assert status["asleep"]["until"] in shown.stdout
        agent.end()
        agent.subscribed.wait_until(lambda: agent.status()["state"] == "offline")
        assert not agent.is_asleep()
        validator = Draft202012Validator(load_schema("status"), format_checker=FormatChecker())
        for message in agent.messages("status"):
            validator.validate(message)


def test_agent_wakes_without_loss_and_traffic_has_asleep(mosquitto: Mosquitto, tmp_path: Path) -> None:
    places = tmp_path / "places.toml"
    places.write_text(PLACES, encoding="utf-8")
    with hive(mosquitto, tmp_path, *tiny_model(tmp_path), "--places", places) as agent:
        agent.fall_asleep()
        agent.subscribed.wait_for(1, topic_end="/traffic")
        assert agent.messages("traffic")[-1]["asleep"] == agent.status()["asleep"]
        asleep_count = len(agent.messages("traffic"))
        agent.wake()
        assert agent.status()["cameras"][0]["reconnects"] == 0
        assert agent.camera.connections == 2
        agent.end()
        agent.subscribed.wait_until(lambda: agent.status()["state"] == "offline")
        traffic, detections = agent.messages("traffic"), agent.messages("detections")
    assert len(traffic) > asleep_count
    assert "asleep" not in traffic[-1]
    for messages in (traffic, detections):
        assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    validator = Draft202012Validator(load_schema("traffic"), format_checker=FormatChecker())
    for message in traffic:
        validator.validate(message)


def test_model_is_reloaded_and_sigterm_ends_the_agent_while_the_camera_sleeps(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    _, model, _, labels = tiny_bare_model(tmp_path)
    other, config = tmp_path / "other.tflite", tmp_path / "beeagent.toml"
    other.write_bytes(square_finder(cells=(4, 4)))
    config.write_text(f"model = '{model}'\nlabels = '{labels}'\n", encoding="utf-8")
    with hive(mosquitto, tmp_path, "--config", config) as agent:
        agent.fall_asleep()
        config.write_text(f"model = '{other}'\nlabels = '{labels}'\n", encoding="utf-8")
        agent.process.process.send_signal(signal.SIGHUP)
        while 'model="other@' not in _get(agent.http_port, "/metrics")[1]:
            pass
        assert agent.is_asleep()
        assert agent.wake()[0]["model"].startswith("other@")
        agent.fall_asleep(EVENING + timedelta(days=1))
        agent.end()


def test_results_are_delivered_while_the_camera_sleeps(mosquitto: Mosquitto, tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock")
    clock.set(NOON)
    port = free_port()
    mosquitto.stop()
    with running_agent(
        "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--device", "hive", *BY_DAY, "--publish", "always",
        "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", "--http-port", str(port), "--stdout", folder=tmp_path,
        program=[agent_with_clock.__file__], CLOCK=str(clock.path),
    ) as agent:  # fmt: skip
        agent.messages(5)
        clock.set(EVENING)
        # Degraded, since the broker is away, which is noticed at the first attempt to connect.
        while "asleep" not in (health := json.loads(_get(port, "/healthz")[1])) or health["state"] != "degraded":
            pass
        mosquitto.start()
        with subscriber(mosquitto.port, "beeagent/#") as subscribed:
            subscribed.wait_for(5, topic_end="/detections", deadline=DEADLINE)
            while (metrics := read_metrics(_get(port, "/metrics")[1]))["beeagent_results_waiting", ()]:
                pass
            delivered = [json.loads(payload)["seq"] for payload in subscribed.payloads("/detections")]
        assert metrics["beeagent_asleep", ()] == 1
        assert metrics["beeagent_results_delivered_total", ()] == metrics["beeagent_results_produced_total", ()]
        assert set(delivered) == set(range(1, len(set(delivered)) + 1))
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors


def test_start_in_the_night_is_ready_after_a_look_at_the_camera(tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock")
    clock.set(EVENING)
    with (
        notify_socket() as systemd,
        MjpegServer() as camera,
        running_agent(
            "--camera", camera.url, *tiny_model(tmp_path), "--broker", "none", "--stdout", "--publish", "always",
            *BY_DAY, folder=tmp_path, program=[agent_with_clock.__file__], CLOCK=str(clock.path),
            NOTIFY_SOCKET=systemd.address,
        ) as agent,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        systemd.wait_for("STATUS=online: asleep until 2026-05-05T03:3")
        assert camera.wait_until_nobody_watches(DEADLINE)
        assert camera.connections == 1
        clock.set(MORNING)
        assert agent.messages(2)[0]["seq"] == 1
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors

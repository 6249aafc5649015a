"""Cameras that fail while the agent runs: the status has the reason, and results continue without restart."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.beeagent_process import DEADLINE, RunningAgent, run_beeagent, running_agent, tiny_model
from support.image_server import image_server
from support.mjpeg_server import MjpegServer
from support.mosquitto import Mosquitto, free_port, running_mosquitto
from support.mqtt_subscriber import Subscriber, subscriber
from support.numbered_frames import write_video
from support.rtsp_server import RtspServer, why_no_rtsp_server

pytestmark = pytest.mark.faults

_ENOUGH = 60
"""Results after which frames flow: at 50 a second, long enough for the waits between openings to begin anew."""


class WatchedAgent:
    """A `beeagent` process with a camera, and its messages."""

    def __init__(self, process: RunningAgent, subscribed: Subscriber) -> None:
        self.process = process.process
        self.errors = process.errors
        self._subscribed = subscribed
        self._seen = 0

    def wait_until(self, state: str, words: str = "") -> None:
        """Wait for a status of that state, with the words in a reason, later than those waited for before."""

        def find() -> int | None:
            for number, payload in enumerate(self._subscribed.payloads("/status")[self._seen :], self._seen):
                status = json.loads(payload)
                if status["state"] == state and words in " ".join(status.get("reasons", [])):
                    return number
            return None

        self._subscribed.wait_until(lambda: find() is not None)
        found = find()
        assert found is not None
        self._seen = found + 1

    def wait_for_results(self, count: int = _ENOUGH) -> list[dict[str, Any]]:
        """Wait for a number of further results, and return them."""
        before = len(self._subscribed.payloads("/detections"))
        self._subscribed.wait_for(before + count, topic_end="/detections")
        return [json.loads(payload) for payload in self._subscribed.payloads("/detections")[before:]]

    def wait_for_frames_of(self, size: dict[str, int]) -> None:
        """Wait for a newest result of a frame of that size."""

        def arrived() -> bool:
            newest = self._subscribed.payloads("/detections")[-1:]  # the first may come after the status
            return [json.loads(payload)["frame"] for payload in newest] == [size]

        self._subscribed.wait_until(arrived)

    def drain(self) -> None:
        """Wait until all that is on its way has arrived: a message of our own comes behind it."""
        before = len(self._subscribed.payloads("/drain"))
        self._subscribed.client.publish("test/drain", qos=1)
        self._subscribed.wait_for(before + 1, topic_end="/drain")

    @property
    def statuses(self) -> list[dict[str, Any]]:
        """All statuses so far."""
        return [json.loads(payload) for payload in self._subscribed.payloads("/status")]

    @property
    def results(self) -> list[dict[str, Any]]:
        """All results so far."""
        return [json.loads(payload) for payload in self._subscribed.payloads("/detections")]


@contextmanager
def watched_agent(camera: str | Path, broker: Mosquitto, folder: Path, *more: str) -> Iterator[WatchedAgent]:
    """Run an agent that is soon out of patience with its camera, with `more` options."""
    with (
        subscriber(broker.port) as subscribed,
        running_agent(
            "--camera", camera, *tiny_model(folder), "--broker", f"mqtt://127.0.0.1:{broker.port}", "--publish",
            "always", "--camera-timeout", "1", "--freeze-timeout", "1", *more, folder=folder,
        ) as process,
    ):  # fmt: skip
        yield WatchedAgent(process, subscribed)


@pytest.fixture(scope="module")
def network_camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MjpegServer, WatchedAgent]]:
    """A network camera with one agent, for all kinds of failures."""
    folder = tmp_path_factory.mktemp("network-camera")
    with (
        MjpegServer() as server,
        running_mosquitto(folder) as broker,
        watched_agent(server.url, broker, folder) as agent,
    ):
        yield server, agent


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (MjpegServer.stall, "nothing came for 0.8 s"),
        (MjpegServer.send_garbage, "the stream ended, or nothing came"),
        (MjpegServer.repeat_itself, "the image has not changed for 1 s"),
    ],
    ids=["stalls", "sends garbage", "freezes"],
)
def test_failing_network_camera_is_reported_and_recovers(
    network_camera: tuple[MjpegServer, WatchedAgent], fail: Callable[[MjpegServer], None], words: str
) -> None:
    server, agent = network_camera
    agent.wait_for_results()
    fail(server)
    agent.wait_until("degraded", words)
    server.go_on()
    agent.wait_until("online")
    agent.wait_for_results()
    assert agent.process.poll() is None


def test_network_camera_may_change_its_resolution(network_camera: tuple[MjpegServer, WatchedAgent]) -> None:
    server, agent = network_camera
    small, large = {"width": 160, "height": 64}, {"width": 320, "height": 240}
    agent.wait_for_frames_of(small)
    server.grow()
    # OpenCV scales what comes on an open connection to the size it began with.
    assert agent.wait_for_results()[-1]["frame"] == small
    server.drop_connections()
    agent.wait_for_frames_of(large)
    server.go_on()
    server.drop_connections()
    agent.wait_for_frames_of(small)
    agent.wait_for_results()
    assert agent.process.poll() is None


def test_frozen_camera_stays_degraded_when_reopened(
    network_camera: tuple[MjpegServer, WatchedAgent],
) -> None:
    server, agent = network_camera
    agent.wait_for_results()
    server.repeat_itself()
    agent.wait_until("degraded", "the image has not changed for 1 s")
    connections = server.connections
    assert server.wait_for_connections(connections + 1, DEADLINE)
    agent.drain()
    results = len(agent.results)
    assert server.wait_for_connections(connections + 3, DEADLINE)
    agent.drain()
    assert len(agent.results) == results
    server.go_on()
    agent.wait_until("online")
    agent.wait_for_results()


@pytest.mark.skipif(bool(why_no_rtsp_server()), reason=why_no_rtsp_server())
def test_rtsp_camera_recovers_from_absence_hang_and_death(mosquitto: Mosquitto, tmp_path: Path) -> None:
    port = free_port()
    with watched_agent(f"rtsp://127.0.0.1:{port}/bees", mosquitto, tmp_path, "--await-camera") as agent:
        agent.wait_until("degraded", "connection refused")
        with RtspServer(port) as server:
            agent.wait_until("online")
            agent.wait_for_results(10)
            server.freeze()
            agent.wait_until("degraded", "nothing came for 0.8 s")
            server.go_on()
            agent.wait_until("online")
            agent.wait_for_results(10)
        agent.wait_until("degraded", "connection refused")
        with RtspServer(port):
            agent.wait_until("online")
            agent.wait_for_results(10)
            agent.process.send_signal(signal.SIGTERM)
            assert agent.process.wait(DEADLINE) == 0
        agent.wait_until("offline", "stopped")
    assert not any("Traceback" in line for line in agent.errors)


class StallingFile:
    """A video file that is a pipe: it returns half of its frames, and the others on request."""

    def __init__(self, folder: Path, frames: int) -> None:
        self.path = folder / "pipe.avi"
        self._content = write_video(folder / "whole.avi", frames, codec="MJPG").read_bytes()
        self._rest = threading.Event()
        os.mkfifo(self.path)
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """Write the other half."""
        self._rest.set()

    def _write(self) -> None:
        half = len(self._content) // 2
        with self.path.open("wb", buffering=0) as pipe:
            pipe.write(self._content[:half])
            self._rest.wait()
            pipe.write(self._content[half:])


def test_stalled_file_is_reported_and_read_to_its_end(mosquitto: Mosquitto, tmp_path: Path) -> None:
    file = StallingFile(tmp_path, 400)
    with watched_agent(file.path, mosquitto, tmp_path) as agent:
        agent.wait_until("degraded", "no usable frame for")
        assert 0 < len(agent.results) < 400
        file.go_on()
        assert agent.process.wait(DEADLINE) == 0
        agent.wait_until("offline", "stopped")
        assert [result["seq"] for result in agent.results] == list(range(1, 401))


@pytest.mark.parametrize("blocked_in", ["read", "open"])
def test_blocked_camera_does_not_delay_stop(blocked_in: str, mosquitto: Mosquitto, tmp_path: Path) -> None:
    if blocked_in == "read":
        camera, words = StallingFile(tmp_path, 400).path, "no usable frame for"
    else:
        camera, words = tmp_path / "nobody-writes.mp4", "opening the camera has taken"
        os.mkfifo(camera)
    with watched_agent(camera, mosquitto, tmp_path) as agent:
        agent.wait_until("degraded", words)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(DEADLINE) == 0
        agent.wait_until("offline", "stopped")


def test_await_camera_waits_for_camera_missing_at_boot(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It ended with code 2 and was started again every 30 s; Greengrass gives up after three of those."""
    with (
        subscriber(mosquitto.port) as subscribed,
        running_agent(
            "--camera", "/dev/video77", "--await-camera", *tiny_model(tmp_path), "--broker",
            f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path,
        ) as process,
    ):  # fmt: skip
        agent = WatchedAgent(process, subscribed)
        agent.wait_until("degraded", "/dev/video77 does not exist")
        agent.process.send_signal(signal.SIGTERM)
        assert process.end() == 0, agent.errors
        agent.wait_until("offline", "stopped")


@pytest.mark.parametrize(
    ("scheme", "words"), [("rtsp", "connection refused"), ("http", "connection refused"), ("missing", "check the path")]
)
def test_absent_network_camera_exits_2(tmp_path: Path, scheme: str, words: str) -> None:
    with MjpegServer() as server:
        address = (
            server.url.replace("stream", "404") if scheme == "missing" else f"{scheme}://127.0.0.1:{free_port()}/x"
        )
        ended = run_beeagent("--camera", address, *tiny_model(tmp_path), "--broker", "none", folder=tmp_path)
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"beeagent: camera {address}: ")
    assert words in last
    assert last.endswith("--await-camera waits for it")
    assert "Traceback" not in ended.stderr


def test_await_camera_waits_for_absent_network_camera(mosquitto: Mosquitto, tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/stream"
    with watched_agent(address, mosquitto, tmp_path, "--await-camera") as agent:
        agent.wait_until("degraded", "connection refused")
        with MjpegServer(port):
            agent.wait_until("online")
            agent.wait_for_results(5)


def test_still_image_is_a_camera_and_reconnects_are_counted(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with image_server() as server, watched_agent(server.url(), mosquitto, tmp_path, "--max-rate", "20") as agent:
        agent.wait_until("online")
        agent.wait_for_results(20)
        assert not any(status["cameras"][0]["reconnects"] for status in agent.statuses)
        server.status = 503
        agent.wait_until("degraded", "snap.jpg")
        server.status = 200
        agent.wait_until("online")
        agent.wait_for_results(20)
        assert agent.statuses[-1]["cameras"][0]["reconnects"] > 0


def test_await_camera_does_not_wait_for_missing_file(tmp_path: Path) -> None:
    ended = run_beeagent(
        "--camera",
        tmp_path / "absent.mp4",
        "--await-camera",
        *tiny_model(tmp_path),
        "--broker",
        "none",
        folder=tmp_path,
    )
    assert ended.returncode == 2
    assert "absent.mp4" in ended.stderr

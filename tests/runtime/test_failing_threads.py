"""An unforeseen exception in any thread of the agent: logged once, in the status, exit code 1."""

import json
import os
import re
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.beeagent_process import RunningAgent, running_agent, tiny_bare_model, tiny_model
from support.cloud_agent import environment as cloud_environment
from support.greengrass_nucleus import nucleus_at
from support.mosquitto import Mosquitto, free_port
from support.mqtt_subscriber import subscriber
from support.outbox_files import read_books
from support.rekognition_server import RekognitionServer

pytestmark = pytest.mark.faults

FAILING = str(Path(__file__).parents[1] / "support" / "failing_thread_agent.py")
OF_EVERY_AGENT = [
    "capture-1", "prepare", "infer-1", "infer-2", "outbox", "sender", "mqtt", "status", "http", "page",
]  # fmt: skip
OF_THE_SECOND_OPINION = ["second-opinion-0", "second-opinion-1", "second-opinion-deadlines"]
OF_A_COMPONENT = ["greengrass-ipc", "greengrass", "deployments"]
WITHOUT_A_STATUS = ["mqtt", "status"]  # the one that publishes it, and the one that makes it


class _Trigger:
    """A pipe that the failing thread waits for."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "trigger"
        os.mkfifo(self.path)

    def pull(self) -> None:
        """Let the thread fail, once it is there."""
        self.path.write_bytes(b"")


@contextmanager
def _agent(thread: str, folder: Path, trigger: _Trigger, *arguments: str | Path, **more: str) -> Iterator[RunningAgent]:
    with running_agent(
        *arguments, folder=folder, program=(FAILING,), FAILING=thread, TRIGGER=str(trigger.path), **more
    ) as agent:
        yield agent


def _arguments(folder: Path, broker: str) -> list[str | Path]:
    return [
        "--camera", "synthetic:160x120@30", *tiny_model(folder), "--publish", "always", "--device", "hive",
        "--broker", broker, "--stdout", "--threads", "2",
        "--page", "--page-port", str(free_port()), "--http-port", str(free_port()),
    ]  # fmt: skip


def _assert_failed(agent: RunningAgent, thread: str) -> None:
    assert agent.end() == 1, agent.errors
    log = "\n".join(agent.errors)
    assert log.count("Traceback") == 1, log
    assert log.count("RuntimeError: made to fail\n") == 1, log
    reason = f"thread {thread} failed (RuntimeError: made to fail)"
    # Where a thread does not stop in time, as on a busy machine, the log has it.
    assert any(line == f"beeagent: {reason}" or line.endswith(f"the agent failed: {reason}") for line in agent.errors)


def _outbox(folder: Path) -> Path:
    return folder / "state" / "beeagent" / "hive-camera.outbox.sqlite3"


@pytest.mark.parametrize("thread", [*OF_EVERY_AGENT, *OF_THE_SECOND_OPINION])
def test_failed_thread_exits_1_with_offline_status(thread: str, mosquitto: Mosquitto, tmp_path: Path) -> None:
    trigger = _Trigger(tmp_path)
    broker = f"mqtt://127.0.0.1:{mosquitto.port}"
    with (
        subscriber(mosquitto.port, "beeagent/hive/#") as subscribed,
        RekognitionServer() as server,
        _agent(thread, tmp_path, trigger, *_arguments(tmp_path, broker), **cloud_environment(server)) as agent,
    ):
        if thread not in WITHOUT_A_STATUS:
            subscribed.wait_for(1, topic_end="/status")
        elif thread == "status":
            subscribed.wait_for(1, topic_end="/detections")
        trigger.pull()
        _assert_failed(agent, thread)
        if thread != "mqtt":
            subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
            last = json.loads(subscribed.payloads("/status")[-1])
            assert last["reasons"] == [f"thread {thread} failed (RuntimeError: made to fail)"]
    assert read_books(_outbox(tmp_path)).balanced


def test_failed_reload_thread_exits_1_with_offline_status(mosquitto: Mosquitto, tmp_path: Path) -> None:
    trigger = _Trigger(tmp_path)
    broker = f"mqtt://127.0.0.1:{mosquitto.port}"
    with (
        subscriber(mosquitto.port, "beeagent/hive/#") as subscribed,
        _agent("reload", tmp_path, trigger, *_arguments(tmp_path, broker)) as agent,
    ):
        subscribed.wait_for(1, topic_end="/status")
        agent.process.send_signal(signal.SIGHUP)  # starts the thread
        trigger.pull()
        _assert_failed(agent, "reload")
        subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
        last = json.loads(subscribed.payloads("/status")[-1])
        assert last["reasons"] == ["thread reload failed (RuntimeError: made to fail)"]
    assert read_books(_outbox(tmp_path)).balanced


@pytest.mark.parametrize("thread", OF_A_COMPONENT)
def test_failed_thread_of_component_exits_1(thread: str, tmp_path: Path) -> None:
    trigger = _Trigger(tmp_path)
    _, model, _, labels = tiny_bare_model(tmp_path)
    with nucleus_at(tmp_path) as nucleus:
        topics = {"beeagent/hive/camera/detections", "beeagent/hive/status"}
        nucleus.allowed = {"PublishToIoTCore": topics, "SubscribeToIoTCore": topics}
        nucleus.configuration = {
            "camera": "synthetic:160x120@30", "publish": "always", "broker": "greengrass://iot-core", "device": "hive",
            "model": str(model), "labels": str(labels), "stdout": True, "threads": 2,
        }  # fmt: skip
        variables = {
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(nucleus.socket),
            "SVCUID": nucleus.token,
        }
        with _agent(thread, tmp_path, trigger, "--greengrass", **variables) as agent:
            if thread != "greengrass-ipc":
                agent.messages(1)
            trigger.pull()
            _assert_failed(agent, thread)
    if thread != "greengrass-ipc":
        books = read_books(_outbox(tmp_path))
        assert books.balanced
        assert books.produced > 0


def test_failed_embedded_broker_exits_1(tmp_path: Path) -> None:
    trigger = _Trigger(tmp_path)
    with _agent("embedded-broker", tmp_path, trigger, *_arguments(tmp_path, "embedded")) as agent:
        agent.messages(1)
        trigger.pull()
        _assert_failed(agent, "embedded-broker")


def test_all_threads_are_covered_by_these_tests(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        RekognitionServer() as server,
        _agent(
            "none", tmp_path, _Trigger(tmp_path), *_arguments(tmp_path, f"mqtt://127.0.0.1:{mosquitto.port}"),
            **cloud_environment(server),
        ) as agent,
    ):  # fmt: skip
        agent.messages(1)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
    started = {line.removeprefix("started ") for line in agent.errors if line.startswith("started ")}
    assert started - {"capture-close"} == {*OF_EVERY_AGENT, *OF_THE_SECOND_OPINION}


def test_failed_outbox_thread_loses_no_result(tmp_path: Path) -> None:
    trigger = _Trigger(tmp_path)
    with _agent("outbox", tmp_path, trigger, *_arguments(tmp_path, "mqtt://127.0.0.1:1")) as agent:
        produced = agent.messages(5)
        trigger.pull()
        _assert_failed(agent, "outbox")
    with closing(sqlite3.connect(_outbox(tmp_path))) as database:
        rows = [json.loads(payload) for (payload,) in database.execute("SELECT payload FROM message ORDER BY id")]
    assert [row["event_id"] for row in rows[:5]] == [message["event_id"] for message in produced]


def test_failed_http_request_thread_exits_1(tmp_path: Path) -> None:
    program = tmp_path / "agent.py"
    program.write_text(
        "import beeagent.runtime.http as server\n"
        "from beeagent.cli.app import main\n"
        "def fail(_):\n"
        "    raise RuntimeError('made to fail')\n"
        "server.metrics_text = fail\n"
        "main()\n",
        encoding="utf-8",
    )
    arguments = _arguments(tmp_path, "none")
    with running_agent(*arguments, folder=tmp_path, program=(str(program),)) as agent:
        agent.messages(1)
        with (
            pytest.raises((OSError, urllib.error.URLError)),
            urllib.request.urlopen(f"http://127.0.0.1:{arguments[-1]}/metrics", timeout=60),
        ):
            pass
        assert agent.end() == 1, agent.errors
    assert re.fullmatch(r"beeagent: thread \S+ \(process_request_thread\) failed \(RuntimeError: .*", agent.errors[-1])

"""`beeagent rekognition` starts and stops a cloud model over the service's wire format."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from beeagent.cloud import CloudModel, ModelLifecycle
from beeagent.errors import BeeagentError
from support.beeagent_process import run_beeagent, running_agent
from support.rekognition_server import ACCESS_KEY, PROJECT_VERSION_ARN, SECRET_KEY, Fault, RekognitionServer

pytestmark = pytest.mark.aws

PROJECT_ARN = "arn:aws:rekognition:eu-west-1:123456789012:project/bees/1700000000000"
VERSION = "bees.2026-05-04T10.21.07"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class StandIn:
    """A model whose state advances with each poll, by `lifecycle`, after a start or a stop."""

    def __init__(self, server: RekognitionServer, state: str) -> None:
        self.state = state
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.on_look: Callable[[str], None] = lambda _: None
        server.control = {
            "DescribeProjects": self._project,
            "DescribeProjectVersions": self._version,
            "StartProjectVersion": self._start,
            "StopProjectVersion": self._stop,
        }

    def _project(self, members: Mapping[str, Any]) -> dict[str, Any]:
        found = members["ProjectNames"] == ["bees"]
        return {"ProjectDescriptions": [{"ProjectArn": PROJECT_ARN, "Status": "CREATED"}] if found else []}

    def _version(self, members: Mapping[str, Any]) -> dict[str, Any] | Fault:
        if members != {"ProjectArn": PROJECT_ARN, "VersionNames": [VERSION]}:
            return Fault("ResourceNotFoundException")
        state = self.state
        self.state = {"STARTING": "RUNNING", "STOPPING": "STOPPED"}.get(state, state)
        self.on_look(state)
        return {"ProjectVersionDescriptions": [{"ProjectVersionArn": PROJECT_VERSION_ARN, "Status": state}]}

    def _start(self, members: Mapping[str, Any]) -> dict[str, Any] | Fault:
        self.calls.append(("start", members))
        if self.state == "RUNNING":
            return Fault("ResourceInUseException")
        self.state = "STARTING"
        return {"Status": "STARTING"}

    def _stop(self, members: Mapping[str, Any]) -> dict[str, Any] | Fault:
        self.calls.append(("stop", members))
        if self.state != "RUNNING":
            return Fault("ResourceInUseException")
        self.state = "STOPPING"
        return {"Status": "STOPPING"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RekognitionServer]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with RekognitionServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", server.url)
        yield server


def lifecycle(lines: list[str], interrupted: threading.Event | None = None) -> ModelLifecycle:
    model = CloudModel(PROJECT_VERSION_ARN)
    return ModelLifecycle(
        model, report=lines.append, interrupted=interrupted or threading.Event(), poll_interval_s=0.01
    )


def test_start_and_stop_wait_for_the_model(server: RekognitionServer) -> None:
    stand_in = StandIn(server, "STOPPED")
    lines: list[str] = []
    lifecycle(lines).start(2)
    assert stand_in.state == "RUNNING"
    assert lines[0].startswith("it is STARTING")
    assert lines[1].startswith("it is RUNNING, after")
    lifecycle(lines).stop()
    assert stand_in.state == "STOPPED"
    assert lines[-1] == "it is stopped, and costs no more"
    named = {"ProjectVersionArn": PROJECT_VERSION_ARN}
    assert stand_in.calls == [("start", {**named, "MinInferenceUnits": 2}), ("stop", named)]


def test_running_model_is_not_started_again(server: RekognitionServer) -> None:
    stand_in = StandIn(server, "RUNNING")
    lifecycle([]).start(1)
    assert not stand_in.calls


def test_failed_start_is_an_error(server: RekognitionServer) -> None:
    stand_in = StandIn(server, "STOPPED")

    def fail(seen: str) -> None:
        if seen == "STARTING":
            stand_in.state = "FAILED"

    stand_in.on_look = fail
    with pytest.raises(BeeagentError, match="is FAILED and does not start"):
        lifecycle([]).start(1)


def test_interrupted_start_stops_the_model(server: RekognitionServer) -> None:
    stand_in = StandIn(server, "STOPPED")
    leaving = threading.Event()
    leaving.set()
    lines: list[str] = []
    kept = lifecycle(lines, leaving)
    kept.start(1)
    kept.wait(3600)
    kept.stop()
    assert stand_in.state == "STOPPED"
    assert [name for name, _ in stand_in.calls] == ["start", "stop"]


def test_failed_stop_is_retried_and_is_an_error(server: RekognitionServer) -> None:
    stand_in = StandIn(server, "RUNNING")
    tries = 0

    def refuse(_: Mapping[str, Any]) -> Fault:
        nonlocal tries
        tries += 1
        return Fault("AccessDeniedException")

    server.control["StopProjectVersion"] = refuse
    with pytest.raises(
        BeeagentError, match=r"MAY STILL RUN AND COST MONEY: .*: rekognition:StopProjectVersion is not permitted"
    ):
        lifecycle([]).stop()
    assert tries > 1
    assert stand_in.state == "RUNNING"


def test_start_prints_the_price_and_asks_for_confirmation(server: RekognitionServer, tmp_path: Path) -> None:
    stand_in = StandIn(server, "STOPPED")
    given = {**ENVIRONMENT, "AWS_ENDPOINT_URL_REKOGNITION": server.url}
    ended = run_beeagent("rekognition", "start", "--arn", PROJECT_VERSION_ARN, "--units", "2", folder=tmp_path, **given)
    assert ended.returncode == 1
    assert "$8.00 per hour" in ended.stdout
    assert not stand_in.calls
    stand_in.state = "RUNNING"
    ended = run_beeagent("rekognition", "status", "--arn", PROJECT_VERSION_ARN, folder=tmp_path, **given)
    assert ended.stdout == "The cloud model is RUNNING: about $4.00 per hour, used or not, until it is stopped\n"
    ended = run_beeagent("rekognition", "start", "--arn", PROJECT_VERSION_ARN, "--stop-after", "soon", folder=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "--stop-after is 'soon'" in ended.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_the_model(how: signal.Signals, server: RekognitionServer, tmp_path: Path) -> None:
    stand_in = StandIn(server, "RUNNING")
    given = {**ENVIRONMENT, "AWS_ENDPOINT_URL_REKOGNITION": server.url, "PYTHONUNBUFFERED": "1"}
    command = ["rekognition", "start", "--arn", PROJECT_VERSION_ARN, "--yes", "--stop-after", "2h"]
    with running_agent(*command, folder=tmp_path, **given) as started:
        assert started.process.stdout is not None
        while not started.process.stdout.readline().startswith("it is RUNNING"):
            assert started.process.poll() is None, started.errors
        started.process.send_signal(how)
        assert started.process.stdout.readline() == "it is RUNNING, and is being stopped\n"
        assert [name for name, _ in stand_in.calls] == ["stop"]

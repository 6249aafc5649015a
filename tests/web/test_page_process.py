"""The page of a real agent: frames, counts at a drawn line, the threshold, and all of them after a restart."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.beeagent_process import RunningAgent, run_beeagent, running_agent, tiny_model
from support.mosquitto import free_port
from support.page_client import DEADLINE, LINK, PageClient
from support.tiny_models import RED, painted

DOOR = {"points": [[0.0, 0.5], [0.9, 0.5]], "in": "down"}
_CELL, _CELLS = 40, 8  # pixels of a cell of the model's grid, and cells on each side


def _video(path: Path) -> Path:
    """Draw bees that go down one after the other, for two minutes."""
    side = _CELLS * _CELL
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (side, side))
    for _ in range(60):
        for row in (*range(_CELLS), *[None] * 12):
            found = {} if row is None else {RED: (2 * _CELL, row * _CELL, 3 * _CELL, (row + 1) * _CELL)}
            writer.write(painted((side, side), found))
    writer.release()
    return path


def _arguments(folder: Path, port: int) -> list[str | Path]:
    return [
        "--camera", folder / "bees.avi", "--realtime", *tiny_model(folder), "--broker", "none", "--device", "hive",
        "--track", "--page", "--page-port", str(port),
    ]  # fmt: skip


def _eventually(value: Callable[[], Any], *, what: str) -> Any:  # noqa: ANN401 - of any type
    """Return a value as soon as there is one."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := value():
            return found
        threading.Event().wait(0.05)  # between two requests
    pytest.fail(f"{what} did not come")


def _links(agent: RunningAgent) -> list[str]:
    return [match[2] for line in agent.errors if (match := LINK.search(line))]


def _signed_in(agent: RunningAgent, port: int) -> PageClient:
    client = PageClient(port)
    assert client.sign_in(token=_eventually(lambda: _links(agent), what="a link")[-1]).status == 200
    return client


@pytest.mark.timeout(180)  # two agents, each of which waits for bees to pass
def test_settings_of_the_page_take_effect_at_once_and_survive_restart(tmp_path: Path) -> None:
    _video(tmp_path / "bees.avi")
    port = free_port()
    with running_agent(*_arguments(tmp_path, port), folder=tmp_path) as agent:
        client = _signed_in(agent, port)

        def state() -> Any:  # noqa: ANN401 - JSON
            return client.ask("GET", "/api/state").json

        def live(after: int = 0) -> Any:  # noqa: ANN401 - JSON
            answer = client.ask("GET", f"/api/live?after={after}")
            return answer.json if answer.status == 200 else {}

        first = _eventually(live, what="a frame")
        assert live(first["id"])["id"] > first["id"]
        assert (state()["tracking"], state()["places_file"], state()["places"]) == (True, True, {})

        places = client.ask("GET", "/api/places")
        drawn = {**places.json, "lines": {"door": DOOR}}
        assert client.ask("PUT", "/api/places", drawn, headers={"If-Match": places.headers["etag"]}).status == 200
        _eventually(lambda: state()["places"].get("door", {}).get("labels"), what="a count")
        assert _eventually(lambda: live().get("detections"), what="a detection")[0]["label"] == "red"

        assert client.ask("POST", "/api/threshold/preview", {"value": 1}).json["then"]["removed"] > 0
        default = state()["threshold"]["default"]
        assert client.ask("PUT", "/api/threshold", {"value": 1}).json["source"] == "page"
        _eventually(
            lambda: (found := live()).get("below") and not found["detections"], what="a bee below the threshold"
        )

        agent.process.send_signal(signal.SIGHUP)
        token = _eventually(lambda: _links(agent)[1:], what="a second link")[0]
        assert PageClient(port).sign_in(token=token).status == 200
        _eventually(lambda: any("switched to model" in line for line in agent.errors), what="the reload")
        assert state()["threshold"]["value"] == 1
        counted = state()["places"]["door"]["labels"]["red"]["in"]
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors

    with running_agent(*_arguments(tmp_path, port), folder=tmp_path) as agent:
        client = _signed_in(agent, port)
        assert client.ask("GET", "/api/places").json["lines"] == {"door": DOOR}
        assert client.ask("GET", "/api/state").json["places"]["door"]["labels"]["red"]["in"] >= counted
        kept = client.ask("GET", "/api/state").json["threshold"]
        assert (kept["value"], kept["default"], kept["source"]) == (1, default, "page")
        assert client.ask("PUT", "/api/threshold", {"value": None}).json["value"] == default
        _eventually(lambda: client.ask("GET", "/api/live").json["detections"], what="a detection again")
        assert client.ask("GET", "/metrics").body.startswith(b"# HELP")
        rows = client.ask("GET", "/api/traffic?hours=1").json["rows"]
        assert sum(row["in"] for row in rows) >= counted
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors


def test_password_command_makes_a_file_that_the_agent_takes(tmp_path: Path) -> None:
    _video(tmp_path / "bees.avi")
    port, passwords = free_port(), tmp_path / "passwords"
    ended = run_beeagent("page", "password", passwords, "--role", "viewer", folder=tmp_path, stdin="look at bees\n")
    assert ended.returncode == 0, ended.stderr
    with running_agent(*_arguments(tmp_path, port), "--page-password-file", passwords, folder=tmp_path) as agent:
        _eventually(lambda: _links(agent), what="a link")
        client = PageClient(port)
        assert client.sign_in(password="look at bees").json == {"role": "viewer"}
        assert client.ask("PUT", "/api/threshold", {"value": 0.5}).status == 403
    short = run_beeagent("page", "password", passwords, folder=tmp_path, stdin="short\n")
    assert (short.returncode, "give 8 to 256" in short.stderr) == (2, True)

"""`beeagent doctor` tries each part."""

from pathlib import Path

import pytest
from beeagent.greengrass.ipc import SOCKET_VARIABLE, TOKEN_VARIABLE
from support.beeagent_process import run_beeagent, tiny_model
from support.greengrass_nucleus import nucleus_at
from support.image_server import image_server
from support.mosquitto import Mosquitto, free_port
from support.scripted_broker import OK_3, scripted_broker


def _verdicts(printed: str) -> dict[str, str]:
    lines = [line.split(maxsplit=2) for line in printed.splitlines()[:-1]]
    return {part: verdict for verdict, part, *_ in lines}


def test_bundled_model_and_broker_are_ok(mosquitto: Mosquitto, tmp_path: Path) -> None:
    ended = run_beeagent(
        "doctor", "--camera", "synthetic:320x240", "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path
    )
    assert ended.returncode == 0, ended.stdout
    assert _verdicts(ended.stdout) == {"model": "ok", "camera": "ok", "broker": "ok", "state": "ok"}
    assert "320x240" in ended.stdout
    assert ended.stdout.endswith("Nothing is wrong.\n")


@pytest.mark.parametrize("part", ["model", "camera", "broker", "state"])
def test_broken_part_is_named_and_the_others_are_checked(part: str, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be", encoding="utf-8")
    options: dict[str, list[str]] = {
        "model": ["--model", str(tmp_path / "absent")],
        "camera": ["--camera", "/dev/video99"],
        "broker": ["--broker", f"mqtt://127.0.0.1:{free_port()}"],
    }
    chosen = options.get(part, [])
    if part != "model":
        chosen += map(str, tiny_model(tmp_path))
    if part != "broker":
        chosen += ["--broker", "none"]
    folder = tmp_path if part == "state" else tmp_path / "elsewhere"
    ended = run_beeagent("doctor", *chosen, folder=folder)
    verdicts = _verdicts(ended.stdout)
    assert ended.returncode == 1
    assert [name for name, verdict in verdicts.items() if verdict == "WRONG"] == [part]
    assert set(verdicts) == {"model", "camera", "broker", "state"}
    assert "Traceback" not in ended.stderr


def test_nucleus_connection_is_tried(tmp_path: Path) -> None:
    options = ["--broker", "greengrass://iot-core", *tiny_model(tmp_path)]
    with nucleus_at(tmp_path) as nucleus:
        variables = {SOCKET_VARIABLE: str(nucleus.socket), TOKEN_VARIABLE: nucleus.token}
        ended = run_beeagent("doctor", *options, folder=tmp_path, **variables)
        assert (ended.returncode, _verdicts(ended.stdout)["broker"]) == (0, "ok")
        nucleus.token = "of another process"  # noqa: S105 - of this test
        ended = run_beeagent("doctor", *options, folder=tmp_path, **variables)
        assert (ended.returncode, _verdicts(ended.stdout)["broker"]) == (1, "WRONG")
        assert "only a new process can connect" in ended.stdout
    ended = run_beeagent("doctor", *options, folder=tmp_path, **{SOCKET_VARIABLE: "", TOKEN_VARIABLE: ""})
    assert (ended.returncode, _verdicts(ended.stdout)["broker"]) == (1, "WRONG")
    assert "no Greengrass nucleus has started this process" in ended.stdout


def test_still_image_camera_is_read_twice(tmp_path: Path) -> None:
    with image_server() as server:
        ended = run_beeagent(
            "doctor", "--camera", server.url(), *tiny_model(tmp_path), "--broker", "none", folder=tmp_path
        )
        assert server.requests >= 2
    assert _verdicts(ended.stdout)["camera"] == "ok"
    assert "160x64" in ended.stdout


def test_mqtt_3_broker_is_ok(tmp_path: Path) -> None:
    with scripted_broker(lambda asked: OK_3 if asked.version == 4 else b"") as broker:
        ended = run_beeagent("doctor", *tiny_model(tmp_path), "--broker", str(broker.address), folder=tmp_path)
    assert _verdicts(ended.stdout)["broker"] == "ok"


@pytest.mark.parametrize("command", ["watch", "status"])
def test_greengrass_broker_cannot_be_subscribed_to(command: str, tmp_path: Path) -> None:
    ended = run_beeagent(command, "--broker", "greengrass://iot-core", folder=tmp_path)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "greengrass://iot-core" in ended.stderr

"""`beeagent doctor` checks each part."""

import re
import shutil
from pathlib import Path

import beeagent
import cv2
import numpy as np
import pytest
from beeagent.detection import default_model
from beeagent.greengrass.ipc import SOCKET_VARIABLE, TOKEN_VARIABLE
from support.beeagent_process import run_beeagent, tiny_model
from support.bundle_folder import write_bundle
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
    verdicts = _verdicts(ended.stdout)
    assert verdicts.pop("advice") in {"ok", "note"}
    assert verdicts == {"model": "ok", "camera": "ok", "broker": "ok", "state": "ok"}
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--active", "00:00..24:00"], r"; it is active until 20\d\d-\d\d-\d\dT00:00:00"),
        (["--active", "sunset..sunrise", "--latitude", "90", "--longitude", "0"], r"; it is (active|asleep) until 20"),
        (["--active", "brightness>20"], r"; its brightness is \d+, and it is active above 20"),
    ],
)
def test_state_of_the_camera_now_is_printed(options: list[str], words: str, tmp_path: Path) -> None:
    camera = ["--camera", "synthetic:320x240", *tiny_model(tmp_path)]
    ended = run_beeagent("doctor", *camera, "--broker", "none", *options, folder=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert re.search("320x240" + words, ended.stdout)


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
    assert "advice" not in _verdicts(ended.stdout)  # nothing is known of how well other models than ours detect


def _doctor_with_models(folder: Path, *models: str, camera: str) -> str:
    """Run doctor of an installation that has only these bundled models, and return its advice."""
    package = folder / "installed" / "beeagent"
    shutil.copytree(Path(beeagent.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(default_model(), package / "bundles" / "bees-lite0")
    if "bees-lite0-wide" in models:
        write_bundle(package / "bundles" / "bees-lite0-wide", size=(640, 384), name="bees-lite0-wide")
    ended = run_beeagent(
        "doctor", "--camera", camera, "--broker", "none", folder=folder, PYTHONPATH=str(package.parent)
    )
    assert ended.returncode == 0, ended.stdout
    assert _verdicts(ended.stdout)["camera"] == "ok"
    (advice,) = (line for line in ended.stdout.splitlines() if " advice " in line)
    return advice


def test_small_bees_get_the_advice_of_an_installed_wide_model(tmp_path: Path) -> None:
    camera = "synthetic:1280x720@5?bees=14-14&length=0.06-0.07"
    advice = _doctor_with_models(tmp_path / "one", "bees-lite0", camera=camera)
    assert re.search(r"^ok +advice +bees are about [0-9]+ px at 320x320: keep bees-lite0, [0-9.]+ frames/s", advice)
    assert "wide" not in advice
    advice = _doctor_with_models(tmp_path / "two", "bees-lite0", "bees-lite0-wide", camera=camera)
    sizes = re.search(
        r"^note +advice +bees are about ([0-9]+) px at 320x320 and ([0-9]+) px at 640x384: take bees-lite0-wide, "
        r"[0-9]+ frames/s here$",
        advice,
    )
    assert sizes is not None, advice
    assert int(sizes[2]) == pytest.approx(2 * int(sizes[1]), abs=1)


def test_advice_without_bees_is_how_to_find_out(tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((240, 320, 3), 127, np.uint8))
    advice = _doctor_with_models(tmp_path, "bees-lite0", camera=str(grey))
    assert re.search(r"^note +advice +no bee was detected, so their size is not known yet", advice)


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

"""The agent end to end, from an image to a message at a broker."""

import json
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest
from beeagent.detection import ModelBundle
from beeagent.messages import load_schema
from beeagent.runtime import Agent, FrameResult
from beeagent.settings import load_settings
from jsonschema import Draft202012Validator, FormatChecker
from support.beeagent_process import DEADLINE, run_beeagent, running_agent, tiny_bare_model, tiny_model
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber
from support.numbered_frames import write_video
from support.tiny_models import RED, painted


def _valid(message: dict[str, Any], name: str = "detections") -> dict[str, Any]:
    Draft202012Validator(load_schema(name), format_checker=FormatChecker()).validate(message)
    return message


def _images(folder: Path, count: int) -> Path:
    """Write images of 640x320 in which the top left eighth of the width and height is red, or nothing is."""
    images = folder / "images"
    images.mkdir()
    for number in range(count):
        squares = {RED: (0, 0, 80, 40)} if number % 2 == 0 else {}
        cv2.imwrite(str(images / f"{number}.png"), painted((640, 320), squares))
    return images


def test_boxes_reach_subscriber_where_they_were_painted(mosquitto: Mosquitto, tmp_path: Path) -> None:
    images = _images(tmp_path, 3)
    with subscriber(mosquitto.port) as subscribed:
        ended = run_beeagent(
            "--camera", images, *tiny_model(tmp_path), "--broker", f"mqtt://127.0.0.1:{mosquitto.port}",
            "--device", "hive-7", "--camera-name", "front", folder=tmp_path,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        received = subscribed.wait_for(2, topic_end="/detections")
        subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
    assert {message.topic for message in received} == {"beeagent/hive-7/front/detections"}
    assert {message.qos for message in received} == {1}
    messages = [_valid(json.loads(message.payload)) for message in received]
    assert [message["seq"] for message in messages] == [1, 2]
    for message in messages:
        assert message["counts"] == {"red": 1}
        assert message["detections"][0]["confidence"] == pytest.approx(1.0, abs=0.01)
        assert message["detections"][0]["box"] == {"left": 0.0, "top": 0.0, "width": 0.125, "height": 0.125}
        assert message["frame"] == {"width": 640, "height": 320}
        assert (message["device"], message["camera"], message["decided_by"]) == ("hive-7", "front", "edge")
    for status in subscribed.payloads("/status"):
        _valid(json.loads(status), "status")


def test_every_frame_of_a_file_is_published_in_order(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mp4", 40)
    ended = run_beeagent(
        "--camera", video, *tiny_model(tmp_path), "--broker", "none", "--publish", "always", "--stdout", folder=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    messages = [_valid(json.loads(line)) for line in ended.stdout.splitlines()]
    assert [message["seq"] for message in messages] == list(range(1, 41))
    times = [message["captured_at"] for message in messages]
    assert times == sorted(times)
    positions = [round(number / 10, 3) for number in range(40)]
    assert [message["source"] for message in messages] == [{"name": "film.mp4", "position_s": at} for at in positions]


def test_sequence_continues_after_restart(tmp_path: Path) -> None:
    images = _images(tmp_path, 4)
    arguments = ("--camera", images, *tiny_model(tmp_path), "--broker", "none", "--publish", "always", "--stdout")
    numbers = [
        json.loads(line)["seq"]
        for _ in range(2)
        for line in run_beeagent(*arguments, folder=tmp_path).stdout.splitlines()
    ]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("rule", "count"), [("detections", 3), ("always", 5), ("changes", 5)])
def test_publish_setting_decides_which_frames_are_published(rule: str, count: int, tmp_path: Path) -> None:
    ended = run_beeagent(
        "--camera", _images(tmp_path, 5), *tiny_model(tmp_path), "--broker", "none", "--stdout", "--publish", rule,
        folder=tmp_path,
    )  # fmt: skip
    assert len(ended.stdout.splitlines()) == count


def test_sigterm_stops_agent_and_publishes_offline_status(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--publish", "always",
            "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path,
        ) as agent,
    ):  # fmt: skip
        subscribed.wait_for(5, topic_end="/detections")
        subscribed.wait_until(lambda: any(b'"online"' in status for status in subscribed.payloads("/status")))
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
        subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
        assert json.loads(subscribed.payloads("/status")[-1])["reasons"] == ["stopped"]


def test_last_will_is_published_when_agent_is_killed(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(
            "--camera", "synthetic:320x240@30", *tiny_model(tmp_path),
            "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path,
        ) as agent,
    ):  # fmt: skip
        subscribed.wait_until(lambda: any(b'"online"' in status for status in subscribed.payloads("/status")))
        agent.process.kill()
        subscribed.wait_until(lambda: b'"offline"' in subscribed.payloads("/status")[-1])
        last = _valid(json.loads(subscribed.payloads("/status")[-1]), "status")
    assert last["reasons"] == ["the connection broke off"]


def test_results_stored_without_broker_are_delivered_by_next_run(mosquitto: Mosquitto, tmp_path: Path) -> None:
    port = mosquitto.port
    arguments = (
        "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--publish", "always",
        "--stdout", "--broker", f"mqtt://127.0.0.1:{port}",
    )  # fmt: skip
    mosquitto.stop()
    with running_agent(*arguments, folder=tmp_path) as agent:
        written = agent.messages(5)
        agent.process.send_signal(signal.SIGINT)
        assert agent.end() == 0, agent.errors
    mosquitto.start()
    with subscriber(port, "beeagent/#") as subscribed:
        assert run_beeagent(*arguments, "--frames", "3", folder=tmp_path).returncode == 0
        subscribed.wait_for(8, topic_end="/detections")
        received = [json.loads(payload) for payload in subscribed.payloads("/detections")]
    assert [message["event_id"] for message in received[:5]] == [message["event_id"] for message in written]
    assert [message["seq"] for message in received] == list(range(1, len(received) + 1))


def test_bad_image_is_skipped_and_logged(tmp_path: Path) -> None:
    images = _images(tmp_path, 3)
    (images / "1.png").write_bytes(b"not an image")
    ended = run_beeagent(
        "--camera", images, *tiny_model(tmp_path), "--broker", "none", "--publish", "always", "--stdout",
        folder=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0
    sources = [_valid(json.loads(line))["source"] for line in ended.stdout.splitlines()]
    assert sources == [{"name": "0.png"}, {"name": "2.png"}]
    assert "1.png" in ended.stderr


def test_closed_pipe_of_stdout_ends_agent(tmp_path: Path) -> None:
    with running_agent(
        "--camera", "synthetic:320x240@30", *tiny_model(tmp_path), "--broker", "none", "--publish", "always",
        "--stdout", folder=tmp_path,
    ) as agent:  # fmt: skip
        agent.messages(1)
        assert agent.process.stdout is not None
        agent.process.stdout.close()
        assert agent.process.wait(DEADLINE) == 0
    assert not any("Traceback" in line for line in agent.errors)


def test_no_result_is_handled_after_stop(tmp_path: Path) -> None:
    """Regression: after standard output was closed, pending results were still written to it."""
    _, model, _, labels = tiny_bare_model(tmp_path)
    seen: list[int] = []

    def stop_at_the_first(result: FrameResult) -> None:
        seen.append(result.frame.index)
        following = agent._pipeline._inferred
        with following._changed:  # until the next result is there to be taken
            assert following._changed.wait_for(lambda: following._items, DEADLINE)
        agent.stop()

    settings = load_settings(
        {"camera": str(write_video(tmp_path / "film.mp4", 60)), "broker": "none", "threads": 1}, config=None
    )
    bundle = ModelBundle.load(Path(model), labels=Path(labels))
    agent = Agent(settings, bundle=bundle, outbox_path=None, on_result=stop_at_the_first)
    agent.run()
    assert seen == [0]


def test_frames_option_stops_live_source(tmp_path: Path) -> None:
    ended = run_beeagent(
        "--camera", "synthetic:320x240@60", *tiny_model(tmp_path), "--broker", "none", "--publish", "always",
        "--stdout", "--frames", "7", folder=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 7


def test_json_log_is_json_and_separate_from_messages(tmp_path: Path) -> None:
    process = run_beeagent(
        "--camera", _images(tmp_path, 2), *tiny_model(tmp_path), "--broker", "none", "--stdout", "--log-format",
        "json", folder=tmp_path,
    )  # fmt: skip
    # The runtime itself writes a line to standard error that no setting of it turns off.
    lines = [line for line in process.stderr.splitlines() if not line.startswith("INFO: Created TensorFlow Lite")]
    assert lines
    for line in lines:
        assert set(json.loads(line)) >= {"at", "level", "message"}

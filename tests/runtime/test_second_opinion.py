"""The agent with a second opinion: unsure frames go to the cloud model, and each frame has one message."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from beeagent_models.datasets.reading import check_dataset, read_dataset
from support.beeagent_process import DEADLINE, run_beeagent, running_agent, tiny_model
from support.beeagent_process import environment as process_environment
from support.cloud_agent import (
    NOTHING,
    SURE,
    UNSURE,
    UNSURE_AND_BELOW_THE_THRESHOLD,
    arguments,
    environment,
    valid,
    write_images,
)
from support.mosquitto import Mosquitto
from support.mqtt_subscriber import subscriber
from support.rekognition_server import (
    Fault,
    Hold,
    Labels,
    RekognitionServer,
    Rubbish,
)
from support.tiny_disk import tiny_disk

pytestmark = pytest.mark.aws


def decision(message: dict[str, Any]) -> tuple[str, str | None, dict[str, int]]:
    return message["decided_by"], message.get("fallback", {}).get("reason"), message["counts"]


def test_only_unsure_frames_are_sent_and_each_frame_is_published_once(tmp_path: Path) -> None:
    with RekognitionServer() as server:
        ended = run_beeagent(
            *arguments(tmp_path, SURE, UNSURE, UNSURE_AND_BELOW_THE_THRESHOLD, NOTHING, SURE),
            folder=tmp_path,
            **environment(server),
        )
        assert ended.returncode == 0, ended.stderr
        assert len(server.requests) == 2
    messages = [valid(line) for line in ended.stdout.splitlines()]
    assert [message["seq"] for message in messages] == [1, 2, 3, 4, 5]
    assert len({message["captured_at"] for message in messages}) == 5
    assert sorted(map(decision, messages), key=str) == [
        ("cloud", None, {"bee": 1}),
        ("cloud", None, {"bee": 1}),
        ("edge", None, {"red": 1}),
        ("edge", None, {"red": 1}),
        ("edge", None, {}),
    ]
    box = next(message for message in messages if message["decided_by"] == "cloud")["detections"][0]["box"]
    assert box == {"left": 0.3491, "top": 0.3613, "width": 0.1747, "height": 0.2326}


def test_without_answer_edge_detections_are_published_with_reason(tmp_path: Path) -> None:
    with RekognitionServer() as server:
        server.answer = Fault("ResourceNotReadyException")
        ended = run_beeagent(
            *arguments(tmp_path, UNSURE, UNSURE_AND_BELOW_THE_THRESHOLD), folder=tmp_path, **environment(server)
        )
    messages = [valid(line) for line in ended.stdout.splitlines()]
    assert sorted(map(decision, messages), key=str) == [
        ("edge-degraded", "model-not-running", {"red": 1}),
        ("edge-degraded", "model-not-running", {}),
    ]


def test_without_cloud_model_no_frame_is_sent_and_boto3_not_imported(tmp_path: Path) -> None:
    with RekognitionServer() as server:
        given = environment(server)
        del given["BEEAGENT_REKOGNITION_PROJECT_VERSION_ARN"]
        broken = tmp_path / "broken" / "boto3"
        broken.mkdir(parents=True)
        (broken / "__init__.py").write_text("raise SystemError('imported')")
        ended = run_beeagent(
            *arguments(tmp_path, SURE, UNSURE, NOTHING), folder=tmp_path, **given, PYTHONPATH=str(broken.parent)
        )
        assert ended.returncode == 0, ended.stderr
        assert not server.requests
    assert [decision(valid(line))[0] for line in ended.stdout.splitlines()] == ["edge"] * 3
    assert not list((tmp_path / "state").rglob("*budget*"))


def test_slow_answer_delays_only_its_own_frame(tmp_path: Path) -> None:
    hold = Hold(Labels([]))
    with RekognitionServer() as server:
        server.will(hold)
        with running_agent(*arguments(tmp_path, UNSURE, *[SURE] * 20), folder=tmp_path, **environment(server)) as agent:
            sure = agent.messages(20)
            assert [message["seq"] for message in sure] == list(range(1, 21))
            assert {message["decided_by"] for message in sure} == {"edge"}
            hold.let_go.set()
            (late,) = agent.messages(1)
            assert (late["seq"], late["decided_by"], late["detections"]) == (21, "cloud", [])
            assert late["captured_at"] < sure[0]["captured_at"]
            assert agent.end() == 0


def test_stop_publishes_pending_frames(tmp_path: Path) -> None:
    with RekognitionServer() as server:
        server.answer = Hold()
        with running_agent(*arguments(tmp_path, SURE, UNSURE), folder=tmp_path, **environment(server)) as agent:
            agent.messages(1)
            server.wait_for_requests(1, timeout=60)
            agent.process.terminate()
            (degraded,) = agent.messages(1)
            assert decision(degraded) == ("edge-degraded", "timeout", {"red": 1})
            assert agent.end() == 0, agent.errors


def test_budget_continues_after_restart(tmp_path: Path) -> None:
    given = arguments(tmp_path, UNSURE, UNSURE)
    with RekognitionServer() as server:
        server.answer = Rubbish(b"a call is a call, whatever comes of it")
        runs = [
            run_beeagent(*given, folder=tmp_path, **environment(server, BEEAGENT_REKOGNITION_PER_DAY="3"))
            for _ in range(2)
        ]
        assert len(server.requests) == 3
    reasons = [decision(valid(line))[1] for run in runs for line in run.stdout.splitlines()]
    assert sorted(map(str, reasons)) == ["budget", "refused", "refused", "refused"]


def test_frames_with_both_answers_are_collected_as_dataset(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with RekognitionServer() as server:
        server.will(Labels([]), Fault("InternalServerError"))
        ended = run_beeagent(
            *arguments(tmp_path, SURE, UNSURE, UNSURE, UNSURE_AND_BELOW_THE_THRESHOLD, NOTHING), "--collect", kept,
            folder=tmp_path, **environment(server, BEEAGENT_REKOGNITION_WORKERS="1"),
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "frames with a second opinion are kept on this device" in ended.stderr
    assert list(check_dataset(str(kept / "output.manifest"))) == []
    dataset = read_dataset(kept)
    assert [len(image.boxes) for image in dataset.images] == [0, 1]
    assert dataset.labels[int(dataset.images[1].class_ids[0])] == "bee"
    lines = [json.loads(line) for line in (kept / "output.manifest").read_text().splitlines()]
    red = next(number for number, label in lines[0]["edge-metadata"]["class-map"].items() if label == "red")
    assert [[box["class_id"] for box in line["edge"]["annotations"]] for line in lines] == [[int(red)], [int(red)]]
    assert [[box["told"] for box in line["edge-metadata"]["objects"]] for line in lines] == [[True], [False]]
    assert lines[0]["edge-metadata"]["job-name"] == f"beeagent/{json.loads(ended.stdout.splitlines()[0])['model']}"
    cloud = [message for message in map(valid, ended.stdout.splitlines()) if message["decided_by"] == "cloud"]
    assert {line["edge-metadata"]["creation-date"] for line in lines} == {message["captured_at"] for message in cloud}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"BEEAGENT_COLLECT": __file__}, "is not a folder: use a new or empty one"),
        ({"BEEAGENT_COLLECT_MEGABYTES": "0"}, "BEEAGENT_COLLECT_MEGABYTES is '0'"),
        ({"BEEAGENT_REKOGNITION_PROJECT_VERSION_ARN": "bees"}, "rekognition_project_version_arn is 'bees'"),
        ({"BEEAGENT_UNSURE_LOW": "0.9"}, "unsure_low is 0.9 and unsure_high 0.8"),
    ],
)
def test_invalid_settings_exit_2_with_one_line(more: dict[str, str], named: str, tmp_path: Path) -> None:
    with RekognitionServer() as server:
        ended = run_beeagent(*arguments(tmp_path, SURE), folder=tmp_path, **environment(server, **more))
    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_collect_without_cloud_model_exits_2(tmp_path: Path) -> None:
    ended = run_beeagent(*arguments(tmp_path, SURE), "--collect", tmp_path / "kept", folder=tmp_path)
    assert ended.returncode == 2
    assert "there is no second opinion: set rekognition_project_version_arn" in ended.stderr
    assert not (tmp_path / "kept").exists()
    assert "Traceback" not in ended.stderr


def test_duplicate_frames_are_collected_once_and_counted_in_status(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with RekognitionServer() as server:
        ended = run_beeagent(
            *["--camera", write_images(tmp_path, UNSURE, UNSURE, UNSURE), *tiny_model(tmp_path), "--device", "hive-7"],
            *["--broker", str(mosquitto.address), "--collect", tmp_path / "kept"],
            folder=tmp_path,
            **environment(server, BEEAGENT_REKOGNITION_SAME_FOR="60"),
        )
        assert ended.returncode == 0, ended.stderr
        shown = run_beeagent("status", "--broker", str(mosquitto.address), "--device", "hive-7", folder=tmp_path)
    assert "3 decided by the cloud model" in shown.stdout
    assert "1 frames saved as training data, 0.0 MB" in shown.stdout
    assert len(list((tmp_path / "kept" / "images").iterdir())) == 1


def test_read_only_collection_folder_loses_no_result(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk, RekognitionServer() as server:
        disk.remount("ro")
        with running_agent(
            *arguments(tmp_path, UNSURE, SURE, UNSURE_AND_BELOW_THE_THRESHOLD), "--collect", disk.folder / "kept",
            folder=tmp_path, prefix=disk.prefix, **environment(server),
        ) as agent:  # fmt: skip
            messages = agent.messages(3)
            assert agent.end() == 0, agent.errors
    assert sorted(message["decided_by"] for message in messages) == ["cloud", "cloud", "edge"]
    assert any("frames cannot be collected: Read-only file system" in line for line in agent.errors)
    assert not any("Traceback" in line for line in agent.errors), agent.errors


def test_full_disk_of_collection_is_in_status(mosquitto: Mosquitto, tmp_path: Path) -> None:
    last = Hold()
    with tiny_disk(tmp_path / "disk") as disk, RekognitionServer() as server:
        server.will(Labels([]), last)
        with (
            subscriber(mosquitto.port, "beeagent/#") as seen,
            running_agent(
                *["--camera", write_images(tmp_path, UNSURE, UNSURE), *tiny_model(tmp_path), "--publish", "always"],
                *["--broker", str(mosquitto.address), "--collect", disk.folder / "kept"],
                folder=tmp_path,
                prefix=disk.prefix,
                **environment(server, BEEAGENT_REKOGNITION_WORKERS="1"),
            ) as agent,
        ):
            seen.wait_until(lambda: b"are free on the disk" in b"".join(seen.payloads("/status")), deadline=60.0)
            assert b'"reasons":["collect: ' in seen.payloads("/status")[-1]
            last.let_go.set()
            seen.wait_for(2, topic_end="/detections", deadline=60.0)
            assert agent.end() == 0, agent.errors


def test_status_counts_calls_and_saved_calls(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with RekognitionServer() as server:
        ended = run_beeagent(
            *["--camera", write_images(tmp_path, UNSURE, UNSURE, SURE), *tiny_model(tmp_path), "--device", "hive-7"],
            *["--broker", str(mosquitto.address)],
            folder=tmp_path,
            **environment(server, BEEAGENT_REKOGNITION_SAME_FOR="60"),
        )
        assert ended.returncode == 0, ended.stderr
        shown = run_beeagent("status", "--broker", str(mosquitto.address), "--device", "hive-7", folder=tmp_path)
    assert "2 uncertain frames: 2 decided by the cloud model, 0 without it; 1 calls, 1 saved" in shown.stdout


def test_unwritable_last_message_exits_1(tmp_path: Path) -> None:
    """It is written by a thread of the second opinion, after the last frame: no later frame reports the failure."""
    with RekognitionServer() as server, Path("/dev/full").open("w") as full:
        server.will(Labels([]))
        ended = subprocess.run(
            [sys.executable, "-m", "beeagent", *map(str, arguments(tmp_path, UNSURE))],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False,
            env=process_environment(tmp_path, **environment(server)),
        )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1] == "beeagent: standard output cannot be written to: No space left on device"

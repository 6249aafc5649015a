"""Tracking and counting in the agent: tracks in detections, traffic messages, persistent totals, changed places."""

import json
import os
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beeagent.camera import Frame
from beeagent.detection import Detections
from beeagent.messages import load_schema, rfc3339
from beeagent.runtime import FrameResult
from beeagent.runtime.counting import Counting
from beeagent.tracking import CountHistory, Interval, Totals, TrafficReport
from jsonschema import Draft202012Validator
from support.beeagent_process import DEADLINE, run_beeagent, running_agent, tiny_model
from support.home_assistant import entities, state_of
from support.mosquitto import Mosquitto, free_port
from support.mqtt_subscriber import Subscriber, subscriber
from support.tiny_models import RED, painted

PLACES = """
[lines.{line}]
points = [[0.0, 0.5], [0.8, 0.5]]
in = "down"
[zones.entrance]
points = [[0.0, 0.6], [0.8, 0.6], [0.8, 1.0], [0.0, 1.0]]
[masks.flag]
points = [[0.87, 0.0], [1.0, 0.0], [1.0, 0.13], [0.87, 0.13]]
"""
_CELLS = 8  # of the model's grid, on each side
_CELL = 40  # pixels
_PAUSE = 10  # frames without a bee after each: a second, in which its track ends


def _video(path: Path, ways: Sequence[str], *, rate: int = 10, pause: int = _PAUSE) -> Path:
    """Draw a red flag in a mask, and one bee after the other moving down (`in`) or up (`out`)."""
    side = _CELLS * _CELL
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (side, side))
    for way in ways:
        rows = range(_CELLS) if way == "in" else reversed(range(_CELLS))
        for row in (None, *rows, *[None] * pause):
            frame = painted((side, side), {RED: (side - _CELL, 0, side, _CELL)})
            if row is not None:
                frame[row * _CELL : (row + 1) * _CELL, 2 * _CELL : 3 * _CELL] = RED
            writer.write(frame)
    writer.release()
    return path


def _places(folder: Path, line: str = "door") -> Path:
    path = folder / "places.toml"
    path.write_text(PLACES.format(line=line))
    return path


def _arguments(folder: Path, broker: Mosquitto, video: Path) -> list[str | Path]:
    return [
        "--camera", video, *tiny_model(folder), "--device", "hive", "--camera-name", "front", "--threads", "1",
        "--broker", f"mqtt://127.0.0.1:{broker.port}",
    ]  # fmt: skip


def _traffic(subscribed: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in subscribed.payloads("/traffic")]


def _sum(messages: Sequence[dict[str, Any]], kind: str, name: str, direction: str) -> int:
    return sum(label[direction] for message in messages for label in message[kind][name].values())


def _last_total(subscribed: Subscriber) -> dict[str, int] | None:
    """Return the totals at the line in the newest traffic message; None before a bee was seen."""
    messages = _traffic(subscribed)
    if not messages or not messages[-1]["lines"]["door"]:
        return None
    total: dict[str, int] = messages[-1]["lines"]["door"]["red"]["total"]
    return total


def _stored_total(folder: Path, direction: str) -> int:
    with closing(CountHistory(folder / "state" / "beeagent" / "hive-front.counts.sqlite3")) as history:
        return history.totals().ever["door", "red", direction]


def test_synthetic_video_is_counted_exactly_and_totals_continue(mosquitto: Mosquitto, tmp_path: Path) -> None:
    video = _video(tmp_path / "hive.avi", ["in", "in", "out"])
    arguments = [*_arguments(tmp_path, mosquitto, video), "--places", _places(tmp_path), "--traffic-interval", "2"]
    with subscriber(mosquitto.port, "beeagent/#") as subscribed:
        for run in (1, 2):
            ended = run_beeagent(*arguments, "--stdout", folder=tmp_path)
            assert ended.returncode == 0, ended.stderr
            total = {"in": 2 * run, "out": run}
            messages = [message for message in map(json.loads, ended.stdout.splitlines()) if "lines" in message]
            subscribed.wait_until(lambda messages=messages: _traffic(subscribed)[-len(messages) :] == messages)  # type: ignore[misc]
            for kind, name in (("lines", "door"), ("zones", "entrance")):
                assert [_sum(messages, kind, name, way) for way in ("in", "out")] == [2, 1]
                assert messages[-1][kind][name]["red"]["total"] == total
            assert all(first["from"] < first["to"] <= then["from"] for first, then in pairwise(messages))
        everything = _traffic(subscribed)
        detections = [json.loads(payload) for payload in subscribed.payloads("/detections")]
    validator = Draft202012Validator(load_schema("traffic"))
    for message in everything:
        validator.validate(message)
    assert [message["seq"] for message in everything] == list(range(1, len(everything) + 1))
    assert [message["seq"] for message in detections] == list(range(1, 2 * 3 * _CELLS + 1))
    tracks = [[found.get("track") for found in message["detections"]] for message in detections[: 3 * _CELLS]]
    assert all(len(found) == 1 for found in tracks)  # the flag is masked
    assert [one for (one,) in tracks] == [track for number in (1, 2, 3) for track in (None, None, *[number] * 6)]
    assert [_stored_total(tmp_path, way) for way in ("in", "out")] == [4, 2]


def test_track_alone_numbers_detections_without_counting(mosquitto: Mosquitto, tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, mosquitto, _video(tmp_path / "hive.avi", ["in"]))
    plain = run_beeagent(*arguments, "--stdout", folder=tmp_path)
    tracked = run_beeagent(*arguments, "--stdout", "--track", folder=tmp_path)
    assert (plain.returncode, tracked.returncode) == (0, 0)
    assert "track" not in plain.stdout
    last = json.loads(tracked.stdout.splitlines()[_CELLS - 1])
    assert len({found["track"] for found in last["detections"]}) == 2  # the bee and the flag
    assert "beeagent.traffic/1" not in tracked.stdout
    assert not list((tmp_path / "state").rglob("*.counts.sqlite3"))


@pytest.mark.faults
def test_kill_and_restart_keep_totals(mosquitto: Mosquitto, tmp_path: Path) -> None:
    video = _video(tmp_path / "hive.avi", ["in", "out", "in"])
    arguments = [*_arguments(tmp_path, mosquitto, video), "--places", _places(tmp_path), "--traffic-interval", "1"]
    with subscriber(mosquitto.port, "beeagent/hive/front/traffic") as subscribed:

        def new_crossings(since: int) -> bool:
            """Return whether a message after number `since` has counted; older ones may arrive again."""
            new = [message for message in _traffic(subscribed) if message["seq"] > since]
            return _sum(new, "lines", "door", "in") > 0

        reported: dict[str, int] = {"in": 0, "out": 0}
        last = 0
        for _ in range(3):
            with running_agent(*arguments, "--realtime", folder=tmp_path) as agent:
                subscribed.wait_until(partial(new_crossings, last), deadline=DEADLINE)
                agent.process.kill()
                agent.process.wait(DEADLINE)
            last = max(message["seq"] for message in _traffic(subscribed))
            messages = sorted(_traffic(subscribed), key=itemgetter("seq"))
            totals = [message["lines"]["door"]["red"]["total"] for message in messages if message["lines"]["door"]]
            for way, before in reported.items():
                series = [total[way] for total in totals]
                assert series == sorted(series)
                assert before <= series[-1] <= _stored_total(tmp_path, way)
            reported = totals[-1]
        stored = {way: _stored_total(tmp_path, way) for way in ("in", "out")}
        assert stored["in"] >= 3
        ended = run_beeagent(*arguments, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        total = {"in": stored["in"] + 2, "out": stored["out"] + 1}
        subscribed.wait_until(lambda: _last_total(subscribed) == total)
        numbers = [message["seq"] for message in _traffic(subscribed)]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def test_counts_are_stored_after_a_disk_error_which_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "counts.sqlite3"
    problems: list[str | None] = []
    counting = Counting(
        places_file=_places(tmp_path),
        interval_s=60,
        threshold=0.5,
        history=CountHistory(file),
        on_places_problem=problems.append,
        on_history_problem=problems.append,
    )
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), ("red",))

    def process(minute: int) -> TrafficReport | None:
        captured_at = datetime(2026, 5, 4, 10, minute, tzinfo=timezone.utc)
        frame = Frame(np.zeros((8, 8, 3), np.uint8), captured_at, minute * 60 * 10**9, minute)
        return counting.update(FrameResult(frame, "tiny@12345678", nothing, 1.0))[1]

    with closing(sqlite3.connect(file, isolation_level=None)) as other, closing(counting):
        assert process(0) is None
        other.execute("BEGIN IMMEDIATE")
        assert process(1) is not None
        assert problems == [f"counts {file}: cannot be written: database is locked"]
        other.execute("ROLLBACK")
        assert process(2) is not None
        assert problems[1:] == [None]
        assert other.execute("SELECT minute, frames FROM traffic ORDER BY minute").fetchall() == [
            ("2026-05-04T10:00:00Z", 1),
            ("2026-05-04T10:01:00Z", 1),
        ]


def _traffic_of(stdout: str) -> list[dict[str, Any]]:
    return [message for message in map(json.loads, stdout.splitlines()) if "lines" in message]


@pytest.mark.parametrize(("damage", "waiting"), [("garbage", 1), ("truncated", 0)])
def test_damaged_counts_file_is_renamed_and_totals_continue(damage: str, waiting: int, tmp_path: Path) -> None:
    video = _video(tmp_path / "hive.avi", ["in", "in", "out"])
    state = tmp_path / "state" / "beeagent"
    arguments: list[str | Path] = [
        "--camera", video, *tiny_model(tmp_path), "--device", "hive", "--camera-name", "front", "--threads", "1",
        "--broker", f"mqtt://127.0.0.1:{free_port()}", "--places", _places(tmp_path), "--stdout",
    ]  # fmt: skip
    first = run_beeagent(*arguments, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    file = state / "hive-front.counts.sqlite3"
    content = file.read_bytes()
    # The first page alone: the totals are on another.
    file.write_bytes(b"no database at all, " * 100 if damage == "garbage" else content[:4096])
    if not waiting:
        for outbox in state.glob("*.outbox.sqlite3*"):
            outbox.unlink()
    again = run_beeagent(*arguments, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    before = _traffic_of(first.stdout)[-1]
    (reported,) = [line for line in again.stderr.splitlines() if "warning counts: " in line]
    assert "and renamed to hive-front.counts.sqlite3.damaged-1" in reported
    assert reported.endswith(f"the totals continue from those of {before['to']}" if waiting else "restart at 0")
    total = _traffic_of(again.stdout)[-1]["lines"]["door"]["red"]["total"]
    assert total == ({"in": 4, "out": 2} if waiting else {"in": 2, "out": 1})
    assert _stored_total(tmp_path, "in") == total["in"]


def test_sighup_reloads_places_and_keeps_old_ones_on_failure(mosquitto: Mosquitto, tmp_path: Path) -> None:
    places = _places(tmp_path)
    with (
        subscriber(mosquitto.port, "beeagent/#") as subscribed,
        running_agent(
            "--camera", "synthetic:160x120@30", *tiny_model(tmp_path), "--places", places, "--traffic-interval", "1",
            "--broker", f"mqtt://127.0.0.1:{mosquitto.port}", folder=tmp_path,
        ) as agent,
    ):  # fmt: skip

        def reasons() -> str:
            payloads = subscribed.payloads("/status")
            return " ".join(json.loads(payloads[-1])["reasons"]) if payloads else ""

        subscribed.wait_for(1, topic_end="/traffic", deadline=DEADLINE)
        places.write_text(PLACES.format(line="door").replace("down", "left"))
        agent.process.send_signal(signal.SIGHUP)
        subscribed.wait_until(lambda: "places: the new ones are not used" in reasons(), deadline=DEADLINE)
        count = len(_traffic(subscribed))
        subscribed.wait_for(count + 2, topic_end="/traffic", deadline=DEADLINE)
        assert set(_traffic(subscribed)[-1]["lines"]) == {"door"}

        _places(tmp_path, line="gate")
        agent.process.send_signal(signal.SIGHUP)
        subscribed.wait_until(lambda: set(_traffic(subscribed)[-1]["lines"]) == {"gate"}, deadline=DEADLINE)
        subscribed.wait_until(lambda: reasons() == "", deadline=DEADLINE)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.end() == 0, agent.errors
    refused = [line for line in agent.errors if "the new ones are not used" in line]
    assert len(refused) == 1
    assert f"places {places}: [lines.door]: in is 'left', along the line: give up or down" in refused[0]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[lines.door", "is not TOML"),
        ('[lines.door]\npoints = [[0, 0.5], [1, 0.5]]\nin = "left"', "in is 'left', along the line: give up or down"),
        (None, "cannot be read: No such file"),
    ],
)
def test_wrong_places_file_is_one_line_and_exit_code_2(text: str | None, error: str, tmp_path: Path) -> None:
    places = tmp_path / "places.toml"
    if text is not None:
        places.write_text(text)
    ended = run_beeagent(
        "--camera", "synthetic:160x120", *tiny_model(tmp_path), "--places", places, "--broker", "none", folder=tmp_path
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"beeagent: places {places}: ")
    assert error in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--track", "--places"])
def test_images_that_need_not_follow_each_other_are_refused(option: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), painted((64, 64), {}))
    given = [option] if option == "--track" else [option, _places(tmp_path)]
    ended = run_beeagent(
        "--camera", tmp_path / "images", *tiny_model(tmp_path), *given, "--broker", "none", folder=tmp_path
    )
    assert ended.returncode == 2
    assert f"{option[2:]} cannot be used with" in ended.stderr


def test_unusual_traffic_is_an_event_at_the_broker_and_in_home_assistant(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """After 14 days with 2 in a minute, and 9 minutes with 5, the drawn video has some 20."""
    video = _busy_video(tmp_path)
    places = Path(_places(tmp_path))
    os.utime(places, (0, 0))
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    _count_before(tmp_path, now)
    arguments = [*_arguments(tmp_path, mosquitto, video), "--places", places, "--home-assistant"]
    with subscriber(mosquitto.port, "beeagent/#", "homeassistant/#") as subscribed:
        ended = run_beeagent(*arguments, "--stdout", folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        (message,) = (one for one in map(json.loads, ended.stdout.splitlines()) if one["schema"] == "beeagent.event/1")
        subscribed.wait_until(lambda: subscribed.payloads("hive/front/events") != [])
        (payload,) = subscribed.payloads("hive/front/events")
        assert json.loads(payload) == message
        discovery = subscribed.payloads("/config")[0]
    Draft202012Validator(load_schema("event")).validate(message)
    assert (message["event_type"], message["place"], message["seq"]) == ("unusually_many_in", "door", 1)
    assert message["in"] > message["usual"]["high"] >= message["usual"]["median"] + 29
    assert message["usual"]["days"] == 14
    assert "traffic: unusually many in at door in ten minutes: " in ended.stderr
    entity = entities(discovery)["event.hive_front_unusual_traffic"]
    assert message["event_type"] in entity["event_types"]
    topics = {"beeagent/hive/status": b'{"state": "online", "cameras": [{"name": "front"}]}'}
    assert state_of(entity, {**topics, "beeagent/hive/front/events": payload}) == message["event_type"]
    late = json.dumps({**message, "to": rfc3339(now - timedelta(hours=1))}).encode()
    assert state_of(entity, {**topics, "beeagent/hive/front/events": late}) == "unknown"


def test_unusual_traffic_is_not_looked_for_when_it_is_off(mosquitto: Mosquitto, tmp_path: Path) -> None:
    video = _busy_video(tmp_path)
    places = Path(_places(tmp_path))
    os.utime(places, (0, 0))
    _count_before(tmp_path, datetime.now(timezone.utc).replace(second=0, microsecond=0))
    arguments = [*_arguments(tmp_path, mosquitto, video), "--places", places, "--no-unusual-traffic", "--stdout"]
    ended = run_beeagent(*arguments, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    schemas = {json.loads(line)["schema"] for line in ended.stdout.splitlines()}
    assert schemas == {"beeagent.detections/1", "beeagent.traffic/1"}


def _busy_video(folder: Path) -> Path:
    """Draw two minutes of bees, few frames of each."""
    return _video(folder / "hive.avi", ["in"] * 41, rate=4, pause=3)


def _count_before(folder: Path, now: datetime) -> None:
    """Store the traffic at this time of the last 14 days, and more of the last ten minutes."""
    state = folder / "state" / "beeagent"
    state.mkdir(parents=True)
    minutes = [
        _minute(now - timedelta(days=days) + timedelta(minutes=minute), 2)
        for days in range(14, 0, -1)
        for minute in range(-60, 60)
    ]
    minutes += [_minute(now + timedelta(minutes=minute), 5) for minute in range(-9, 1)]
    with closing(CountHistory(state / "hive-front.counts.sqlite3")) as history:
        history.add(minutes, Totals())


def _minute(at: datetime, count: int) -> Interval:
    counts = {("door", "red", "in"): count, ("door", "red", "out"): 2}
    return Interval(at, at + timedelta(minutes=1), 240, counts, {})

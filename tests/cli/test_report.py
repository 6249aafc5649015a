"""`beeagent report`: from messages in a file, from the counts of the device, and from a broker."""

import json
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from beeagent.cli.report import report_broker, report_file
from beeagent.errors import BeeagentError, InputError
from beeagent.messages import traffic_message
from beeagent.settings import load_settings
from beeagent.tracking import CountHistory, Interval, Totals
from paho.mqtt import publish
from support.beeagent_command import run_command
from support.mosquitto import Mosquitto

NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
IN_OUT = {"in": 0, "out": 0}


def traffic(seq: int, *, into: int, out: int, device: str = "hive-7", camera: str = "front") -> bytes:
    begin = NOON + timedelta(minutes=seq)
    counts = {"in": into, "out": out, "today": IN_OUT, "total": IN_OUT}
    return traffic_message(
        event_id=uuid4(),
        device=device,
        camera=camera,
        seq=seq,
        begin=begin,
        end=begin + timedelta(minutes=1),
        day=begin.date(),
        frames_per_s=10,
        lines={"door": {"bee": counts}},
        zones={"entrance": {"bee": {**counts, "inside": 3}}},
    ).to_json()


def test_messages_in_a_file_are_counted_once(tmp_path: Path) -> None:
    messages = [traffic(1, into=3, out=1), traffic(2, into=4, out=0)]
    other = json.dumps({"schema": "beeagent.detections/1"}).encode()
    file = tmp_path / "agent.jsonl"
    file.write_bytes(b"\n".join([messages[0], other, b"not JSON", *messages, b""]))
    page = run_command("report", file, "--out", tmp_path / "day.html", folder=tmp_path)
    assert (page.returncode, page.stderr) == (0, "")
    assert page.stdout == f"{tmp_path}/day.html: 2026-05-04, door: 7 in, 1 out, entrance: 7 in, 1 out\n"
    assert "hive-7, camera front" in (tmp_path / "day.html").read_text()
    table = run_command("report", file, "--out", tmp_path / "counts.csv", folder=tmp_path)
    assert table.stdout == f"{tmp_path}/counts.csv: 4 rows\n"
    assert (tmp_path / "counts.csv").read_text().splitlines() == [
        "minute,place,label,in,out,inside,frames",
        "2026-05-04T12:01:00Z,door,bee,3,1,0,600",
        "2026-05-04T12:01:00Z,entrance,bee,3,1,3,600",
        "2026-05-04T12:02:00Z,door,bee,4,0,0,600",
        "2026-05-04T12:02:00Z,entrance,bee,4,0,3,600",
    ]


def test_counts_of_the_device_are_read_while_an_agent_writes(tmp_path: Path) -> None:
    state = tmp_path / "state" / "beeagent"
    state.mkdir(parents=True)
    history = CountHistory(state / "hive-7-front.counts.sqlite3")
    for day in range(2):
        at = NOON + timedelta(days=day)
        history.add([Interval(at, at, 600, {("door", "bee", "in"): 5 + day}, {})], Totals())
    given = ["--from-history", "--device", "hive-7", "--camera-name", "front", "--day", "2026-05-04"]
    ended = run_command("report", *given, "--out", tmp_path / "day.html", folder=tmp_path)
    assert ended.stdout == f"{tmp_path}/day.html: 2026-05-04, door: 5 in, 0 out\n", ended.stderr
    lines: list[str] = []
    for out in ("day.html", "all.csv"):
        file = state / "hive-7-front.counts.sqlite3"
        report_file(file, device=None, camera=None, day=None, out=tmp_path / out, write=lines.append)
    assert lines == [f"{tmp_path}/day.html: 2026-05-05, door: 6 in, 0 out", f"{tmp_path}/all.csv: 2 rows"]
    history.close()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (["--out", "day.html"], "give one of FILE, --from-history and --from-broker"),
        (["a.jsonl", "--from-broker", "--out", "day.html"], "give one of FILE, --from-history and --from-broker"),
        (["a.jsonl", "--seconds", "3", "--out", "day.html"], "--seconds 3 requires --from-broker"),
        (["a.jsonl", "--out", "day.pdf"], "day.pdf: the name must end in .html for a page, or .csv for a table"),
        (["missing.jsonl", "--out", "day.html"], "missing.jsonl: cannot be read: No such file or directory"),
        (["empty.jsonl", "--out", "day.html"], "has no traffic messages of device any and camera any"),
        (["--from-history", "--device", "hive", "--out", "day.html"], "there is no such file: run the agent with"),
        (["other.sqlite3", "--out", "day.html"], "other.sqlite3: no such table"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(given: list[str], error: str, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    other = sqlite3.connect(tmp_path / "other.sqlite3")
    other.execute("CREATE TABLE things (name)")
    other.close()
    ended = run_command("report", *(tmp_path / one if "." in one else one for one in given), folder=tmp_path)
    assert ended.returncode == 2
    assert error in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "day.html").exists()


def test_several_cameras_need_a_choice(tmp_path: Path) -> None:
    file, lines = tmp_path / "agent.jsonl", list[str]()
    file.write_bytes(traffic(1, into=3, out=1) + b"\n" + traffic(1, into=9, out=9, camera="back"))

    def report(camera: str | None) -> None:
        out = tmp_path / "day.html"
        report_file(file, device=None, camera=camera, day=None, out=out, write=lines.append)

    with pytest.raises(InputError, match=r"several cameras \(hive-7/front, hive-7/back\): give --device and --camera"):
        report(None)
    report("back")
    assert "door: 9 in, 9 out" in lines[0]


def test_messages_of_a_broker_are_reported_as_they_come(mosquitto: Mosquitto, tmp_path: Path) -> None:
    settings = load_settings({"broker": f"mqtt://127.0.0.1:{mosquitto.port}"}, config=None)
    written: list[str] = []

    def report(seconds: float, write: Callable[[str], None]) -> None:
        out = tmp_path / "day.html"
        report_broker(settings, device=None, camera=None, day=None, seconds=seconds, out=out, write=write)

    def write(line: str) -> None:
        written.append(line)
        if len(written) <= 2:
            message = traffic(len(written), into=len(written), out=0)
            publish.single("beeagent/hive-7/front/traffic", message, qos=1, port=mosquitto.port)

    report(8, write)
    assert [line.partition("entrance: ")[2] for line in written] == ["", "1 in, 0 out", "3 in, 0 out"]
    with pytest.raises(BeeagentError, match="no traffic message of device any and camera any was received"):
        report(0.5, lambda _: None)

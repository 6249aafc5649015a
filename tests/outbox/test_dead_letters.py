"""The dead-letter file."""

import json
from pathlib import Path

from beeagent.outbox import DeadLetterFile, Outcome, Receipt, Row

TOPIC = "bees/hive/front/detections"


def test_dead_letter_can_be_published_by_hand(tmp_path: Path) -> None:
    payload = '{"label":"пчела","n":1}'.encode()
    DeadLetterFile(tmp_path / "q").append(
        Row(1, TOPIC, payload), Receipt(Outcome.REFUSED, "because", cause="forbidden")
    )
    (line,) = (tmp_path / "q").read_text(encoding="utf-8").splitlines()
    entry = json.loads(line)
    assert entry["payload"].encode() == payload
    assert (entry["topic"], entry["cause"], entry["reason"]) == (TOPIC, "forbidden", "because")


def test_dead_letter_file_keeps_the_newest_within_its_limit(tmp_path: Path) -> None:
    dead_letters = DeadLetterFile(tmp_path / "q", max_megabytes=0.01)
    for number in range(100):
        dead_letters.append(Row(number, TOPIC, b"%d" % number + bytes(400)), Receipt(Outcome.REFUSED, "r"))
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) <= 10_000
    lines = (tmp_path / "q").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["payload"].startswith("99")


def test_truncated_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "q").write_bytes(b'{"at": "20')
    DeadLetterFile(tmp_path / "q").append(Row(1, TOPIC, b"whole"), Receipt(Outcome.REFUSED, "r"))
    assert json.loads((tmp_path / "q").read_bytes().splitlines()[1])["payload"] == "whole"


def test_unwritable_dead_letter_file_is_reported() -> None:
    dead_letters = DeadLetterFile(Path("/proc/nowhere/q"))
    dead_letters.append(Row(1, TOPIC, b"x"), Receipt(Outcome.REFUSED, "the broker refused a message"))
    assert dead_letters.problem is not None
    assert "lost" in dead_letters.problem
    assert "the broker refused a message" in dead_letters.problem

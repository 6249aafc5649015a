import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent.messages import load_schema, traffic_message, traffic_topic
from beeagent.messages.schema import generate_schema
from beeagent.tracking import (
    CountHistory,
    Interval,
    IntervalCounter,
    Passage,
    Totals,
    TrackedFrame,
    Traffic,
    TrafficReport,
    parse_places,
    read_history,
    write_csv,
)
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from support.flying import frames_of

PLACES = parse_places(b"""
[lines.door]
points = [[0.2, 0.5], [0.8, 0.5]]
in = "up"
[zones.entrance]
points = [[0.3, 0.1], [0.7, 0.1], [0.7, 0.4], [0.3, 0.4]]
""")
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
IN = Passage("door", "bee", "in", 1)


def interval(at: datetime, counts: dict[tuple[str, str, str], int], *, frames: int = 900) -> Interval:
    return Interval(at, at + timedelta(minutes=1), frames, counts, {})


def feed(traffic: Traffic, frames: Sequence[TrackedFrame], begin: datetime, *, rate: float = 30) -> list[TrafficReport]:
    reports = [traffic.add(frame, begin + timedelta(seconds=index / rate)) for index, frame in enumerate(frames)]
    return [report for report in reports if report is not None]


def crossing(track: int, *, inwards: bool = True) -> list[TrackedFrame]:
    ys = [450.0 - 20 * index for index in range(20)]
    return frames_of({track: [(500.0, y) for y in (ys if inwards else reversed(ys))]})


class MemoryStore:
    def __init__(self) -> None:
        self.minutes: list[Interval] = []
        self.totals = ""

    def add(self, minutes: Sequence[Interval], totals: Totals) -> None:
        self.minutes += minutes
        self.totals = totals.to_json()


def test_intervals_end_at_multiples_of_their_length() -> None:
    counter = IntervalCounter(60)
    begin = NOON + timedelta(seconds=47)
    ended = [counter.add([IN], {}, begin + timedelta(seconds=index / 2)) for index in range(200)]
    closed = [one for one in ended if one is not None]
    assert [(one.begin, one.end, one.frames) for one in closed] == [
        (begin, NOON + timedelta(seconds=60), 26),
        (NOON + timedelta(seconds=60), NOON + timedelta(seconds=120), 120),
    ]
    assert closed[1].counts == {("door", "bee", "in"): 120}
    assert closed[1].frames_per_s == 2
    rest = counter.close()
    assert rest is not None
    assert rest.frames == 200 - 146
    assert counter.close() is None


@given(st.lists(st.tuples(st.floats(-200, 200), st.integers(0, 2)), min_size=1, max_size=40), st.floats(0.5, 90))
def test_any_clock_loses_no_count_and_every_interval_has_a_length(
    steps: list[tuple[float, int]], seconds: float
) -> None:
    counter = IntervalCounter(seconds)
    at, closed, given_count = NOON, [], 0
    for step, passages in steps:
        at += timedelta(seconds=step)
        given_count += passages
        closed.append(counter.add([IN] * passages, {}, at))
    closed.append(counter.close())
    intervals = [one for one in closed if one is not None]
    assert sum(one.counts.get(("door", "bee", "in"), 0) for one in intervals) == given_count
    assert sum(one.frames for one in intervals) == len(steps)
    assert all(one.end > one.begin and one.frames_per_s > 0 for one in intervals)


def test_report_has_counts_of_the_interval_today_and_ever() -> None:
    traffic = Traffic(PLACES, interval_s=60, time_zone=timezone.utc)
    reports = feed(traffic, crossing(1), NOON)
    reports += feed(traffic, crossing(2), NOON + timedelta(seconds=60))
    reports += feed(traffic, crossing(3, inwards=False), NOON + timedelta(seconds=70))
    last = traffic.close()
    assert len(reports) == 1
    assert reports[0].lines == {
        "door": {"bee": {"in": 1, "out": 0, "today": {"in": 1, "out": 0}, "total": {"in": 1, "out": 0}}}
    }
    assert reports[0].interval.frames == 21
    assert reports[0].day == date(2026, 5, 4)
    assert last is not None
    assert last.lines == {
        "door": {"bee": {"in": 1, "out": 1, "today": {"in": 2, "out": 1}, "total": {"in": 2, "out": 1}}}
    }
    assert last.zones["entrance"]["bee"]["total"] == {"in": 2, "out": 1}
    assert last.zones["entrance"]["bee"]["inside"] == 0


def test_report_counts_bees_in_a_zone() -> None:
    traffic = Traffic(PLACES, interval_s=60)
    feed(traffic, frames_of({1: [(500, 100)] * 9, 2: [(450, 150)] * 9})[:-1], NOON)
    report = traffic.close()
    assert report is not None
    assert report.zones["entrance"]["bee"]["inside"] == 2


def test_day_begins_at_midnight_of_the_time_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    midnight = datetime(2026, 5, 5, 0, 0, tzinfo=zone)
    traffic = Traffic(PLACES, interval_s=60, time_zone=zone)
    reports = feed(traffic, crossing(1), (midnight - timedelta(seconds=30)).astimezone(timezone.utc))
    reports += feed(traffic, crossing(2), midnight.astimezone(timezone.utc))
    last = traffic.close()
    assert [report.day for report in reports] == [date(2026, 5, 4)]
    assert last is not None
    assert last.day == date(2026, 5, 5)
    assert last.lines["door"]["bee"]["today"] == {"in": 1, "out": 0}
    assert last.lines["door"]["bee"]["total"] == {"in": 2, "out": 0}


def test_clock_set_back_over_midnight_does_not_begin_the_day_again() -> None:
    midnight = datetime(2026, 5, 5, tzinfo=timezone.utc)
    traffic = Traffic(PLACES, interval_s=60, time_zone=timezone.utc)
    for index, offset in enumerate((0, -120, 60)):
        feed(traffic, crossing(index + 1), midnight + timedelta(seconds=offset))
    assert traffic.totals.today[("door", "bee", "in")] == 3
    assert traffic.totals.day == date(2026, 5, 5)


def test_totals_are_saved_and_restored() -> None:
    store = MemoryStore()
    first = Traffic(PLACES, interval_s=60, store=store, time_zone=timezone.utc)
    feed(first, crossing(1), NOON)
    first.close()
    again = Traffic(PLACES, interval_s=60, totals=Totals.from_json(store.totals), store=store, time_zone=timezone.utc)
    feed(again, crossing(1), NOON + timedelta(seconds=90))
    report = again.close()
    assert report is not None
    assert report.lines["door"]["bee"] == {
        "in": 1,
        "out": 0,
        "today": {"in": 2, "out": 0},
        "total": {"in": 2, "out": 0},
    }


def test_totals_are_stored_before_a_report_has_them() -> None:
    store = MemoryStore()
    traffic = Traffic(PLACES, interval_s=7, store=store, time_zone=timezone.utc)
    for index in range(40):
        for report in feed(traffic, crossing(index + 1), NOON + timedelta(seconds=index * 3)):
            stored = Totals.from_json(store.totals)
            assert stored.ever[("door", "bee", "in")] >= report.lines["door"]["bee"]["total"]["in"]
    traffic.close()
    assert Totals.from_json(store.totals).ever[("door", "bee", "in")] == 40
    assert sum(minute.counts.get(("door", "bee", "in"), 0) for minute in store.minutes) == 40


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"day": 3, "today": [], "ever": []}', '{"day": null, "today": [[1]], "ever": []}']
)
def test_damaged_totals_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the totals of a camera"):
        Totals.from_json(text)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 500)) | st.none(), min_size=1, max_size=12),
        min_size=1,
        max_size=4,
    )
)
def test_totals_never_fall(paths: list[list[tuple[float, float] | None]]) -> None:
    traffic = Traffic(PLACES, interval_s=0.1)
    before: Counter[tuple[str, str, str]] = Counter()
    for index, frame in enumerate(frames_of(dict(enumerate(paths, start=1)))):
        traffic.add(frame, NOON + timedelta(seconds=index / 30))
        now = traffic.totals.ever.copy()
        assert all(now[key] >= before[key] for key in before)
        before = now


def test_message_of_a_report_is_valid() -> None:
    traffic = Traffic(PLACES, interval_s=60, time_zone=timezone.utc)
    feed(traffic, crossing(1), NOON)
    report = traffic.close()
    assert report is not None
    message = traffic_message(
        event_id=UUID("8f14e45f-ceea-467f-a0e6-0242ac120002"),
        device="hive-7",
        camera="front",
        seq=3,
        begin=report.interval.begin,
        end=report.interval.end,
        day=report.day,
        frames_per_s=report.interval.frames_per_s,
        lines=report.lines,
        zones=report.zones,
    )
    read = json.loads(message.encode(limit=5000))
    Draft202012Validator(load_schema("traffic"), format_checker=FormatChecker()).validate(read)
    counts = {"in": 1, "out": 0, "today": {"in": 1, "out": 0}, "total": {"in": 1, "out": 0}}
    assert read == {
        "schema": "beeagent.traffic/1",
        "event_id": "8f14e45f-ceea-467f-a0e6-0242ac120002",
        "device": "hive-7",
        "camera": "front",
        "seq": 3,
        "from": "2026-05-04T12:00:00.000000Z",
        "to": "2026-05-04T12:00:00.666667Z",
        "day": "2026-05-04",
        "frames_per_s": 31.5,
        "lines": {"door": {"bee": counts}},
        "zones": {"entrance": {"bee": {**counts, "inside": 0}}},
    }


def test_state_has_the_last_minute_and_the_day() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    traffic = Traffic(PLACES, interval_s=60, time_zone=berlin)
    feed(traffic, crossing(1), NOON)
    feed(traffic, crossing(2, inwards=False), NOON + timedelta(seconds=30))
    state = traffic.state(NOON + timedelta(seconds=40), labels=("wasp",))
    assert (state.day, state.day_began) == (date(2026, 5, 4), datetime(2026, 5, 3, 22, tzinfo=timezone.utc))
    assert state.first_flight is not None
    assert state.last_flight is not None
    assert NOON < state.first_flight < NOON + timedelta(seconds=1)
    assert NOON + timedelta(seconds=30) < state.last_flight < NOON + timedelta(seconds=31)
    one, none = {"in": 1, "out": 1}, {"in": 0, "out": 0}
    assert state.lines == {
        "door": {
            "bee": {"per_minute": one, "today": one, "away": 0, "total": one},
            "wasp": {"per_minute": none, "today": none, "away": 0, "total": none},
        }
    }
    assert state.zones["entrance"]["wasp"] == {**state.lines["door"]["wasp"], "inside": 0}
    later = traffic.state(NOON + timedelta(seconds=75)).lines["door"]["bee"]
    assert (later["per_minute"], later["today"]) == ({"in": 0, "out": 1}, one)


def test_state_of_the_next_day_begins_at_0_even_without_a_frame() -> None:
    traffic = Traffic(PLACES, interval_s=60, time_zone=timezone.utc)
    feed(traffic, crossing(1, inwards=False), NOON)
    assert traffic.state(NOON + timedelta(minutes=1)).lines["door"]["bee"]["away"] == 1
    state = traffic.state(NOON + timedelta(hours=13))
    door = state.lines["door"]["bee"]
    assert (state.day, state.first_flight, state.last_flight) == (date(2026, 5, 5), None, None)
    assert (door["today"], door["away"], door["total"]) == ({"in": 0, "out": 0}, 0, {"in": 0, "out": 1})


def test_state_after_the_clock_was_set_back_counts_no_passage_of_the_future() -> None:
    traffic = Traffic(PLACES, interval_s=60, time_zone=timezone.utc)
    feed(traffic, crossing(1), NOON)
    door = traffic.state(NOON - timedelta(days=2)).lines["door"]["bee"]
    assert door["per_minute"] == {"in": 0, "out": 0}
    assert door["today"] == {"in": 1, "out": 0}


def test_total_of_a_state_is_the_stored_one() -> None:
    """So it does not fall when the process is killed."""
    store = MemoryStore()
    traffic = Traffic(PLACES, interval_s=60, time_zone=timezone.utc, store=store)
    feed(traffic, crossing(1), NOON)
    door = traffic.state(NOON + timedelta(seconds=2)).lines["door"]["bee"]
    assert (door["total"], door["today"]) == ({"in": 0, "out": 0}, {"in": 1, "out": 0})
    feed(traffic, crossing(2), NOON + timedelta(seconds=61))
    counted = {"in": 1, "out": 0}
    assert traffic.state(NOON + timedelta(seconds=63)).lines["door"]["bee"]["total"] == counted
    again = Traffic(PLACES, interval_s=60, time_zone=timezone.utc, totals=Totals.from_json(store.totals), store=store)
    state = again.state(NOON + timedelta(seconds=70))
    assert state.lines["door"]["bee"]["total"] == counted
    assert state.first_flight == traffic.state(NOON + timedelta(seconds=70)).first_flight


def test_schema_of_traffic_is_the_one_of_the_model() -> None:
    assert load_schema("traffic") == generate_schema("traffic")


def test_topic_of_traffic() -> None:
    assert traffic_topic("beeagent", "hive-7", "front") == "beeagent/hive-7/front/traffic"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[CountHistory]:
    opened = CountHistory(tmp_path / "counts.sqlite3")
    yield opened
    opened.close()


def csv_rows(path: Path, **between: datetime) -> list[list[str]]:
    file = io.StringIO(newline="")
    count = write_csv(read_history(path, **between), file)
    rows = list(csv.reader(io.StringIO(file.getvalue())))
    assert len(rows) == count + 1
    return rows


def test_counts_are_kept_and_exported(history: CountHistory, tmp_path: Path) -> None:
    history.add(
        [Interval(NOON, NOON + timedelta(seconds=20), 300, {("door", "bee", "in"): 2}, {"entrance": {"bee": 4}})],
        Totals(),
    )
    history.add(
        [
            Interval(
                NOON + timedelta(seconds=30),
                NOON + timedelta(seconds=60),
                300,
                {("door", "bee", "in"): 1, ("door", "bee", "out"): 7},
                {"entrance": {"bee": 1}},
            )
        ],
        Totals(),
    )
    history.add([interval(NOON + timedelta(minutes=1), {}, frames=5)], Totals())
    path = tmp_path / "counts.sqlite3"
    rows = csv_rows(path)
    assert rows == [
        ["minute", "place", "label", "in", "out", "inside", "frames"],
        ["2026-05-04T12:00:00Z", "door", "bee", "3", "7", "0", "600"],
        ["2026-05-04T12:00:00Z", "entrance", "bee", "0", "0", "1", "600"],
        ["2026-05-04T12:01:00Z", "", "", "", "", "", "5"],
    ]
    assert csv_rows(path, since=NOON + timedelta(minutes=1)) == [rows[0], rows[3]]
    assert csv_rows(path, until=NOON + timedelta(minutes=1)) == rows[:3]


def test_other_programs_can_read_the_file(history: CountHistory, tmp_path: Path) -> None:
    history.add([interval(NOON, {("door", "bee", "in"): 3})], Totals())
    reader = sqlite3.connect(f"file:{tmp_path}/counts.sqlite3?mode=ro", uri=True)
    assert reader.execute("SELECT * FROM traffic").fetchall() == [("2026-05-04T12:00:00Z", "door", "bee", 3, 0, 0, 900)]
    reader.close()


def test_totals_come_back_from_the_file(tmp_path: Path) -> None:
    totals = Totals(day=date(2026, 5, 4))
    totals.add([IN, IN], NOON)
    first = CountHistory(tmp_path / "counts.sqlite3")
    assert first.totals() == Totals()
    first.add([], totals)
    first.close()
    again = CountHistory(tmp_path / "counts.sqlite3")
    assert again.totals() == totals
    again.close()


def _days(path: Path, days: int, *, lines: Sequence[str], zones: Sequence[str], max_bytes: int = 20_000_000) -> int:
    """Write days on which each place counts in every minute of 14 h; return the number of rows that are left."""
    history = CountHistory(path, max_bytes=max_bytes)
    rng = np.random.default_rng(3)
    for day in range(days):
        flown = rng.poisson(40, (1440, len(lines) + len(zones), 2)).tolist()
        minutes = []
        for minute, by_place in enumerate(flown):
            by_day = 300 <= minute < 300 + 14 * 60
            counts = {
                (place, "bee", direction): count
                for place, both in zip((*lines, *zones), by_place, strict=True)
                for direction, count in zip(("in", "out"), both, strict=True)
                if by_day
            }
            at = NOON + timedelta(days=day, minutes=minute)
            inside = {zone: {"bee": 12 if by_day else 0} for zone in zones}
            minutes.append(Interval(at, at, 900, counts, inside))
        history.add(minutes, Totals())
    count = write_csv(read_history(path), io.StringIO(newline=""))
    history.close()
    assert path.stat().st_size <= max_bytes
    return count


@pytest.mark.parametrize(
    "days", [61, pytest.param(366, marks=[pytest.mark.slow, pytest.mark.timeout(300)], id="a whole year")]
)
def test_a_year_of_a_busy_hive_takes_at_most_20_mb(tmp_path: Path, days: int) -> None:
    """A line and a zone, and a camera that runs day and night: nothing is deleted. `sqlite3` reads the file."""
    path = tmp_path / "counts.sqlite3"
    count = _days(path, days, lines=["door"], zones=["entrance"], max_bytes=20_000_000 * days // 366)
    assert count == days * (14 * 60 * 2 + 10 * 60)
    if shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 command")
    query = "SELECT count(*), sum(\"in\") > 0 FROM traffic WHERE place = 'door' AND minute LIKE '2026-05-%'"
    said = subprocess.run(["sqlite3", str(path), query], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"{27 * 14 * 60 + 7 * 60}|1"


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_many_places_keep_the_latest_days(tmp_path: Path) -> None:
    """In 2 MB at least 16 days, so in 20 MB 160."""
    lines, zones = ["door", "ramp", "left", "right"], ["entrance", "board"]
    count = _days(tmp_path / "counts.sqlite3", 30, lines=lines, zones=zones, max_bytes=2_000_000)
    assert 16 * (14 * 60 * 6 + 10 * 60) < count < 30 * (14 * 60 * 6 + 10 * 60)


def test_oldest_days_make_room(tmp_path: Path) -> None:
    path = tmp_path / "counts.sqlite3"
    history = CountHistory(path, max_bytes=200_000)
    for quarter in range(4 * 12):
        begin = NOON + timedelta(hours=6 * quarter)
        minutes = [interval(begin + timedelta(minutes=minute), {("door", "bee", "in"): 3}) for minute in range(360)]
        history.add(minutes, Totals())
    rows = csv_rows(path)
    history.close()
    assert path.stat().st_size <= 200_000
    assert len(rows) > 1440
    assert rows[-1][0] == "2026-05-16T11:59:00Z"


def test_minutes_older_than_a_year_are_deleted(tmp_path: Path) -> None:
    history = CountHistory(tmp_path / "counts.sqlite3", keep_days=366)
    history.add([interval(NOON, {("door", "bee", "in"): 3})], Totals())
    history.add([interval(NOON + timedelta(days=367), {("door", "bee", "in"): 4})], Totals())
    assert [row[0] for row in csv_rows(tmp_path / "counts.sqlite3")[1:]] == ["2027-05-06T12:00:00Z"]
    history.close()


def test_file_of_another_program_is_refused_unchanged(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.sqlite3")
    other.execute("CREATE TABLE things (name)")
    other.close()
    before = (tmp_path / "other.sqlite3").read_bytes()
    with pytest.raises(InputError, match="SQLite file of another program"):
        CountHistory(tmp_path / "other.sqlite3")
    assert (tmp_path / "other.sqlite3").read_bytes() == before
    later = sqlite3.connect(tmp_path / "later.sqlite3")
    later.execute("PRAGMA user_version = 9")
    later.close()
    with pytest.raises(InputError, match="has format 9"):
        CountHistory(tmp_path / "later.sqlite3")


def _damaged_history(path: Path, damage: str) -> Totals:
    """Write a file of counts, damage it, and return the totals that it had."""
    totals = Totals(day=date(2026, 5, 4))
    totals.add([IN, IN])
    history = CountHistory(path)
    for day in range(3):
        minutes = [
            interval(NOON + timedelta(days=day, minutes=minute), {("door", "bee", "in"): 3}) for minute in range(1440)
        ]
        history.add(minutes, totals)
    history.close()
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content[:] = b"no database at all, " * 100
    elif damage == "truncated":
        del content[len(content) // 2 :]
    else:  # a page in the middle
        middle = len(content) // 2 // 4096 * 4096
        content[middle : middle + 4096] = b"\x55" * 4096
    path.write_bytes(content)
    return totals


@pytest.mark.parametrize("damage", ["garbage", "truncated", "page"])
def test_damaged_file_is_renamed_and_counting_continues(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "counts.sqlite3"
    totals = _damaged_history(path, damage)
    damaged = path.read_bytes()
    history = CountHistory(path)
    assert history.totals() == (Totals() if damage == "garbage" else totals)
    assert history.damage is not None
    assert "and renamed to counts.sqlite3.damaged-1" in history.damage
    assert history.damage in caplog.text
    assert (tmp_path / "counts.sqlite3.damaged-1").read_bytes() == damaged
    history.add([interval(NOON, {("door", "bee", "in"): 3})], totals)
    assert len(csv_rows(path)) == 2
    history.close()
    again = CountHistory(path)
    assert again.damage is None
    assert again.totals() == totals
    again.close()


def test_file_damaged_while_counting_is_set_aside_without_loss_of_totals(tmp_path: Path) -> None:
    path = tmp_path / "counts.sqlite3"
    totals = Totals(day=date(2026, 5, 4))
    totals.add([IN])
    history = CountHistory(path)
    history.add([interval(NOON, {("door", "bee", "in"): 1})], totals)
    other = sqlite3.connect(path)  # its change makes the history read the file again
    other.execute("DELETE FROM counts")
    other.commit()
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(b"\x55" * path.stat().st_size)
    other.close()
    totals.add([IN])
    history.add([interval(NOON + timedelta(minutes=1), {("door", "bee", "in"): 1})], totals)
    assert history.damage is not None
    assert history.totals() == totals
    assert [row[0] for row in csv_rows(path)[1:]] == ["2026-05-04T12:01:00Z"]
    history.close()
    assert {one.name for one in tmp_path.iterdir()} >= {"counts.sqlite3", "counts.sqlite3.damaged-1"}


_COUNTING = """
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from support.flying import frames_of
from beeagent.tracking import CountHistory, Traffic
sys.path.insert(0, sys.argv[2])
from test_traffic import NOON, PLACES, crossing
history = CountHistory(Path(sys.argv[1]))
traffic = Traffic(PLACES, interval_s=1, totals=history.totals(), store=history, time_zone=timezone.utc)
begin = NOON + timedelta(days=int(sys.argv[3]))
for number in range(1, 100000):
    for index, frame in enumerate(crossing(number)):
        report = traffic.add(frame, begin + timedelta(seconds=number + index / 30))
        if report is not None:
            print(report.lines["door"]["bee"]["total"]["in"], flush=True)
"""


def test_reported_totals_never_fall_over_kills(tmp_path: Path) -> None:
    path = tmp_path / "counts.sqlite3"
    highest = 0
    for run in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", _COUNTING, str(path), str(Path(__file__).parent), str(run)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        assert process.stdout is not None
        for index, line in enumerate(process.stdout):
            assert int(line) >= highest
            highest = int(line)
            if index == 5:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
    history = CountHistory(path)
    assert history.totals().ever[("door", "bee", "in")] >= highest >= 10
    history.close()


def test_interval_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="interval_s must be above 0"):
        Traffic(PLACES, interval_s=0)

"""What is unusual traffic, and what is not."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from beeagent.tracking import CountHistory, Interval, Totals, TrafficMonitor, UnusualTraffic, usual_counts
from hypothesis import assume, given, settings
from hypothesis import strategies as st

NOON = datetime(2026, 5, 20, 12, 0, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
DAYS = st.lists(st.lists(st.integers(0, 5000), min_size=1, max_size=5), min_size=7, max_size=14)


@given(DAYS)
def test_median_is_usual_and_what_is_unusual_differs_by_number_and_ratio(days: list[list[int]]) -> None:
    usual = usual_counts(days)
    assert usual is not None
    assert usual.days == len(days)
    assert usual.low <= usual.median <= usual.high
    assert usual.high >= usual.median + 29
    assert usual.high >= 2 * usual.median
    assert usual.low == 0 or (usual.low <= usual.median - 29 and usual.low <= usual.median / 2 + 1)


@given(DAYS, st.randoms(use_true_random=False))
def test_order_of_days_and_of_windows_does_not_matter(days: list[list[int]], random: Random) -> None:
    mixed = [list(day) for day in days]
    random.shuffle(mixed)
    for day in mixed:
        random.shuffle(day)
    assert usual_counts(mixed) == usual_counts(days)


@given(st.integers(1, 2000), st.integers(7, 14))
def test_equal_days_leave_the_noise_of_independent_bees_as_usual(count: int, days: int) -> None:
    usual = usual_counts([[count] * 5] * days)
    assert usual is not None
    assert usual.low <= max(0, count - 3 * count**0.5)
    assert usual.high > count + 3 * count**0.5


@given(DAYS, st.integers(0, 6))
def test_one_extreme_day_does_not_become_usual(days: list[list[int]], index: int) -> None:
    windows = [count for day in days for count in day]
    assume(2 * len(days[index]) < len(windows))
    extreme = [[10**6] * len(day) if number == index else day for number, day in enumerate(days)]
    usual = usual_counts(extreme)
    assert usual is not None
    assert usual.median <= max(windows)


@pytest.mark.parametrize("days", [[], [[5]] * 6, [[5]] * 6 + [[]] * 8])
def test_fewer_than_seven_days_say_nothing(days: list[list[int]]) -> None:
    assert usual_counts(days) is None


def _unusual(found: list[UnusualTraffic]) -> list[str]:
    return [f"{one.kind} {one.direction} at {one.place}" for one in found]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[CountHistory]:
    opened = CountHistory(tmp_path / "counts.sqlite3")
    yield opened
    opened.close()


def _fill(  # noqa: PLR0913 - of a minute
    history: CountHistory,
    begin: datetime,
    minutes: int,
    counts: Callable[[int], tuple[int, int]],
    *,
    frames: int = 600,
    place: str = "door",
) -> None:
    """Store minutes with the counts in and out that a function of the minute gives."""
    stored = []
    for index in range(minutes):
        into, out = counts(index)
        both = {(place, "bee", "in"): into, (place, "bee", "out"): out} if into or out else {}
        at = begin + index * MINUTE
        stored.append(Interval(at, at + MINUTE, frames, both, {}))
    history.add(stored, Totals())


def _usual_days(history: CountHistory, *, days: int = 14, **options: int) -> None:
    """Store 11:00 to 13:00 of the days before, with about 9 in and 10 out each minute."""
    for day in range(days, 0, -1):
        _fill(
            history,
            NOON - timedelta(days=day, hours=1),
            120,
            lambda index, day=day: (8 + (index + day) % 3, 9 + (index * day) % 3),  # type: ignore[misc]
            **options,
        )


def _check_all(
    history: CountHistory, *, minutes: int = 40, since: datetime | None = None
) -> list[tuple[datetime, list[str]]]:
    """Check after each minute of today from noon on, as the agent does; return when something was found."""
    monitor = TrafficMonitor(history)
    checked = ((NOON + index * MINUTE, monitor.check(NOON + index * MINUTE, since=since)) for index in range(minutes))
    return [(at, _unusual(found)) for at, found in checked if found]


def test_outflow_is_found_once_within_minutes(history: CountHistory) -> None:
    _usual_days(history)
    _fill(history, NOON - 10 * MINUTE, 25, lambda _: (9, 10))
    _fill(history, NOON + 15 * MINUTE, 25, lambda _: (9, 120))
    ((at, found),) = _check_all(history)
    assert found == ["many out at door"]
    assert timedelta(minutes=15) < at - NOON <= timedelta(minutes=20)
    unusual = TrafficMonitor(history).check(NOON + 40 * MINUTE)
    assert unusual == []  # a new process, to which this is not new


def test_found_traffic_has_counts_and_what_is_usual(history: CountHistory) -> None:
    _usual_days(history)
    _fill(history, NOON, 10, lambda _: (9, 120))
    (unusual,) = TrafficMonitor(history).check(NOON + 10 * MINUTE)
    assert (unusual.begin, unusual.end) == (NOON, NOON + 10 * MINUTE)
    assert (unusual.label, unusual.counts) == ("bee", {"in": 90, "out": 1200})
    assert unusual.usual.days == 14
    assert 95 <= unusual.usual.median <= 105
    assert unusual.usual.low < 70
    assert 180 < unusual.usual.high < 300


def test_inflow_and_few_are_found(history: CountHistory) -> None:
    _usual_days(history)
    _fill(history, NOON, 10, lambda _: (120, 0))
    assert _unusual(TrafficMonitor(history).check(NOON + 10 * MINUTE)) == ["many in at door", "few out at door"]


def test_what_comes_again_after_an_hour_is_found_again(history: CountHistory) -> None:
    for day in range(14, 0, -1):
        _fill(history, NOON - timedelta(days=day, hours=1), 300, lambda _: (9, 10))
    _fill(history, NOON - 10 * MINUTE, 40, lambda index: (9, 120 if 10 <= index < 20 else 10))
    _fill(history, NOON + 30 * MINUTE, 90, lambda index: (9, 120 if 60 <= index < 70 else 10))
    assert [found for _, found in _check_all(history, minutes=110)] == [["many out at door"]] * 2


@pytest.mark.parametrize("days", [0, 1, 6])
def test_new_device_finds_nothing(history: CountHistory, days: int) -> None:
    _usual_days(history, days=days)
    _fill(history, NOON, 40, lambda _: (200, 300))
    assert _check_all(history) == []


def test_new_place_is_not_compared_with_days_before_it(history: CountHistory) -> None:
    """The days before have frames, but the place was not there."""
    _usual_days(history)
    _fill(history, NOON - timedelta(days=3), 60, lambda _: (60, 60), place="ramp")
    _fill(history, NOON, 40, lambda _: (60, 60), place="ramp")
    assert _check_all(history, minutes=20) == [(NOON + 10 * MINUTE, ["few in at door", "few out at door"])]


def test_days_before_the_places_were_changed_do_not_count(history: CountHistory) -> None:
    _usual_days(history)
    _fill(history, NOON, 40, lambda _: (200, 300))
    assert _check_all(history, since=NOON - timedelta(days=6)) == []
    assert _check_all(history, since=NOON - timedelta(days=7, hours=1)) != []


@pytest.mark.parametrize("frames", [250, 1300])
def test_other_frame_rate_is_no_unusual_traffic(history: CountHistory, frames: int) -> None:
    _usual_days(history)
    _fill(history, NOON, 40, lambda _: (2, 2) if frames < 600 else (30, 30), frames=frames)
    assert _check_all(history) == []


def test_gaps_are_no_unusual_traffic(history: CountHistory) -> None:
    """Neither while the camera was off, nor in the days before."""
    _usual_days(history)
    for begin in range(0, 40, 8):
        _fill(history, NOON + begin * MINUTE, 7, lambda _: (0, 0))
    assert _check_all(history) == []


def test_steady_traffic_is_usual(history: CountHistory) -> None:
    _usual_days(history)
    _fill(history, NOON - 10 * MINUTE, 50, lambda index: (8 + index % 4, 9 + index % 4))
    assert _check_all(history) == []


@settings(max_examples=30)
@given(st.integers(1, 14), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=20, max_size=20))
def test_each_find_is_beyond_its_limits_and_not_repeated_within_the_hour(
    days: int, counts: list[tuple[int, int]]
) -> None:
    class Memory:
        def windows(self, begin: datetime, *, minutes: int, count: int) -> list[Interval]:
            length = minutes * MINUTE
            begins = [begin + index * length for index in range(count)]
            return [self.window(at, length) for at in begins if at >= NOON - timedelta(days=days, hours=1)]

        def window(self, begin: datetime, length: timedelta) -> Interval:
            into = out = 0
            for index in range(length // MINUTE):
                minute = (begin - NOON) // MINUTE + index
                one = counts[minute] if 0 <= minute < len(counts) else (10, 10)
                into, out = into + one[0], out + one[1]
            return Interval(begin, begin + length, 6000, {("door", "bee", "in"): into, ("door", "bee", "out"): out}, {})

        def first_counts(self, since: datetime) -> dict[tuple[str, str], datetime]:
            return {("door", "bee"): since}

    monitor = TrafficMonitor(Memory())
    found = [one for index in range(21) for one in monitor.check(NOON + index * MINUTE)]
    if days < 7:
        assert found == []
    for one in found:
        count = one.counts[one.direction]
        assert count > one.usual.high if one.kind == "many" else count < one.usual.low
    for direction in ("in", "out"):
        kinds = [one.kind for one in found if one.direction == direction]
        assert all(first != then for first, then in pairwise(kinds))

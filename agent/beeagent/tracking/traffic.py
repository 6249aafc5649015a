"""Turns tracked frames into traffic: who came in and went out per interval, today and ever."""

import json
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Protocol

from beeagent.tracking.counting import Passage, PlaceCounter
from beeagent.tracking.places import Places
from beeagent.tracking.tracker import TrackedFrame

_Key = tuple[str, str, str]  # place, label, direction
_MINUTE = timedelta(minutes=1)
_MAX_RECENT = 10_000  # passages of the last minute that are remembered


@dataclass(frozen=True, slots=True)
class Interval:
    """What was counted from one moment to another.

    Attributes:
        begin: with a time zone.
        end: likewise, later than `begin`.
        frames: number of frames that the tracker saw.
        counts: who came in or went out, by place, label and direction (`in` or `out`).
        inside: how many were in each zone at the end, by zone and label.
    """

    begin: datetime
    end: datetime
    frames: int
    counts: Mapping[_Key, int]
    inside: Mapping[str, Mapping[str, int]]

    @property
    def frames_per_s(self) -> float:
        """Frames per second that the tracker saw."""
        return self.frames / (self.end - self.begin).total_seconds()


class IntervalCounter:
    """Collects counts and closes an interval at every multiple of its length, by the clock of the frames.

    Where that clock was set back, the interval ends, and another begins. A gap without frames makes no intervals.

    Args:
        seconds: length of an interval, above 0.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begin: datetime | None = None
        self._due: datetime | None = None
        self._last: datetime | None = None
        self._frames = 0
        self._counts: Counter[_Key] = Counter()
        self._inside: Mapping[str, Mapping[str, int]] = {}

    def add(
        self, passages: Iterable[Passage], inside: Mapping[str, Mapping[str, int]], at: datetime
    ) -> Interval | None:
        """Add a frame; return the interval that ended before it, if one did.

        Args:
            passages: of the frame.
            inside: how many are in each zone in it, by zone and label.
            at: when it was captured, with a time zone.
        """
        ended = None
        if self._due is not None and self._last is not None and not self._last <= at < self._due:
            ended = self.close(at)
        if self._begin is None:
            self._begin, self._due = at, _next_multiple(at, self._seconds)
        self._last = at
        self._frames += 1
        self._counts.update((one.place, one.label, one.direction) for one in passages)
        self._inside = inside
        return ended

    def close(self, at: datetime | None = None) -> Interval | None:
        """End the interval before its time; return it, or None if no frame has come.

        Args:
            at: the time of the next frame; None if none follows.
        """
        if self._begin is None or self._due is None or self._last is None:
            return None
        end = self._due if at is not None and at >= self._due else self._last
        # An interval of a single frame, or one that the clock has not moved in, still has a length.
        end = max(end, self._begin + timedelta(milliseconds=1))
        ended = Interval(self._begin, end, self._frames, dict(self._counts), self._inside)
        self._begin, self._frames, self._counts, self._inside = None, 0, Counter(), {}
        return ended


@dataclass(slots=True)
class Totals:
    """Counts since the beginning of the day and ever, by place, label and direction. They never fall within their time.

    Attributes:
        day: of `today`; None before the first frame.
        today: counts of the day.
        ever: counts of all days.
        first: time of the first count of the day, with a time zone; None before it.
        last: time of the last one, likewise.
    """

    day: date | None = None
    today: Counter[_Key] = field(default_factory=Counter)
    ever: Counter[_Key] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None

    def begin_day(self, day: date) -> None:
        """Start the counts of a day at 0, if it is later than the one counted; an earlier one changes nothing."""
        if self.day is None or day > self.day:
            self.day = day
            self.today.clear()
            self.first = self.last = None

    def add(self, passages: Sequence[Passage], at: datetime | None = None) -> None:
        """Count the passages of a frame; `at`, with a time zone, is when it was captured, if that is known."""
        keys = [(one.place, one.label, one.direction) for one in passages]
        self.today.update(keys)
        self.ever.update(keys)
        if keys and at is not None:
            self.first, self.last = self.first or at, at

    def to_json(self) -> str:
        """Return them as text, for `from_json`."""
        return json.dumps(
            {
                "day": None if self.day is None else self.day.isoformat(),
                "today": [[*key, count] for key, count in self.today.items()],
                "ever": [[*key, count] for key, count in self.ever.items()],
                "first": None if self.first is None else self.first.isoformat(),
                "last": None if self.last is None else self.last.isoformat(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Totals":
        """Return the totals of a text that `to_json` has made.

        Raises:
            ValueError: it is no such text.
        """
        try:
            read = json.loads(text)
            day = None if read["day"] is None else date.fromisoformat(read["day"])
            today, ever = (
                Counter(
                    {(str(place), str(label), str(direction)): int(count) for place, label, direction, count in rows}
                )
                for rows in (read["today"], read["ever"])
            )
            first, last = (
                None if read.get(name) is None else datetime.fromisoformat(read[name]) for name in ("first", "last")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the totals of a camera: {error}") from error
        return cls(day, today, ever, first, last)


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """An interval with the totals at its end; what a traffic message is made of.

    Attributes:
        interval: the counts.
        day: of the totals of today.
        lines: the fields of `beeagent.messages.LineTraffic` by line and label.
        zones: the fields of `beeagent.messages.ZoneTraffic` by zone and label.
    """

    interval: Interval
    day: date
    lines: Mapping[str, Mapping[str, Mapping[str, Any]]]
    zones: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class TrafficState:
    """The counts at one moment; what a state message is made of.

    Attributes:
        day: the current one.
        day_began: when it began, with a time zone.
        first_flight: time of the first count of the day, with a time zone; None before it.
        last_flight: time of the last one, likewise.
        lines: the fields of `beeagent.messages.LineState` by line and label.
        zones: the fields of `beeagent.messages.ZoneState` by zone and label.
    """

    day: date
    day_began: datetime
    first_flight: datetime | None
    last_flight: datetime | None
    lines: Mapping[str, Mapping[str, Mapping[str, Any]]]
    zones: Mapping[str, Mapping[str, Mapping[str, Any]]]


class TrafficStore(Protocol):
    """Keeps counts per minute and the totals; `CountHistory` is one."""

    def add(self, minutes: Sequence[Interval], totals: Totals) -> None:
        """Store both at once, or neither."""


class Traffic:
    """Counts the traffic of one camera.

    Totals are stored once a minute, and before each report: what was reported never falls, not even after a crash.

    Args:
        places: lines and zones.
        interval_s: of the reports, in seconds, above 0.
        totals: to continue; None to begin at 0.
        store: keeps counts per minute and the totals; None for nothing.
        time_zone: of the days; None for the device's own.
    """

    def __init__(
        self,
        places: Places,
        *,
        interval_s: float,
        totals: Totals | None = None,
        store: TrafficStore | None = None,
        time_zone: tzinfo | None = None,
    ) -> None:
        if not 0 < interval_s < math.inf:
            raise ValueError(f"interval_s must be above 0, not {interval_s}")
        self._places = places
        self._counter = PlaceCounter(places)
        self._minutes, self._intervals = IntervalCounter(60), IntervalCounter(interval_s)
        self._totals = Totals() if totals is None else totals
        self._store = store
        self._time_zone = time_zone
        self._labels: set[str] = set()
        self._stored = Counter(self._totals.ever)
        self._recent: deque[tuple[datetime, _Key]] = deque(maxlen=_MAX_RECENT)
        self._inside: Mapping[str, Mapping[str, int]] = {}

    @property
    def totals(self) -> Totals:
        """The counts of today and ever."""
        return self._totals

    def replace(self, places: Places) -> None:
        """Use other places from the next frame on. Totals of places that are gone are kept."""
        self._counter.replace(places)
        self._places = places

    def add(self, frame: TrackedFrame, captured_at: datetime) -> TrafficReport | None:
        """Count a frame; return the report of the interval that ended before it, if one did.

        Args:
            frame: from the tracker.
            captured_at: when it was captured by the wall clock, with a time zone.
        """
        passages = self._counter.update(frame)
        self._inside = inside = self._counter.inside()
        self._labels.update(frame.detections.label(index) for index in frame.confirmed.nonzero()[0].tolist())
        minute = self._minutes.add(passages, inside, captured_at)
        interval = self._intervals.add(passages, inside, captured_at)
        report = self._report(minute, interval)
        self._totals.begin_day(captured_at.astimezone(self._time_zone).date())
        self._totals.add(passages, captured_at)
        self._recent.extend((captured_at, (one.place, one.label, one.direction)) for one in passages)
        return report

    def state(self, now: datetime, labels: Iterable[str] = ()) -> TrafficState:
        """Return the counts as of now, by the clock of the frames. The totals are those that were stored last.

        So they never fall, not even after a crash. Where nothing is stored, they are the current ones.

        Args:
            now: with a time zone.
            labels: classes to include beside those that were counted, at this start or ever.
        """
        totals = self._totals
        day = now.astimezone(self._time_zone).date()
        if totals.day is not None and totals.day >= day:  # later: the clock was set back
            day, today, first, last = totals.day, totals.today, totals.first, totals.last
        else:
            today, first, last = Counter(), None, None
        ever = totals.ever if self._store is None else self._stored
        minute = Counter(key for at, key in self._recent if now - _MINUTE < at <= now)
        known = sorted({*labels, *self._labels, *(label for _, label, _ in totals.ever)})

        def counts(place: str, label: str) -> dict[str, Any]:
            of_day = _both(today, place, label)
            return {
                "per_minute": _both(minute, place, label),
                "today": of_day,
                "away": of_day["out"] - of_day["in"],
                "total": _both(ever, place, label),
            }

        return TrafficState(
            day=day,
            day_began=datetime.combine(day, time(), self._time_zone).astimezone(timezone.utc),
            first_flight=first,
            last_flight=last,
            lines={name: {label: counts(name, label) for label in known} for name in self._places.lines},
            zones={
                name: {
                    label: {**counts(name, label), "inside": self._inside.get(name, {}).get(label, 0)}
                    for label in known
                }
                for name in self._places.zones
            },
        )

    def close(self) -> TrafficReport | None:
        """End the interval before its time, as when the agent stops; return its report, or None without a frame."""
        return self._report(self._minutes.close(), self._intervals.close())

    def _report(self, minute: Interval | None, interval: Interval | None) -> TrafficReport | None:
        if self._store is not None and (minute is not None or interval is not None):
            self._store.add([minute] if minute is not None else [], self._totals)
            self._stored = Counter(self._totals.ever)
        if interval is None:
            return None
        day = interval.end.astimezone(self._time_zone).date() if self._totals.day is None else self._totals.day
        labels = {*self._labels, *(label for _, label, _ in self._totals.ever)}
        return TrafficReport(
            interval=interval,
            day=day,
            lines={
                name: {label: self._counts(name, label, interval) for label in sorted(labels)}
                for name in self._places.lines
            },
            zones={
                name: {
                    label: {
                        **self._counts(name, label, interval),
                        "inside": interval.inside.get(name, {}).get(label, 0),
                    }
                    for label in sorted(labels)
                }
                for name in self._places.zones
            },
        )

    def _counts(self, place: str, label: str, interval: Interval) -> dict[str, Any]:
        return {
            **_both(interval.counts, place, label),
            "today": _both(self._totals.today, place, label),
            "total": _both(self._totals.ever, place, label),
        }


def _both(counts: Mapping[_Key, int], place: str, label: str) -> dict[str, int]:
    return {direction: counts.get((place, label, direction), 0) for direction in ("in", "out")}


def _next_multiple(at: datetime, seconds: float) -> datetime:
    """Return the first moment after `at` that is a whole number of intervals since 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    passed = math.floor((at - epoch).total_seconds() / seconds)
    due = epoch + timedelta(seconds=(passed + 1) * seconds)
    return due if due > at else due + timedelta(seconds=seconds)

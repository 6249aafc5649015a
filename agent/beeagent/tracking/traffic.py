"""Traffic: counts of bees that came in and went out, per interval, today and in total."""

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
_MAX_RECENT = 10_000  # maximum number of passages kept for the last minute


@dataclass(frozen=True, slots=True)
class Interval:
    """The counts of an interval.

    Attributes:
        begin: beginning, with a time zone.
        end: end, with a time zone, later than `begin`.
        frames: number of frames processed by the tracker.
        counts: number of passages by place, label and direction (`in` or `out`).
        inside: number in each zone at the end, by zone and label.
    """

    begin: datetime
    end: datetime
    frames: int
    counts: Mapping[_Key, int]
    inside: Mapping[str, Mapping[str, int]]

    @property
    def frames_per_s(self) -> float:
        """Frames per second processed by the tracker."""
        return self.frames / (self.end - self.begin).total_seconds()


class IntervalCounter:
    """Collects counts, and closes an interval at every multiple of its length, by the clock of the frames.

    If that clock is set back, a new interval begins. There are no intervals for a gap without frames.

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
        """Add a frame; return the interval that ended before it, or None.

        Args:
            passages: passages in the frame.
            inside: number in each zone, by zone and label.
            at: time of capture, with a time zone.
        """
        ended = None
        if self._due is not None and self._last is not None and not self._last <= at < self._due:
            ended = self.close(at)
        if self._begin is None:
            self._begin, self._due = at, _next_multiple(at, self._seconds)
        self._last = at
        self._frames += 1
        self._counts.update((passage.place, passage.label, passage.direction) for passage in passages)
        self._inside = inside
        return ended

    def close(self, at: datetime | None = None) -> Interval | None:
        """End the interval early and return it; return None if it has no frames.

        Args:
            at: time of the next frame; None if there is none.
        """
        if self._begin is None or self._due is None or self._last is None:
            return None
        end = self._due if at is not None and at >= self._due else self._last
        # The length must be above 0, also with a single frame or a clock that has not advanced.
        end = max(end, self._begin + timedelta(milliseconds=1))
        ended = Interval(self._begin, end, self._frames, dict(self._counts), self._inside)
        self._begin, self._frames, self._counts, self._inside = None, 0, Counter(), {}
        return ended


@dataclass(slots=True)
class Totals:
    """Counts of the day and of all days, by place, label and direction. They never decrease within the period.

    Attributes:
        day: day of `today`; None before the first frame.
        today: counts of the day.
        ever: counts of all days.
        first: time of the first count of the day, with a time zone; None before it.
        last: time of the last count of the day, with a time zone; None before the first.
    """

    day: date | None = None
    today: Counter[_Key] = field(default_factory=Counter)
    ever: Counter[_Key] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None

    def begin_day(self, day: date) -> None:
        """Reset the counts of the day if a day is later than the current one."""
        if self.day is None or day > self.day:
            self.day = day
            self.today.clear()
            self.first = self.last = None

    def add(self, passages: Sequence[Passage], at: datetime | None = None) -> None:
        """Count the passages of a frame; `at` is its time of capture with a time zone, if it is known."""
        keys = [(passage.place, passage.label, passage.direction) for passage in passages]
        self.today.update(keys)
        self.ever.update(keys)
        if keys and at is not None:
            self.first, self.last = self.first or at, at

    def to_json(self) -> str:
        """Return the totals as JSON text, for `from_json`."""
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
        """Parse the text of `to_json`.

        Raises:
            ValueError: the text is invalid.
        """
        try:
            content = json.loads(text)
            day = None if content["day"] is None else date.fromisoformat(content["day"])
            today, ever = (
                Counter(
                    {(str(place), str(label), str(direction)): int(count) for place, label, direction, count in rows}
                )
                for rows in (content["today"], content["ever"])
            )
            first, last = (
                None if content.get(name) is None else datetime.fromisoformat(content[name])
                for name in ("first", "last")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the totals of a camera: {error}") from error
        return cls(day, today, ever, first, last)


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """An interval with the totals at its end, for a traffic message.

    Attributes:
        interval: counts of the interval.
        day: day of the totals of today.
        lines: fields of `beeagent.messages.LineTraffic` by line and label.
        zones: fields of `beeagent.messages.ZoneTraffic` by zone and label.
    """

    interval: Interval
    day: date
    lines: Mapping[str, Mapping[str, Mapping[str, Any]]]
    zones: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class TrafficState:
    """The current counts, for a state message.

    Attributes:
        day: current day.
        day_began: beginning of the day, with a time zone.
        first_flight: time of the first count of the day, with a time zone; None before it.
        last_flight: time of the last count of the day, with a time zone; None before the first.
        lines: fields of `beeagent.messages.LineState` by line and label.
        zones: fields of `beeagent.messages.ZoneState` by zone and label.
    """

    day: date
    day_began: datetime
    first_flight: datetime | None
    last_flight: datetime | None
    lines: Mapping[str, Mapping[str, Mapping[str, Any]]]
    zones: Mapping[str, Mapping[str, Mapping[str, Any]]]


class TrafficStore(Protocol):
    """Stores counts per minute and the totals, such as `CountHistory`."""

    def add(self, minutes: Sequence[Interval], totals: Totals) -> None:
        """Store both in one transaction."""


class Traffic:
    """Counts the traffic of one camera.

    Totals are stored once a minute, and before each report: so reported totals never decrease, even after a crash.

    Args:
        places: lines and zones.
        interval_s: interval of the reports in seconds, above 0.
        totals: totals to continue; None to begin at 0.
        store: store for counts per minute and totals; None for none.
        time_zone: time zone of the days; None for that of the device.
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
        """Use other places from the next frame on. Totals of removed places are kept."""
        self._counter.replace(places)
        self._places = places

    def add(self, frame: TrackedFrame, captured_at: datetime) -> TrafficReport | None:
        """Count a frame; return the report of the interval that ended before it, or None.

        Args:
            frame: result of the tracker.
            captured_at: wall-clock time of capture, with a time zone.
        """
        passages = self._counter.update(frame)
        self._inside = inside = self._counter.inside()
        self._labels.update(frame.detections.label(index) for index in frame.confirmed.nonzero()[0].tolist())
        minute = self._minutes.add(passages, inside, captured_at)
        interval = self._intervals.add(passages, inside, captured_at)
        report = self._report(minute, interval)
        self._totals.begin_day(captured_at.astimezone(self._time_zone).date())
        self._totals.add(passages, captured_at)
        self._recent.extend((captured_at, (passage.place, passage.label, passage.direction)) for passage in passages)
        return report

    def state(self, now: datetime, labels: Iterable[str] = ()) -> TrafficState:
        """Return the current counts, with the last stored totals, which never decrease, even after a crash.

        Without a store, these are the current totals.

        Args:
            now: current time by the clock of the frames, with a time zone.
            labels: classes to include in addition to those counted so far.
        """
        totals = self._totals
        day = now.astimezone(self._time_zone).date()
        if totals.day is not None and totals.day >= day:  # later if the clock was set back
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
        """End the interval early and return its report; return None if it has no frames."""
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
    """Return the first time after `at` that is a whole number of intervals since 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    passed = math.floor((at - epoch).total_seconds() / seconds)
    due = epoch + timedelta(seconds=(passed + 1) * seconds)
    return due if due > at else due + timedelta(seconds=seconds)

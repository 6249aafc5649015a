"""The traffic of one day: counts by place and quarter of an hour, and when no frames came."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Final

from beeagent.tracking.traffic import Interval

BIN: Final = timedelta(minutes=15)
"""Length of the parts of a day that a report shows."""
_BINS_OF_AN_HOUR: Final = 4
_MIN_GAP: Final = timedelta(minutes=2)
_BEFORE_GAP: Final = timedelta(minutes=1)  # how long before a gap its reason may have been reported


@dataclass(frozen=True, slots=True)
class StatusChange:
    """What a device reported of itself.

    Attributes:
        at: when, with a time zone.
        state: `online` or another.
        reasons: why it is not online.
    """

    at: datetime
    state: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without frames.

    Attributes:
        begin: with a time zone.
        end: likewise.
        reason: what the device reported; empty if it reported nothing.
    """

    begin: datetime
    end: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PlaceDay:
    """The traffic at one line or zone.

    Attributes:
        place: its name.
        label: class of what was counted.
        bins: how many came in and went out in each part of the day.
    """

    place: str
    label: str
    bins: tuple[tuple[int, int], ...]

    @property
    def into(self) -> int:
        """How many came in."""
        return sum(into for into, _ in self.bins)

    @property
    def out(self) -> int:
        """How many went out."""
        return sum(out for _, out in self.bins)

    @property
    def hours(self) -> tuple[tuple[int, int], ...]:
        """How many came in and went out in each hour."""
        hours = [self.bins[first : first + _BINS_OF_AN_HOUR] for first in range(0, len(self.bins), _BINS_OF_AN_HOUR)]
        return tuple((sum(into for into, _ in hour), sum(out for _, out in hour)) for hour in hours)

    @property
    def balances(self) -> tuple[int, ...]:
        """How many more have come in than gone out since the beginning of the day, at the end of each part."""
        balances, balance = [], 0
        for into, out in self.bins:
            balance += into - out
            balances.append(balance)
        return tuple(balances)

    def busiest_hours(self, count: int) -> list[int]:
        """Return the indices of the hours with the most traffic, the busiest first; none without traffic."""
        totals = [sum(hour) for hour in self.hours]
        ranked = sorted(range(len(totals)), key=lambda hour: -totals[hour])
        return [hour for hour in ranked[:count] if totals[hour]]


@dataclass(frozen=True, slots=True)
class Day:
    """The traffic of one camera on one day.

    Attributes:
        day: by the calendar of the time zone.
        begin: its beginning, in UTC.
        end: the beginning of the next; 23 or 25 hours later where the clocks change.
        until: the end of what can be known: `end`, or now.
        places: the traffic, in the order of the intervals' places.
        gaps: when no frames came between `begin` and `until`.
        frames_per_s: mean rate while frames came; 0 if none did.
        time_zone: of the day; None for the device's own.
    """

    day: date
    begin: datetime
    end: datetime
    until: datetime
    places: tuple[PlaceDay, ...]
    gaps: tuple[Gap, ...]
    frames_per_s: float
    time_zone: tzinfo | None = None

    def local(self, at: datetime) -> datetime:
        """Return a moment in the time zone of the day."""
        return at.astimezone(self.time_zone)

    @property
    def watched(self) -> timedelta:
        """How long frames came."""
        return self.until - self.begin - sum((gap.end - gap.begin for gap in self.gaps), timedelta())


def day_of(at: datetime, time_zone: tzinfo | None = None) -> date:
    """Return the day of a moment in a time zone; None is the device's own."""
    return at.astimezone(time_zone).date()


def bounds_of(day: date, time_zone: tzinfo | None = None) -> tuple[datetime, datetime]:
    """Return the beginning of a day and that of the next in UTC; a time zone of None is the device's own."""
    begin, end = (
        datetime.combine(one, time.min, time_zone).astimezone(timezone.utc) for one in (day, day + timedelta(days=1))
    )
    return begin, end


def summarize(
    intervals: Iterable[Interval],
    day: date,
    *,
    statuses: Iterable[StatusChange] = (),
    now: datetime | None = None,
    time_zone: tzinfo | None = None,
) -> Day:
    """Return the traffic of a day.

    Args:
        intervals: of one camera, also of other days; each counts at its middle.
        day: by the calendar of the time zone.
        statuses: reported by the device.
        now: the end of what can be known, with a time zone; None for the clock's time.
        time_zone: of the day; None for the device's own.
    """
    begin, end = bounds_of(day, time_zone)
    now = datetime.now(timezone.utc) if now is None else now
    until = max(begin, min(end, now.astimezone(timezone.utc)))
    of_day = sorted((one for one in intervals if begin <= _middle(one) < end), key=lambda one: one.begin)
    number = math.ceil((end - begin) / BIN)
    counts: dict[tuple[str, str], list[list[int]]] = {}
    for one in of_day:
        index = int((_middle(one) - begin) / BIN)
        for (place, label, direction), count in one.counts.items():
            bins = counts.setdefault((place, label), [[0, 0] for _ in range(number)])
            bins[index][direction == "out"] += count
    watched_s = sum((one.end - one.begin).total_seconds() for one in of_day)
    return Day(
        day=day,
        begin=begin,
        end=end,
        until=until,
        places=tuple(
            PlaceDay(place, label, tuple((into, out) for into, out in bins)) for (place, label), bins in counts.items()
        ),
        gaps=tuple(_gaps(of_day, begin, until, sorted(statuses, key=lambda one: one.at))),
        frames_per_s=sum(one.frames for one in of_day) / watched_s if watched_s else 0.0,
        time_zone=time_zone,
    )


def _middle(interval: Interval) -> datetime:
    return (interval.begin + (interval.end - interval.begin) / 2).astimezone(timezone.utc)


def _gaps(
    intervals: Sequence[Interval], begin: datetime, until: datetime, statuses: Sequence[StatusChange]
) -> Iterator[Gap]:
    seen_until = begin
    for one in (*intervals, Interval(until, until, 0, {}, {})):
        if one.begin - seen_until >= _MIN_GAP:
            yield Gap(seen_until, one.begin, _reason(seen_until, one.begin, statuses))
        seen_until = max(seen_until, one.end)


def _reason(begin: datetime, end: datetime, statuses: Sequence[StatusChange]) -> str:
    for one in statuses:
        if begin - _BEFORE_GAP <= one.at <= end and one.state != "online":
            return ": ".join((one.state, *one.reasons[:1]))
    return ""

"""The traffic of one day: counts by place and quarter of an hour, and periods without frames."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Final

from beeagent.tracking.traffic import Interval

BIN: Final = timedelta(minutes=15)
"""Length of the bins of a day in a report."""
_BINS_OF_AN_HOUR: Final = 4
_MIN_GAP: Final = timedelta(minutes=2)
_BEFORE_GAP: Final = timedelta(minutes=1)  # maximum time from the report of its reason to a gap


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of a device's status.

    Attributes:
        at: time of the status, with a time zone.
        state: state of the device, such as `online`.
        reasons: reasons for a state other than `online`.
    """

    at: datetime
    state: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """A period without frames.

    Attributes:
        begin: beginning, with a time zone.
        end: end, with a time zone.
        reason: reason reported by the device; empty if there is none.
    """

    begin: datetime
    end: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PlaceDay:
    """The traffic at one line or zone.

    Attributes:
        place: name of the line or zone.
        label: class of the counted objects.
        bins: numbers that came in and went out in each bin of the day.
    """

    place: str
    label: str
    bins: tuple[tuple[int, int], ...]

    @property
    def into(self) -> int:
        """Number that came in."""
        return sum(into for into, _ in self.bins)

    @property
    def out(self) -> int:
        """Number that went out."""
        return sum(out for _, out in self.bins)

    @property
    def hours(self) -> tuple[tuple[int, int], ...]:
        """Numbers that came in and went out in each hour."""
        hours = [self.bins[first : first + _BINS_OF_AN_HOUR] for first in range(0, len(self.bins), _BINS_OF_AN_HOUR)]
        return tuple((sum(into for into, _ in hour), sum(out for _, out in hour)) for hour in hours)

    @property
    def balances(self) -> tuple[int, ...]:
        """In minus out since the beginning of the day, at the end of each bin."""
        balances, balance = [], 0
        for into, out in self.bins:
            balance += into - out
            balances.append(balance)
        return tuple(balances)

    def busiest_hours(self, count: int) -> list[int]:
        """Return the indices of the hours with the most traffic, the busiest first, without hours of no traffic."""
        totals = [sum(hour) for hour in self.hours]
        ranked = sorted(range(len(totals)), key=lambda hour: -totals[hour])
        return [hour for hour in ranked[:count] if totals[hour]]


@dataclass(frozen=True, slots=True)
class Day:
    """The traffic of one camera on one day.

    Attributes:
        day: date in the time zone.
        begin: beginning of the day, in UTC.
        end: beginning of the next day; 23 or 25 hours later on a change of daylight saving time.
        until: end of the available data: `end`, or now.
        places: traffic at each place, in the order of the intervals' places.
        gaps: periods without frames between `begin` and `until`.
        frames_per_s: mean frame rate outside of gaps; 0 without frames.
        time_zone: time zone of the day; None for that of the device.
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
        """Convert a time to the time zone of the day."""
        return at.astimezone(self.time_zone)

    @property
    def watched(self) -> timedelta:
        """Duration without gaps."""
        return self.until - self.begin - sum((gap.end - gap.begin for gap in self.gaps), timedelta())


def day_of(at: datetime, time_zone: tzinfo | None = None) -> date:
    """Return the date of a time in a time zone; None for that of the device."""
    return at.astimezone(time_zone).date()


def bounds_of(day: date, time_zone: tzinfo | None = None) -> tuple[datetime, datetime]:
    """Return the beginnings of a day and of the next in UTC; the time zone is None for that of the device."""
    begin, end = (
        datetime.combine(start, time.min, time_zone).astimezone(timezone.utc)
        for start in (day, day + timedelta(days=1))
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
        intervals: intervals of one camera, also of other days; each is assigned to a bin by its middle.
        day: date in the time zone.
        statuses: status changes of the device.
        now: end of the available data, with a time zone; None for the current time.
        time_zone: time zone of the day; None for that of the device.
    """
    begin, end = bounds_of(day, time_zone)
    now = datetime.now(timezone.utc) if now is None else now
    until = max(begin, min(end, now.astimezone(timezone.utc)))
    of_day = sorted(
        (interval for interval in intervals if begin <= _middle(interval) < end), key=lambda interval: interval.begin
    )
    number = math.ceil((end - begin) / BIN)
    counts: dict[tuple[str, str], list[list[int]]] = {}
    for interval in of_day:
        index = int((_middle(interval) - begin) / BIN)
        for (place, label, direction), count in interval.counts.items():
            bins = counts.setdefault((place, label), [[0, 0] for _ in range(number)])
            bins[index][direction == "out"] += count
    watched_s = sum((interval.end - interval.begin).total_seconds() for interval in of_day)
    return Day(
        day=day,
        begin=begin,
        end=end,
        until=until,
        places=tuple(
            PlaceDay(place, label, tuple((into, out) for into, out in bins)) for (place, label), bins in counts.items()
        ),
        gaps=tuple(_gaps(of_day, begin, until, sorted(statuses, key=lambda status: status.at))),
        frames_per_s=sum(interval.frames for interval in of_day) / watched_s if watched_s else 0.0,
        time_zone=time_zone,
    )


def _middle(interval: Interval) -> datetime:
    return (interval.begin + (interval.end - interval.begin) / 2).astimezone(timezone.utc)


def _gaps(
    intervals: Sequence[Interval], begin: datetime, until: datetime, statuses: Sequence[StatusChange]
) -> Iterator[Gap]:
    seen_until = begin
    for interval in (*intervals, Interval(until, until, 0, {}, {})):
        if interval.begin - seen_until >= _MIN_GAP:
            yield Gap(seen_until, interval.begin, _reason(seen_until, interval.begin, statuses))
        seen_until = max(seen_until, interval.end)


def _reason(begin: datetime, end: datetime, statuses: Sequence[StatusChange]) -> str:
    for status in statuses:
        if begin - _BEFORE_GAP <= status.at <= end and status.state != "online":
            return ": ".join((status.state, *status.reasons[:1]))
    return ""

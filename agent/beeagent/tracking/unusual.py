"""Compares the traffic of the last ten minutes with that at the same time of earlier days."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final, Literal, Protocol

from beeagent.tracking.traffic import Interval

_WINDOW_MINUTES: Final = 10
_WINDOW: Final = timedelta(minutes=_WINDOW_MINUTES)
_NEIGHBOURS: Final = 2  # windows before and after the same time of an earlier day that are compared too
_DAYS: Final = 14
_MIN_DAYS: Final = 7
_MIN_DIFFERENCE: Final = 30  # from the median, in counts of a window
_MIN_RATIO: Final = 2.0  # to the median, or of the median to the count
_DEVIATIONS: Final = 4.0  # of the logarithm, from that of the median
_MAD_TO_DEVIATION: Final = 1.4826  # for a normal distribution
_QUIET: Final = timedelta(hours=1)  # without unusual traffic, until it is reported again

_Name = tuple[str, str]  # place, label
_Direction = Literal["in", "out"]
_DIRECTIONS: Final[tuple[_Direction, ...]] = ("in", "out")


@dataclass(frozen=True, slots=True)
class Usual:
    """The usual range of a count in a window at one time of day.

    Attributes:
        median: median of the counts of earlier days.
        low: lower bound; a smaller count is unusual. 0 if no count is too small.
        high: upper bound; a larger count is unusual.
        days: number of earlier days compared.
    """

    median: float
    low: int
    high: int
    days: int


@dataclass(frozen=True, slots=True)
class UnusualTraffic:
    """Unusual traffic in one direction.

    Attributes:
        place: name of the line or zone.
        label: class.
        direction: `in` or `out`.
        kind: `many` or `few`.
        begin: begin of the window, with a time zone.
        end: end of the window, with a time zone.
        counts: counts of the window by direction.
        usual: usual range of the count in `direction`.
    """

    place: str
    label: str
    direction: Literal["in", "out"]
    kind: Literal["many", "few"]
    begin: datetime
    end: datetime
    counts: Mapping[str, int]
    usual: Usual


class CountSource(Protocol):
    """Source of the counts of earlier minutes, such as `CountHistory`."""

    def windows(self, begin: datetime, *, minutes: int, count: int) -> Sequence[Interval]:
        """Return the counts of successive windows; windows with a minute without frames are left out."""

    def first_counts(self, since: datetime) -> Mapping[_Name, datetime]:
        """Return the time of the first count of each class at each place since `since`."""


def usual_counts(days: Sequence[Sequence[int]]) -> Usual | None:
    """Return the usual range from the counts of earlier days; None if there are too few days.

    The range is symmetric in the logarithm of the count, since traffic varies by factors: `_DEVIATIONS` times its
    deviation around the median, which a few days of other weather change little, and at least a factor of `_MIN_RATIO`
    and a difference of `_MIN_DIFFERENCE`.

    Args:
        days: counts of each earlier day, 0 or more; a day without any is left out.
    """
    known = [day for day in days if day]
    if len(known) < _MIN_DAYS:
        return None
    counts = [count for day in known for count in day]
    logarithms = [math.log1p(count) for count in counts]
    middle, centre = float(median(counts)), median(logarithms)
    # At least the deviation of a Poisson distribution: days with equal counts would otherwise give 0.
    deviation = max(_MAD_TO_DEVIATION * median(abs(one - centre) for one in logarithms), math.exp(-centre / 2))
    margin = max(_DEVIATIONS * deviation, math.log(_MIN_RATIO))
    return Usual(
        median=middle,
        low=max(0, math.ceil(min(math.expm1(centre - margin), middle - _MIN_DIFFERENCE + 1))),
        high=math.floor(max(math.expm1(min(centre + margin, 40.0)), middle + _MIN_DIFFERENCE - 1)),
        days=len(known),
    )


class TrafficMonitor:
    """Finds unusual traffic: many more or far fewer bees than at the same time of the last two weeks.

    A window of ten minutes is compared with those within half an hour of the same time of each day. Only complete
    windows count: minutes without frames, and windows with less than half or more than double the usual number of
    frames, are ignored. The time of day is UTC, so that it does not jump by an hour in spring and autumn.

    Unusual traffic that lasts is reported once, and again only after an hour without it.

    Args:
        source: source of the counts.
    """

    def __init__(self, source: CountSource) -> None:
        self._source = source
        self._latest: dict[tuple[str, str, str], tuple[str, datetime]] = {}
        self._first: dict[_Name, datetime] = {}
        self._checked = False

    def check(self, end: datetime, *, since: datetime | None = None) -> list[UnusualTraffic]:
        """Return what is unusual in the window up to a moment, and was not before.

        Args:
            end: of a minute whose counts the source has, with a time zone.
            since: earlier counts are not comparable; None if all are.
        """
        if not self._checked:  # what an earlier process has found
            self._checked = True
            for windows in range(6, 0, -1):
                self._new(self._unusual(end - windows * _WINDOW, since))
        return self._new(self._unusual(end, since))

    def _new(self, found: Sequence[UnusualTraffic]) -> list[UnusualTraffic]:
        new = []
        for one in found:
            key = one.place, one.label, one.direction
            kind, at = self._latest.get(key, ("", one.end))
            if kind != one.kind or abs(one.end - at) > _QUIET:
                new.append(one)
            self._latest[key] = one.kind, one.end
        return new

    def _unusual(self, end: datetime, since: datetime | None) -> list[UnusualTraffic]:
        now = self._source.windows(end - _WINDOW, minutes=_WINDOW_MINUTES, count=1)
        if not now:
            return []
        before = (1 + _NEIGHBOURS) * _WINDOW
        earlier = [
            [
                window
                for window in self._source.windows(
                    end - timedelta(days=day) - before, minutes=_WINDOW_MINUTES, count=1 + 2 * _NEIGHBOURS
                )
                if since is None or window.begin >= since
            ]
            for day in range(1, _DAYS + 1)
        ]
        frames = [window.frames for day in earlier for window in day]
        if not frames or not 0.5 <= now[0].frames / median(frames) <= 2:
            return []
        names = {(place, label) for day in (now, *earlier) for window in day for place, label, _ in window.counts}
        if not names <= self._first.keys():
            self._first = dict(self._source.first_counts(end - timedelta(days=_DAYS + 1)))
        return [
            one
            for name in sorted(names & self._first.keys())
            for direction in _DIRECTIONS
            if (one := self._judge(now[0], earlier, name, direction)) is not None
        ]

    def _judge(
        self, now: Interval, earlier: Sequence[Sequence[Interval]], name: _Name, direction: _Direction
    ) -> UnusualTraffic | None:
        first = self._first[name]
        usual = usual_counts(
            [[window.counts.get((*name, direction), 0) for window in day if window.begin >= first] for day in earlier]
        )
        count = now.counts.get((*name, direction), 0)
        if usual is None or usual.low <= count <= usual.high:
            return None
        return UnusualTraffic(
            place=name[0],
            label=name[1],
            direction=direction,
            kind="many" if count > usual.high else "few",
            begin=now.begin,
            end=now.end,
            counts={way: now.counts.get((*name, way), 0) for way in _DIRECTIONS},
            usual=usual,
        )

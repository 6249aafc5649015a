"""The active times of the camera: between two times by the clock or the sun, or while it is bright."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from datetime import time as clock_time
from typing import Final, Literal

from beeagent.camera.sun import sunrise_and_sunset
from beeagent.errors import InputError

DEFAULT_BRIGHTNESS: Final = 20.0

_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_SUN: Final = re.compile(r"(sunrise|sunset)(?:([+-])(?=[0-9])(?:([0-9]{1,2})h)?(?:([0-9]{1,3})m)?)?")
_BRIGHTNESS: Final = re.compile(r"brightness(?:>([0-9]{1,3}(?:\.[0-9]+)?))?")
_ALLOWED: Final = "give two times, such as 06:00..20:30 or sunrise-30m..sunset+30m, or brightness>20"

_MAX_OFFSET: Final = timedelta(hours=12)
_NOMINAL: Final = {"clock": timedelta(0), "sunrise": timedelta(hours=6), "sunset": timedelta(hours=18)}
_MAX_DAYS: Final = 400  # a polar night is shorter


@dataclass(frozen=True, slots=True)
class DayTime:
    """A time of the day.

    Attributes:
        of: reference: `clock` for local midnight, sunrise or sunset.
        offset: offset from the reference.
    """

    of: Literal["clock", "sunrise", "sunset"]
    offset: timedelta

    @property
    def nominal(self) -> timedelta:
        """The time by the clock on a day with twelve hours of daylight."""
        return _NOMINAL[self.of] + self.offset


@dataclass(frozen=True, slots=True)
class Span:
    """The current state of the camera.

    Attributes:
        active: True if the camera is active.
        until: time of the next change, with a time zone; None if there is none within a year.
    """

    active: bool
    until: datetime | None


class ActiveTimes:
    """A daily active period.

    The end is on the next day if it is earlier by the clock than the beginning, where sunrise counts as 06:00 and
    sunset as 18:00. This does not depend on the season: a day on which the sun moves the end before the beginning has
    no active period.

    If the sun stays up all day, sunrise and sunset are the solar midnights before and after; if it stays down, both are
    solar noon. Offsets are then ignored.

    Args:
        begin: beginning of the active period.
        end: end of the active period.
        latitude: degrees, north positive; required for times of the sun.
        longitude: degrees, east positive; required for times of the sun.
        time_zone: time zone of times by the clock; None for that of the device.
    """

    def __init__(
        self,
        begin: DayTime,
        end: DayTime,
        *,
        latitude: float = 0.0,
        longitude: float = 0.0,
        time_zone: tzinfo | None = None,
    ) -> None:
        self._begin = begin
        self._end = end
        self._latitude = latitude
        self._longitude = longitude
        self._time_zone = time_zone
        self._end_shift = 1 if end.nominal < begin.nominal else 0  # in days

    def at(self, now: datetime) -> Span:
        """Return the state of the camera at a time.

        Args:
            now: the time, with a time zone.
        """
        today = now.astimezone(self._time_zone).date()
        windows = [self._window(today + timedelta(days=shift)) for shift in range(-2, 3)]
        ends = [end for begin, end in windows if begin <= now < end]
        if ends:
            return Span(active=True, until=max(ends))
        for shift in range(-2, _MAX_DAYS):
            begin, end = self._window(today + timedelta(days=shift))
            if now < begin < end:
                return Span(active=False, until=begin)
        return Span(active=False, until=None)

    def _window(self, day: date) -> tuple[datetime, datetime]:
        """Return the beginning and end of the active period of a day; there is none if the end is not later."""
        return self._time(self._begin, day), self._time(self._end, day + timedelta(days=self._end_shift))

    def _time(self, time: DayTime, day: date) -> datetime:
        if time.of == "clock":
            return self._local(day, time.offset)
        noon = self._local(day, timedelta(hours=12))
        rise, setting = sunrise_and_sunset(noon, latitude=self._latitude, longitude=self._longitude)
        event = rise if time.of == "sunrise" else setting
        return event.at + time.offset if event.occurs else event.at

    def _local(self, day: date, offset: timedelta) -> datetime:
        local = datetime.combine(day, clock_time()) + offset
        if self._time_zone is not None:
            local = local.replace(tzinfo=self._time_zone)
        return local.astimezone(timezone.utc)


def parse_active(text: str, *, latitude: float | None, longitude: float | None) -> ActiveTimes | float:
    """Parse the setting `active`: return active times, or the brightness, 0 to 255, above which the camera is active.

    Args:
        text: two times or a brightness, such as `sunrise-30m..sunset+30m`, `06:00..20:30`, `06:00..sunset`,
            `brightness>20` or `brightness`.
        latitude: degrees, north positive; None if it is not set.
        longitude: degrees, east positive; None if it is not set.

    Raises:
        InputError: the text is invalid, or has a time of the sun without latitude and longitude.
    """
    words = "".join(text.split()).lower()
    if match := _BRIGHTNESS.fullmatch(words):
        level = DEFAULT_BRIGHTNESS if match[1] is None else float(match[1])
        if not level < 255:
            raise InputError(f"active is {text!r}: give a brightness below 255")
        return level
    begin, separator, end = words.partition("..")
    if not separator:
        raise InputError(f"active is {text!r}: {_ALLOWED}")
    times = _day_time(begin, text), _day_time(end, text)
    if times[0] == times[1]:
        raise InputError(f"active is {text!r}, but its times are equal: give two different times, or leave it out")
    if all(time.of == "clock" for time in times):
        return ActiveTimes(*times)
    if latitude is None or longitude is None:
        raise InputError(
            f"active is {text!r}, but latitude and longitude are not both set: set them, or give times by the clock"
        )
    return ActiveTimes(*times, latitude=latitude, longitude=longitude)


def _day_time(words: str, text: str) -> DayTime:
    if match := _CLOCK.fullmatch(words):
        offset = timedelta(hours=int(match[1]), minutes=int(match[2]))
        if int(match[2]) > 59 or offset > timedelta(days=1):
            raise InputError(f"active is {text!r}: {words} is not a time of day: {_ALLOWED}")
        return DayTime("clock", offset)
    if match := _SUN.fullmatch(words):
        offset = timedelta(hours=int(match[3] or 0), minutes=int(match[4] or 0))
        if offset > _MAX_OFFSET:
            raise InputError(f"active is {text!r}: give at most 12h before or after {match[1]}")
        return DayTime("sunrise" if match[1] == "sunrise" else "sunset", -offset if match[2] == "-" else offset)
    raise InputError(f"active is {text!r}: {_ALLOWED}")

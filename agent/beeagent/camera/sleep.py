"""Sleep of the camera: outside its active times, or while it is dark."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, Protocol

from beeagent.camera.active import ActiveTimes
from beeagent.camera.live import brightness
from beeagent.camera.pacing import Clock, MonotonicClock
from beeagent.camera.source import Frame

_LOG: Final = logging.getLogger(__name__)

DARK_S: Final = 300.0
"""Seconds of darkness after which the camera falls asleep."""
LOOK_EVERY_S: Final = 60.0
"""Seconds between two checks of the brightness during sleep."""
SETTLE_S: Final = 2.0
"""Seconds from the first frame of a check to the frame that is used: a camera first adjusts its exposure."""
DARK_SHARE: Final = 0.8
"""Maximum brightness of darkness, as a ratio of the brightness at which the camera wakes."""

_UNSET_CLOCK: Final = datetime(2025, 1, 1, tzinfo=timezone.utc)  # earlier than this software
_NO_CHANGE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SleepPeriod:
    """A period of sleep.

    Attributes:
        since: beginning, with a time zone.
        until: end, with a time zone; None if it depends on the light.
    """

    since: datetime
    until: datetime | None


class Sleep(Protocol):
    """Decides when the camera is closed. For the thread that takes the frames; `period` is thread-safe."""

    @property
    def period(self) -> SleepPeriod | None:
        """The current period of sleep; None while the camera is active."""
        ...

    def closed_s(self) -> float:
        """Return the seconds for which to keep the camera closed from now; 0 to keep it open."""
        ...

    def admits(self, frame: Frame) -> bool:
        """Return True if a frame of the open camera is to be processed."""
        ...


class TimedSleep:
    """Sleeps outside active times, by the wall clock, which may jump.

    A clock before 2025 is not set, as on a Raspberry Pi without network and clock battery. The camera then stays
    active, since too many frames are better than none.

    Args:
        times: active times of the camera.
        now: returns the current time with a time zone; None for the system clock.
    """

    def __init__(self, times: ActiveTimes, *, now: Callable[[], datetime] | None = None) -> None:
        self._times = times
        self._now = _utc_now if now is None else now
        self._period: SleepPeriod | None = None
        self._decided: tuple[datetime, datetime] | None = None  # period in which the last decision is valid

    @property
    def period(self) -> SleepPeriod | None:
        """See `Sleep.period`."""
        return self._period

    def closed_s(self) -> float:
        """See `Sleep.closed_s`."""
        now = self._now()
        if self._decided is None or not self._decided[0] <= now < self._decided[1]:
            self._decide(now)
        if self._period is None or self._decided is None:
            return 0.0
        return (self._decided[1] - now).total_seconds()

    def admits(self, frame: Frame) -> bool:  # noqa: ARG002 - depends on the clock alone
        """See `Sleep.admits`."""
        return self.closed_s() == 0

    def _decide(self, now: datetime) -> None:
        if now < _UNSET_CLOCK:
            _LOG.warning("the clock is not set (%s): the camera stays active until it is set", now.isoformat())
            self._decided = (now, _UNSET_CLOCK)
            self._period = None
            return
        span = self._times.at(now)
        self._decided = (now, now + _NO_CHANGE if span.until is None else span.until)
        before = self._period
        if span.active:
            self._period = None
            if before is not None:
                _LOG.info("the camera is active again, until %s", _local(span.until))
            return
        since = now if before is None or before.since > now else before.since
        self._period = SleepPeriod(since, span.until)
        if before is None or before.until != span.until:
            _LOG.info("the camera is asleep until %s", _local(span.until))


class DarkSleep:
    """Sleeps after five minutes of darkness, and then checks the brightness every minute.

    Attributes:
        dark: maximum brightness of darkness.

    Args:
        level: mean brightness above which the camera wakes, 0 to 255; 80 % of it or less counts as darkness.
        clock: monotonic clock; None for that of the system.
        now: returns the current time with a time zone, for `period`; None for the system clock.
    """

    def __init__(self, level: float, *, clock: Clock | None = None, now: Callable[[], datetime] | None = None) -> None:
        self.dark = DARK_SHARE * level
        self._level = level
        self._clock = MonotonicClock() if clock is None else clock
        self._now = _utc_now if now is None else now
        self._period: SleepPeriod | None = None
        self._dark_since: float | None = None
        self._check_at = 0.0
        self._check_started: float | None = None  # time of its first frame

    @property
    def period(self) -> SleepPeriod | None:
        """See `Sleep.period`."""
        return self._period

    def closed_s(self) -> float:
        """See `Sleep.closed_s`."""
        return 0.0 if self._period is None else max(0.0, self._check_at - self._clock.now())

    def admits(self, frame: Frame) -> bool:
        """See `Sleep.admits`."""
        level, now = brightness(frame.pixels), self._clock.now()
        if self._period is not None:
            return self._is_over(level, now)
        if level > self.dark:
            self._dark_since = None
        elif self._dark_since is None:
            self._dark_since = now
        elif now - self._dark_since >= DARK_S:
            self._period = SleepPeriod(self._now(), None)
            self._check_at = now + LOOK_EVERY_S
            _LOG.info("the camera is asleep until it is bright: brightness %.1f, it wakes above %g", level, self._level)
            return False
        return True

    def _is_over(self, level: float, now: float) -> bool:
        """Check the brightness during sleep; return True, and end the sleep, if it is bright."""
        if self._check_started is None:
            self._check_started = now
        if now - self._check_started < SETTLE_S:
            return False
        self._check_started = None
        if level <= self._level:
            self._check_at = now + LOOK_EVERY_S
            return False
        self._period = self._dark_since = None
        _LOG.info("the camera is active again: brightness %.1f", level)
        return True


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def _local(at: datetime | None) -> str:
    return "further notice" if at is None else at.astimezone().isoformat(timespec="seconds")

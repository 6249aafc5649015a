"""When the camera sleeps: outside its active times, or while it is dark."""

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
"""Seconds from one look at the brightness to the next, while the camera sleeps."""
SETTLE_S: Final = 2.0
"""Seconds from the first frame of a look to the one that counts: a camera that was just opened adjusts its exposure."""
DARK_SHARE: Final = 0.8
"""Share of the brightness of waking up to which it is dark."""

_UNSET_CLOCK: Final = datetime(2025, 1, 1, tzinfo=timezone.utc)  # earlier than this software
_NO_CHANGE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SleepPeriod:
    """A time in which the camera sleeps.

    Attributes:
        since: when it began, with a time zone.
        until: when it ends, with a time zone; None if that depends on the light.
    """

    since: datetime
    until: datetime | None


class Sleep(Protocol):
    """Decides when the camera is closed. Used by the thread that takes the frames; `period` is safe from any thread."""

    @property
    def period(self) -> SleepPeriod | None:
        """The current time of sleep; None while the camera is active."""
        ...

    def closed_s(self) -> float:
        """Return the seconds for which the camera is to be closed from now on; 0 if it is to be open."""
        ...

    def admits(self, frame: Frame) -> bool:
        """Return whether a frame of the open camera is to be processed."""
        ...


class TimedSleep:
    """Sleeps outside active times, by the wall clock, which may jump.

    Before 2025 the clock is not set, as on a Raspberry Pi without network and clock battery: the camera stays active,
    since too many frames are better than none.

    Args:
        times: when the camera is active.
        now: returns the current time with a time zone.
    """

    def __init__(self, times: ActiveTimes, *, now: Callable[[], datetime] | None = None) -> None:
        self._times = times
        self._now = _utc_now if now is None else now
        self._period: SleepPeriod | None = None
        self._decided: tuple[datetime, datetime] | None = None  # from when to when the last decision holds

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

    def admits(self, frame: Frame) -> bool:  # noqa: ARG002 - it is the clock that decides
        """See `Sleep.admits`."""
        return self.closed_s() == 0

    def _decide(self, now: datetime) -> None:
        if now < _UNSET_CLOCK:
            _LOG.warning("the clock is not set (%s): the camera stays active until it is", now.isoformat())
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
    """Sleeps in the dark: after five minutes of it, and then looks every minute whether it is bright again.

    Attributes:
        dark: brightness up to which it is dark.

    Args:
        level: mean brightness above which the camera wakes, 0 to 255. It is dark at 80 % of it or less.
        clock: tells the time.
        now: returns the current time with a time zone, for `period`.
    """

    def __init__(self, level: float, *, clock: Clock | None = None, now: Callable[[], datetime] | None = None) -> None:
        self.dark = DARK_SHARE * level
        self._level = level
        self._clock = MonotonicClock() if clock is None else clock
        self._now = _utc_now if now is None else now
        self._period: SleepPeriod | None = None
        self._dark_since: float | None = None
        self._look_at = 0.0
        self._look_began: float | None = None  # with its first frame

    @property
    def period(self) -> SleepPeriod | None:
        """See `Sleep.period`."""
        return self._period

    def closed_s(self) -> float:
        """See `Sleep.closed_s`."""
        return 0.0 if self._period is None else max(0.0, self._look_at - self._clock.now())

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
            self._look_at = now + LOOK_EVERY_S
            _LOG.info("the camera is asleep until it is bright: brightness %.1f, it wakes above %g", level, self._level)
            return False
        return True

    def _is_over(self, level: float, now: float) -> bool:
        """Return whether a look finds that it is bright; if not, it goes on or ends."""
        if self._look_began is None:
            self._look_began = now
        if now - self._look_began < SETTLE_S:
            return False
        self._look_began = None
        if level <= self._level:
            self._look_at = now + LOOK_EVERY_S
            return False
        self._period = self._dark_since = None
        _LOG.info("the camera is active again: brightness %.1f", level)
        return True


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def _local(at: datetime | None) -> str:
    return "further notice" if at is None else at.astimezone().isoformat(timespec="seconds")

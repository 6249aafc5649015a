"""The sleeping camera: closed by the clock, which may jump, or in the dark."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from beeagent.camera import (
    Capture,
    CaptureLimits,
    DarkSleep,
    Frame,
    FrameSource,
    Sleep,
    SleepPeriod,
    SourceLostError,
    TimedSleep,
    parse_active,
)
from beeagent.camera.active import ActiveTimes
from beeagent.camera.sleep import DARK_S, LOOK_EVERY_S, SETTLE_S
from beeagent.errors import InputError
from beeagent.threads import Backoff

SOON = 45.0
EVENING = datetime(2026, 5, 4, 20, tzinfo=timezone.utc)
MORNING = EVENING + timedelta(hours=10)


class WallClock:
    """A wall clock that is set by hand."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def __call__(self) -> datetime:
        return self.time


class FakeClock:
    """A monotonic clock that is set by hand."""

    time = 50.0

    def now(self) -> float:
        return self.time

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        raise NotImplementedError


def _frame(level: int) -> Frame:
    return Frame(np.full((120, 160, 3), level, np.uint8), datetime.now(timezone.utc), 0, 0)


def _by_day(clock: WallClock) -> TimedSleep:
    """Return a sleep from 20:00 to 06:00 UTC, which are expressed in the device's own time zone."""
    local = [at.astimezone().strftime("%H:%M") for at in (MORNING, EVENING)]
    times = parse_active("..".join(local), latitude=None, longitude=None)
    assert isinstance(times, ActiveTimes)
    return TimedSleep(times, now=clock)


def test_timed_sleep_begins_and_ends_on_time() -> None:
    clock = WallClock(EVENING - timedelta(seconds=1))
    sleep = _by_day(clock)
    assert (sleep.closed_s(), sleep.period) == (0, None)
    assert sleep.admits(_frame(0))
    clock.time = EVENING
    assert sleep.closed_s() == 10 * 3600
    assert not sleep.admits(_frame(200))
    assert sleep.period == SleepPeriod(EVENING, MORNING)
    clock.time = MORNING - timedelta(seconds=0.5)
    assert sleep.closed_s() == 0.5
    clock.time = MORNING
    assert (sleep.closed_s(), sleep.period) == (0, None)


@pytest.mark.parametrize("jump", [timedelta(hours=3), timedelta(days=40, hours=3), -timedelta(days=40, hours=5)])
def test_clock_that_jumps_within_the_night_changes_the_end_of_sleep(jump: timedelta) -> None:
    clock = WallClock(EVENING + timedelta(hours=6))
    sleep = _by_day(clock)
    assert sleep.closed_s() > 0
    clock.time += jump
    assert sleep.closed_s() > 0
    period = sleep.period
    assert period is not None
    assert period.until is not None
    assert period.since <= clock.time < period.until <= clock.time + timedelta(hours=10)


def test_clock_that_jumps_into_the_day_wakes_the_camera_and_back_puts_it_to_sleep() -> None:
    clock = WallClock(EVENING + timedelta(hours=1))
    sleep = _by_day(clock)
    assert sleep.closed_s() > 0
    clock.time = MORNING + timedelta(hours=1)
    assert (sleep.closed_s(), sleep.period) == (0, None)
    clock.time = EVENING + timedelta(hours=2)
    assert sleep.closed_s() == 8 * 3600
    assert sleep.period == SleepPeriod(clock.time, MORNING)


def test_camera_stays_active_while_the_clock_is_not_set(caplog: pytest.LogCaptureFixture) -> None:
    clock = WallClock(datetime(1970, 1, 1, 23, tzinfo=timezone.utc))
    sleep = _by_day(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.time += timedelta(seconds=1)
            assert sleep.closed_s() == 0
    assert [record.message.partition(" (")[0] for record in caplog.records] == ["the clock is not set"]
    clock.time = EVENING + timedelta(hours=1)
    assert sleep.closed_s() == 9 * 3600


def test_darkness_of_five_minutes_puts_the_camera_to_sleep() -> None:
    clock = FakeClock()
    sleep = DarkSleep(20, clock=clock, now=WallClock(EVENING))
    assert sleep.admits(_frame(16))
    clock.time += DARK_S - 1
    assert sleep.admits(_frame(16))
    assert sleep.admits(_frame(17))  # brighter than 80 % of 20: it begins anew
    assert sleep.admits(_frame(16))
    clock.time += DARK_S - 1
    assert sleep.admits(_frame(3))
    assert sleep.closed_s() == 0
    clock.time += 1
    assert not sleep.admits(_frame(3))
    assert sleep.closed_s() == LOOK_EVERY_S
    assert sleep.period == SleepPeriod(EVENING, None)


def test_each_look_ends_with_the_camera_closed_until_it_is_bright() -> None:
    clock = FakeClock()
    sleep = DarkSleep(20, clock=clock, now=WallClock(EVENING))
    sleep.admits(_frame(0))
    clock.time += DARK_S
    assert not sleep.admits(_frame(0))
    for _ in range(3):
        clock.time += LOOK_EVERY_S
        assert sleep.closed_s() == 0
        assert not sleep.admits(_frame(255))  # the exposure of a camera that was just opened
        assert sleep.closed_s() == 0
        clock.time += SETTLE_S
        assert not sleep.admits(_frame(20))  # between the brightness of falling asleep and of waking
        assert sleep.closed_s() == LOOK_EVERY_S
    clock.time += LOOK_EVERY_S
    assert not sleep.admits(_frame(0))
    clock.time += SETTLE_S
    assert sleep.period is not None
    assert sleep.admits(_frame(21))
    assert (sleep.closed_s(), sleep.period) == (0, None)
    clock.time += DARK_S  # it has to be dark for as long again
    assert sleep.admits(_frame(0))


class Switch:
    """A sleep that is switched by hand."""

    def __init__(self, *, asleep: bool) -> None:
        self.asleep = asleep

    @property
    def period(self) -> SleepPeriod | None:
        return SleepPeriod(EVENING, MORNING) if self.asleep else None

    def closed_s(self) -> float:
        return 0.01 if self.asleep else 0.0

    def admits(self, frame: Frame) -> bool:  # noqa: ARG002 - it is the switch that decides
        return not self.asleep


class Camera:
    """A live source; counts how often it was opened."""

    description, live = "camera", True

    def __init__(self) -> None:
        self.opened = 0
        self.lost = False
        self.closed = threading.Event()
        self.block = threading.Event()  # while it is set, no frame comes
        self.reads = 0

    def open(self) -> FrameSource:
        self.opened += 1
        self.closed = threading.Event()
        return self

    def read(self) -> Frame | None:
        while self.block.is_set() and not self.closed.wait(0.001):
            pass
        if self.lost:
            raise SourceLostError("camera: unplugged")
        self.reads += 1
        return _frame(self.reads % 200)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def problems() -> list[str | None]:
    return []


@pytest.fixture
def captured(problems: list[str | None]) -> Iterator[Callable[..., Capture]]:
    captures: list[Capture] = []

    def make(camera: Camera, sleep: Sleep, camera_timeout: float = SOON) -> Capture:
        captures.append(
            Capture(
                camera.open,
                drop_oldest=True,
                on_problem=problems.append,
                limits=CaptureLimits(camera_timeout=camera_timeout),
                backoff=Backoff(first=0.001, longest=0.002),
                sleep=sleep,
            )
        )
        return captures[-1]

    yield make
    for capture in captures:
        assert capture.stop(SOON)


def _next_in_thread(frames: Iterator[Frame]) -> threading.Thread:
    thread = threading.Thread(target=lambda: next(frames, None), daemon=True)
    thread.start()
    return thread


def test_camera_is_closed_while_it_sleeps_and_opened_again(captured: Callable[..., Capture]) -> None:
    camera, sleep = Camera(), Switch(asleep=False)
    capture = captured(camera, sleep)
    frames = iter(capture)
    with closing(frames):  # type: ignore[type-var] # a generator
        for _ in range(3):
            next(frames)
        sleep.asleep = True
        waiting = _next_in_thread(frames)
        assert camera.closed.wait(SOON)
        assert waiting.is_alive()
        assert camera.opened == 1
        sleep.asleep = False
        waiting.join(SOON)
        assert not waiting.is_alive()
        assert camera.opened == 2
        assert capture.counts.reconnects == 0


def test_camera_that_hangs_is_closed_for_sleep(captured: Callable[..., Capture]) -> None:
    camera, sleep = Camera(), Switch(asleep=False)
    capture = captured(camera, sleep, camera_timeout=0.2)
    frames = iter(capture)
    next(frames)
    camera.block.set()
    sleep.asleep = True
    waiting = _next_in_thread(frames)
    assert camera.closed.wait(SOON)
    sleep.asleep = False
    camera.block.clear()
    waiting.join(SOON)
    assert not waiting.is_alive()


def test_camera_is_opened_once_at_a_start_in_the_night(
    captured: Callable[..., Capture], problems: list[str | None]
) -> None:
    camera, sleep = Camera(), Switch(asleep=True)
    capture = captured(camera, sleep)
    waiting = _next_in_thread(iter(capture))
    while not camera.opened:
        waiting.join(0.001)
    assert camera.closed.wait(SOON)
    assert problems == [None]
    assert waiting.is_alive()
    capture.close()
    waiting.join(SOON)
    assert not waiting.is_alive()
    assert camera.opened == 1


def test_camera_that_does_not_exist_is_noticed_at_a_start_in_the_night() -> None:
    def fail() -> FrameSource:
        raise InputError("no such camera")

    capture = Capture(fail, drop_oldest=True, on_problem=lambda _: None, sleep=Switch(asleep=True))
    assert list(capture) == []
    assert isinstance(capture.failure, InputError)


def test_problem_of_before_stays_reported_while_the_camera_sleeps(
    captured: Callable[..., Capture], problems: list[str | None]
) -> None:
    camera, sleep = Camera(), Switch(asleep=True)
    camera.lost = True
    capture = captured(camera, sleep)
    waiting = _next_in_thread(iter(capture))
    while not problems:
        waiting.join(0.001)
    assert problems == ["camera: unplugged"]
    camera.lost, sleep.asleep = False, False
    waiting.join(SOON)
    assert not waiting.is_alive()
    assert (problems, camera.opened) == (["camera: unplugged", None], 2)


class HurryingClock(FakeClock):
    """A clock on which 20 s pass each time it is read."""

    def now(self) -> float:
        self.time += 20
        return self.time


def test_camera_in_the_dark_is_closed_between_looks_and_no_look_is_processed(
    captured: Callable[..., Capture],
) -> None:
    class NightCamera(Camera):
        """Dark until it has been opened three times: at the start, and for two checks."""

        def read(self) -> Frame | None:
            self.reads += 1
            return _frame(200 if self.opened == 3 else 5)

    camera = NightCamera()
    capture = captured(camera, DarkSleep(20, clock=HurryingClock(), now=WallClock(EVENING)))
    frames = iter(capture)
    levels = [int(next(frames).pixels[0, 0, 0]) for _ in range(20)]
    assert levels == [5] * 15 + [200] * 5
    assert camera.opened == 3
    assert capture.counts.reconnects == 0

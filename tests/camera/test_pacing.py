import threading

import pytest
from beeagent.camera.pacing import MonotonicClock, RateLimit
from hypothesis import given
from hypothesis import strategies as st


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wait(self, interrupt: threading.Event, seconds: float) -> None:
        if not interrupt.is_set():
            self.time += seconds


@given(
    st.floats(0.5, 100),
    st.lists(st.floats(0.0, 0.2), min_size=1, max_size=300),
)
def test_rate_limit_is_never_exceeded(rate: float, gaps: list[float]) -> None:
    clock = FakeClock()
    limit = RateLimit(rate, clock)
    passed = []
    for gap in gaps:
        clock.time += gap
        if limit.admit():
            passed.append(clock.time)
    # One may be late by up to a step and another early by half a step, but this does not add up.
    for first in range(len(passed)):
        for last in range(first + 1, len(passed)):
            assert passed[last] - passed[first] >= (last - first - 1.5) / rate - 1e-6


@pytest.mark.parametrize(
    ("camera", "limit", "expected"), [(30.0, 30.0, 300), (30.0, 20.0, 200), (30.0, 7.0, 70), (30.0, 60.0, 300)]
)
def test_rate_limit_of_jittering_camera(camera: float, limit: float, expected: int) -> None:
    clock = FakeClock()
    rate_limit = RateLimit(limit, clock)
    passed = 0
    for number in range(int(camera * 10)):
        clock.time = 1000 + number / camera + 0.004 * (-1) ** number
        passed += rate_limit.admit()
    assert abs(passed - expected) <= 2


def test_rate_is_exact_after_early_waits() -> None:
    clock = FakeClock()
    limit = RateLimit(4, clock)
    for _ in range(9):
        clock.time += limit.seconds_early()
        assert limit.admit()
    assert clock.time == pytest.approx(1000 + 8 / 4)


def test_rate_limit_forgets_a_long_pause() -> None:
    clock = FakeClock()
    limit = RateLimit(10, clock)
    assert limit.admit()
    clock.time += 60
    assert limit.admit()
    assert not limit.admit()
    assert limit.seconds_early() == pytest.approx(0.1)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_invalid_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimit(rate, FakeClock())


def test_monotonic_clock_wait_is_interruptible() -> None:
    clock = MonotonicClock()
    before = clock.now()
    interrupt = threading.Event()
    interrupt.set()
    clock.wait(interrupt, 3600)
    assert clock.now() >= before

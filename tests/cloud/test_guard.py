"""The guard of cloud calls: circuit breaker and throttling."""

import random
import threading
from collections.abc import Callable

import pytest
from beeagent.cloud import CallBudget, CallGuard, CloudDetectionError
from beeagent.threads import Backoff


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def new_guard(clock: Clock, *, failures: int = 3, seed: int = 0) -> CallGuard:
    return CallGuard(
        CallBudget(None, per_minute=1000, per_day=1000),
        failures=failures,
        open_backoff=Backoff(first=10, longest=40, rng=random.Random(seed)),  # noqa: S311 - repeatable
        throttle_backoff=Backoff(first=2, longest=8),
        clock=clock,
    )


def call(guard: CallGuard, function: Callable[[], object] = lambda: None) -> str | None:
    """Make a call; return the reason of its error, None if it succeeds."""
    try:
        guard.call(function)
    except CloudDetectionError as error:
        return error.reason
    return None


def fail(guard: CallGuard, times: int = 1) -> list[str | None]:
    def failing() -> None:
        raise CloudDetectionError("timeout", "by the test")

    return [call(guard, failing) for _ in range(times)]


def throttle(guard: CallGuard, seconds: float | None, *, during: Callable[[], object] = lambda: None) -> str | None:
    def throttled() -> None:
        during()
        raise CloudDetectionError("throttled", "by the test", retry_after_s=seconds)

    return call(guard, throttled)


def test_breaker_opens_after_failures_in_a_row() -> None:
    guard = new_guard(Clock())
    fail(guard, 2)
    assert call(guard) is None
    assert fail(guard, 3) == ["timeout"] * 3
    assert call(guard) == "breaker-open"


def test_open_breaker_permits_one_probe_at_a_time_and_closes_when_it_succeeds() -> None:
    clock = Clock()
    guard = new_guard(clock)
    fail(guard, 3)
    clock.now += 10
    meanwhile: list[str | None] = []
    assert call(guard, lambda: meanwhile.append(call(guard))) is None
    assert meanwhile == ["breaker-open"]
    assert fail(guard, 2) == ["timeout"] * 2
    assert call(guard) is None


def test_breaker_stays_open_longer_after_each_failed_probe_and_spreads_the_waits() -> None:
    clock = Clock()
    guard = new_guard(clock)
    fail(guard, 3)
    for ceiling in (10, 20, 40, 40):
        clock.now += ceiling / 2 - 0.001
        assert call(guard) == "breaker-open"
        clock.now += ceiling / 2 + 0.001
        assert fail(guard) == ["timeout"]
    opened = set()
    for seed in range(10):
        clock = Clock()
        guard = new_guard(clock, seed=seed)
        fail(guard, 3)
        while call(guard) == "breaker-open":
            clock.now += 0.1
        opened.add(round(clock.now, 1))
    assert len(opened) > 3


@pytest.mark.parametrize(
    "error",
    [
        CloudDetectionError("refused", "about this image", is_service_failure=False),
        CloudDetectionError("throttled", "no wait", retry_after_s=0),
    ],
)
def test_probe_without_a_verdict_is_followed_by_another_probe(error: CloudDetectionError) -> None:
    clock = Clock()
    guard = new_guard(clock)
    fail(guard, 3)
    clock.now += 10

    def inconclusive() -> None:
        raise error

    assert call(guard, inconclusive) == error.reason
    clock.now += 3  # the throttling is over
    assert call(guard) is None


def test_call_from_before_the_breaker_opened_neither_prolongs_nor_ends_the_probe() -> None:
    clock = Clock()
    guard = new_guard(clock)
    started, end = threading.Event(), threading.Event()

    def old_call() -> None:
        started.set()
        assert end.wait(60)
        raise CloudDetectionError("timeout", "by the test")

    thread = threading.Thread(target=call, args=(guard, old_call), daemon=True)
    thread.start()
    assert started.wait(60)
    fail(guard, 3)
    clock.now += 10
    meanwhile: list[str | None] = []

    def probe() -> None:
        end.set()
        thread.join(60)
        meanwhile.append(call(guard))

    assert call(guard, probe) is None
    assert not thread.is_alive()
    assert meanwhile == ["breaker-open"]
    assert call(guard) is None


def test_unexpected_error_counts_as_failure() -> None:
    guard = new_guard(Clock(), failures=1)
    with pytest.raises(ZeroDivisionError):
        guard.call(lambda: 1 // 0)
    assert call(guard) == "breaker-open"


def test_failures_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="failures must be 1 or more, not 0"):
        new_guard(Clock(), failures=0)


def test_throttling_waits_as_long_as_the_service_asks_or_longer_each_time() -> None:
    clock = Clock()
    guard = new_guard(clock, failures=1)
    assert call(guard) is None
    throttle(guard, 30)
    clock.now += 29.9
    assert call(guard) == "throttled"
    clock.now += 0.2
    throttle(guard, None)  # the second in a row: at least half of four seconds
    clock.now += 1.9
    assert call(guard) == "throttled"
    clock.now += 2.2
    assert call(guard) is None
    throttle(guard, None, during=lambda: throttle(guard, None))  # two concurrent calls: throttled once
    clock.now += 2
    assert call(guard) is None


def test_malformed_wait_does_not_end_the_calls_for_good() -> None:
    clock = Clock()
    guard = new_guard(clock)
    throttle(guard, 1e12)
    clock.now += 3601
    assert call(guard) is None

import random

import pytest
from beeagent.backoff import Backoff
from beeagent.cloud.breaker import CircuitBreaker, Permit
from beeagent.cloud.throttle import Throttle


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, *, failures: int = 3, seed: int = 0) -> CircuitBreaker:
    backoff = Backoff(first=10, longest=40, rng=random.Random(seed))  # noqa: S311 - repeatable
    return CircuitBreaker(failures=failures, backoff=backoff, clock=clock)


def admitted(breaker: CircuitBreaker) -> Permit:
    permit = breaker.admit()
    assert permit is not None
    return permit


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        admitted(breaker).failed()


def test_opens_after_failures_in_a_row() -> None:
    one = breaker(Clock())
    fail(one, 2)
    admitted(one).succeeded()
    fail(one, 2)
    assert one.closed
    fail(one, 1)
    assert not one.closed
    assert one.admit() is None


def test_probes_with_one_call_at_a_time_and_closes_when_it_succeeds() -> None:
    clock = Clock()
    one = breaker(clock)
    fail(one, 3)
    clock.now += 10
    probe = admitted(one)
    assert one.admit() is None
    probe.succeeded()
    assert one.closed
    fail(one, 2)
    assert one.closed


def test_stays_open_for_longer_with_each_probe_that_fails_and_spreads() -> None:
    clock = Clock()
    one = breaker(clock)
    fail(one, 3)
    for ceiling in (10, 20, 40, 40):
        clock.now += ceiling / 2 - 0.001
        assert one.admit() is None
        clock.now += ceiling / 2 + 0.001
        admitted(one).failed()
    opened = set()
    for seed in range(10):
        clock = Clock()
        one = breaker(clock, seed=seed)
        fail(one, 3)
        while one.admit() is None:
            clock.now += 0.1
        opened.add(round(clock.now, 1))
    assert len(opened) > 3


def test_a_probe_that_told_nothing_leaves_room_for_the_next() -> None:
    clock = Clock()
    one = breaker(clock)
    fail(one, 3)
    clock.now += 10
    admitted(one).unused()
    assert one.admit() is not None


def test_a_call_from_before_it_opened_neither_prolongs_nor_ends_the_probing() -> None:
    clock = Clock()
    one = breaker(clock)
    old = admitted(one)
    fail(one, 3)
    clock.now += 10
    probe = admitted(one)
    old.failed()
    assert one.admit() is None
    probe.succeeded()
    assert one.closed


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="failures is 0"):
        breaker(Clock(), failures=0)


def test_waits_as_long_as_the_service_asks_and_else_for_longer_each_time() -> None:
    clock = Clock()
    throttle = Throttle(backoff=Backoff(first=2, longest=8), clock=clock)
    assert not throttle.waiting
    throttle.asked_to_wait(30)
    clock.now += 29.9
    assert throttle.waiting
    clock.now += 0.2
    assert not throttle.waiting
    throttle.asked_to_wait(None)  # the second in a row: at least half of four seconds
    clock.now += 1.9
    assert throttle.waiting
    clock.now += 2.2
    throttle.answered()
    throttle.asked_to_wait(None)
    throttle.asked_to_wait(None)  # a call that was under way: the same refusal
    clock.now += 2
    assert not throttle.waiting


def test_no_garbled_wait_lasts_for_ever() -> None:
    clock = Clock()
    throttle = Throttle(backoff=Backoff(first=2, longest=8), clock=clock)
    throttle.asked_to_wait(1e12)
    clock.now += 3601
    assert not throttle.waiting

import pytest
from beeagent.outbox.sender import RateLimit


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def take_all(limit: RateLimit) -> int:
    count = 0
    while limit.allowed:
        limit.count()
        count += 1
    return count


def test_burst_of_one_second_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(4, now=clock)
    assert take_all(limit) == 4
    assert limit.wait_s == pytest.approx(0.25)
    clock.seconds += 0.25
    assert take_all(limit) == 1
    clock.seconds += 0.5
    assert take_all(limit) == 2
    clock.seconds += 100
    assert limit.wait_s == 0
    assert take_all(limit) == 4


def test_rate_below_one_per_second_allows_one_at_a_time() -> None:
    clock = Clock()
    limit = RateLimit(0.5, now=clock)
    assert take_all(limit) == 1
    clock.seconds += 1
    assert take_all(limit) == 0
    assert limit.wait_s == pytest.approx(1)
    clock.seconds += 1
    assert take_all(limit) == 1


def test_publishes_beyond_the_rate_are_compensated() -> None:
    clock = Clock()
    limit = RateLimit(2, now=clock)
    for _ in range(4):
        limit.count()
    assert limit.wait_s == pytest.approx(1.5)


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match="rate 0"):
        RateLimit(0)

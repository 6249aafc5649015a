"""Reconnecting of a fleet after the death of its broker."""

import random
from bisect import bisect_left

import pytest
from beeagent.mqtt.publisher import _FIRST_WAIT_S, _LONGEST_WAIT_S
from beeagent.threads import Backoff

SENDERS = 1000


def connects(down_s: float) -> list[float]:
    """Return when each of the senders connects, in seconds after the broker is back."""
    moments = []
    for seed in range(SENDERS):
        rng = random.Random(seed)  # noqa: S311 - repeatable
        backoff, at = Backoff(first=_FIRST_WAIT_S, longest=_LONGEST_WAIT_S, rng=rng), 0.0
        while True:
            at += backoff.next()
            if at >= down_s:
                break
        moments.append(at - down_s)
    return sorted(moments)


def busiest_second(moments: list[float]) -> int:
    """Return the largest number of connects within a second."""
    return max(bisect_left(moments, start + 1.0) - place for place, start in enumerate(moments))


@pytest.mark.parametrize("down_s", [0.0, 0.5, 2.0, 5.0, 15.0, 60.0, 3600.0])
def test_reconnects_are_spread_and_end_within_half_a_minute(down_s: float) -> None:
    moments = connects(down_s)
    assert busiest_second(moments) < 0.6 * SENDERS
    assert moments[-1] <= 30.0


def test_reconnects_after_an_hour_are_spread_over_many_seconds() -> None:
    assert busiest_second(connects(3600.0)) < 0.1 * SENDERS

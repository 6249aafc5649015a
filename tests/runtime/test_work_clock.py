import time

import pytest
from beeagent.runtime.work_clock import WorkClock


def test_it_runs_while_there_is_work() -> None:
    clock = WorkClock()
    assert clock.seconds == 0
    with clock.running():
        began = time.monotonic()
        while clock.seconds < 0.01:
            assert time.monotonic() - began < 10
    assert clock.seconds == 0


def test_work_that_fails_ends_as_well() -> None:
    clock = WorkClock()
    with pytest.raises(RuntimeError), clock.running():
        raise RuntimeError
    assert clock.seconds == 0

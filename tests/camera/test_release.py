import threading

import pytest
from beeagent.camera.closing import LastOneOut

SOON = 10.0


def test_closing_releases_at_once_when_nobody_is_inside_and_only_once() -> None:
    released: list[int] = []
    use = LastOneOut(lambda: released.append(1))
    with use.inside():
        pass
    assert not released
    use.close()
    use.close()
    assert released == [1]
    with use.inside():
        assert use.closing
    assert released == [1]


def test_a_thread_that_is_inside_releases_when_it_comes_out_and_closing_does_not_wait_for_it() -> None:
    released_by: list[str] = []
    use = LastOneOut(lambda: released_by.append(threading.current_thread().name))
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with use.inside():
            entered.set()
            leave.wait(SOON)

    worker = threading.Thread(target=work, name="worker", daemon=True)
    worker.start()
    assert entered.wait(SOON)
    use.close()
    assert released_by == []
    leave.set()
    worker.join(SOON)
    assert released_by == ["worker"]


def test_an_error_inside_does_not_keep_the_thing_from_being_released() -> None:
    released: list[int] = []
    use = LastOneOut(lambda: released.append(1))

    def close_and_fail() -> None:
        use.close()
        raise KeyError

    with pytest.raises(KeyError), use.inside():
        close_and_fail()
    assert released == [1]


def test_closing_and_using_at_the_same_time_releases_exactly_once_and_never_while_in_use() -> None:
    for _ in range(300):
        assert race_closing_against_using() == [False]


def race_closing_against_using() -> list[bool]:
    """Give, for each release, whether the thing was in use."""
    in_use, start = threading.Event(), threading.Barrier(2)
    released: list[bool] = []
    use = LastOneOut(lambda: released.append(in_use.is_set()))

    def work() -> None:
        start.wait(SOON)
        for _ in range(3):
            with use.inside():
                in_use.set()
                in_use.clear()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    start.wait(SOON)
    use.close()
    worker.join(SOON)
    return released

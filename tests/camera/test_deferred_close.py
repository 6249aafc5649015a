import threading

import pytest
from beeagent.camera.source import DeferredClose

SOON = 45.0


def test_close_releases_once_when_unused() -> None:
    released: list[int] = []
    resource = DeferredClose(lambda: released.append(1))
    with resource.use():
        pass
    assert not released
    resource.close()
    resource.close()
    assert released == [1]
    with resource.use():
        assert resource.closing
    assert released == [1]


def test_using_thread_releases_after_close_without_waiting() -> None:
    released_by: list[str] = []
    resource = DeferredClose(lambda: released_by.append(threading.current_thread().name))
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with resource.use():
            entered.set()
            leave.wait(SOON)

    worker = threading.Thread(target=work, name="worker", daemon=True)
    worker.start()
    assert entered.wait(SOON)
    resource.close()
    assert released_by == []
    leave.set()
    worker.join(SOON)
    assert released_by == ["worker"]


def test_error_during_use_still_releases() -> None:
    released: list[int] = []
    resource = DeferredClose(lambda: released.append(1))

    def close_and_fail() -> None:
        resource.close()
        raise KeyError

    with pytest.raises(KeyError), resource.use():
        close_and_fail()
    assert released == [1]


def test_concurrent_use_and_close_release_once_and_never_in_use() -> None:
    for _ in range(300):
        assert race_close_against_use() == [False]


def race_close_against_use() -> list[bool]:
    """Return, for each release, whether the resource was in use."""
    in_use, start = threading.Event(), threading.Barrier(2)
    released: list[bool] = []
    resource = DeferredClose(lambda: released.append(in_use.is_set()))

    def work() -> None:
        start.wait(SOON)
        for _ in range(3):
            with resource.use():
                in_use.set()
                in_use.clear()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    start.wait(SOON)
    resource.close()
    worker.join(SOON)
    return released

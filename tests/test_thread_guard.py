"""The guard of all threads: it notices what ends one, whichever guards are entered and left in between."""

import sys
import threading
from collections.abc import Callable

import pytest
from beeagent.thread_guard import ThreadFailedError, ThreadGuard


def _fail() -> None:
    raise ValueError("no such thing")


def _run(target: Callable[[], object]) -> None:
    thread = threading.Thread(target=target, name="worker")
    thread.start()
    thread.join()


def _run_twice() -> None:
    _run(_fail)
    _run(_fail)


def _run_and_raise() -> None:
    _run(_fail)
    raise KeyError


def test_failed_thread_is_logged_reported_and_raised_on_leaving(caplog: pytest.LogCaptureFixture) -> None:
    reasons: list[str] = []
    words = r"^thread worker failed \(ValueError: no such thing\)$"
    with pytest.raises(ThreadFailedError, match=words), ThreadGuard(reasons.append):
        _run_twice()
    assert reasons == ["thread worker failed (ValueError: no such thing)"]
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


def test_what_the_body_raises_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), ThreadGuard(lambda _: None):
        _run_and_raise()
    assert len(caplog.records) == 1


def test_thread_that_ends_itself_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadGuard(pytest.fail):
        _run(sys.exit)
    assert caplog.records == []


def test_inner_and_outer_guard_both_hear_of_it_and_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    outer_reasons: list[str] = []
    inner_reasons: list[str] = []
    with pytest.raises(ThreadFailedError), ThreadGuard(outer_reasons.append), ThreadGuard(inner_reasons.append):
        _run(_fail)
    assert len(outer_reasons) == len(inner_reasons) == 1
    assert len(caplog.records) == 1


def test_guards_may_be_left_in_any_order(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.excepthook
    seen: list[threading.ExceptHookArgs] = []
    threading.excepthook = seen.append
    try:
        first, second = ThreadGuard(pytest.fail), ThreadGuard(lambda _: None)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        _run(_fail)
        with pytest.raises(ThreadFailedError):
            second.__exit__(None, None, None)
        assert len(seen) + len(caplog.records) == 1
        _run(_fail)
        assert len(seen) + len(caplog.records) == 2
    finally:
        threading.excepthook = before


def test_long_reason_is_cut_to_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("x\n" * 10_000)

    reasons: list[str] = []
    with pytest.raises(ThreadFailedError), ThreadGuard(reasons.append):
        _run(fail)
    (reason,) = reasons
    assert reason.isprintable()
    assert len(reason) < 300
    assert len(caplog.records) == 1

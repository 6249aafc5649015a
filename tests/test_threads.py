"""The guard against unforeseen exceptions in threads, the priority of those that feed the model, and the backoff."""

import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from beeagent.threads import Backoff, ThreadFailedError, ThreadGuard, lower_thread_priority
from hypothesis import given
from hypothesis import strategies as st
from support.beeagent_process import running_agent, tiny_model


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


def test_exception_of_the_body_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), ThreadGuard(lambda _: None):
        _run_and_raise()
    assert len(caplog.records) == 1


def test_system_exit_of_a_thread_is_not_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadGuard(pytest.fail):
        _run(sys.exit)
    assert caplog.records == []


def test_nested_guards_both_report_and_log_once(caplog: pytest.LogCaptureFixture) -> None:
    outer_reasons: list[str] = []
    inner_reasons: list[str] = []
    with pytest.raises(ThreadFailedError), ThreadGuard(outer_reasons.append), ThreadGuard(inner_reasons.append):
        _run(_fail)
    assert len(outer_reasons) == len(inner_reasons) == 1
    assert len(caplog.records) == 1


def test_guards_can_be_exited_in_any_order(caplog: pytest.LogCaptureFixture) -> None:
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities per thread")
def test_priority_of_one_thread_is_lowered() -> None:
    seen: list[int] = []

    def work() -> None:
        lower_thread_priority()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [max(10, before)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities per thread")
def test_lower_priority_is_kept() -> None:
    seen: list[int] = []
    lower = max(15, os.getpriority(os.PRIO_PROCESS, 0))

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lower)
        lower_thread_priority()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [lower]


@pytest.mark.skipif(sys.platform != "linux", reason="nice and setpriv are of Linux")
def test_agent_at_the_lowest_priority_processes_frames(tmp_path: Path) -> None:
    """As an ordinary user, who may lower a priority but not raise it; root runs without that right, too."""
    ordinary = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice") if os.geteuid() == 0 else ()
    with running_agent(
        "--camera", "synthetic:160x120", *tiny_model(tmp_path), "--broker", "none", "--publish", "always", "--stdout",
        "--frames", "3", folder=tmp_path, prefix=(*ordinary, "nice", "-n", "19"),
    ) as agent:  # fmt: skip
        assert len(agent.messages(3)) == 3
        assert agent.end() == 0, agent.errors


@given(st.floats(0.01, 10), st.floats(1, 100), st.integers(0, 2**32))
def test_waits_double_up_to_maximum_and_keep_at_least_half(first: float, factor: float, seed: int) -> None:
    backoff = Backoff(first=first, longest=first * factor, rng=random.Random(seed))  # noqa: S311 - repeatable
    for attempt in range(12):
        ceiling = min(first * 2**attempt, first * factor)
        assert ceiling / 2 <= backoff.next() <= ceiling * (1 + 1e-9)


def test_waits_have_jitter() -> None:
    waits = {Backoff(first=1, longest=1).next() for _ in range(20)}
    assert len(waits) > 10


def test_reset_starts_with_first_wait() -> None:
    backoff = Backoff(first=1, longest=64)
    for _ in range(6):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1


@pytest.mark.parametrize(("first", "longest"), [(0, 1), (-1, 1), (2, 1)])
def test_invalid_ranges_are_rejected(first: float, longest: float) -> None:
    with pytest.raises(ValueError, match="first"):
        Backoff(first=first, longest=longest)

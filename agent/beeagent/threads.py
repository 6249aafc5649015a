"""Threads and signals: a guard against unforeseen exceptions, a lower priority, and signal handlers for a block."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType

from beeagent.errors import BeeagentError
from beeagent.output import shown

_LOG = logging.getLogger(__name__)

_MAX_REASON = 200  # characters
_NICENESS = 10  # of 0 to 19: about a tenth of the processor time of a thread at 0, when both want it


class ThreadFailedError(BeeagentError):
    """A thread ended with an unforeseen exception; its traceback is in the log."""


class ThreadGuard:
    """A context manager that catches an unforeseen exception in any thread, and raises the first one on exit.

    It replaces `threading.excepthook`, so it covers every thread of the process, those of libraries included. Guards
    can be nested: an inner one passes failures on, and the outermost one logs them. They can be exited in any order.

    Args:
        on_failure: called once, with the reason in one line, on the failed thread after it has released its locks.
            It must not raise.
    """

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._failure: ThreadFailedError | None = None
        self._entered = False
        self._outer = threading.excepthook

    def __enter__(self) -> "ThreadGuard":  # noqa: PYI034 - `Self` is of Python 3.11
        self._entered = True
        self._outer = threading.excepthook
        threading.excepthook = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._entered = False
        if threading.excepthook is self:
            threading.excepthook = self._outer
        if error is None and self._failure is not None:
            raise self._failure

    def __call__(self, ended: threading.ExceptHookArgs) -> None:
        """Handle the end of a thread, as `threading.excepthook`."""
        if not self._entered or isinstance(self._outer, ThreadGuard):
            self._outer(ended)
        elif ended.exc_type is not SystemExit:
            error = ended.exc_value or ended.exc_type()
            _LOG.error("%s", _reason(ended), exc_info=(ended.exc_type, error, ended.exc_traceback))
        if not self._entered or ended.exc_type is SystemExit:
            return
        with self._lock:
            first = self._failure is None
            if first:
                self._failure = ThreadFailedError(_reason(ended))
        if first:
            self._on_failure(str(self._failure))


def _reason(ended: threading.ExceptHookArgs) -> str:
    name = "unknown" if ended.thread is None else ended.thread.name
    words = f": {ended.exc_value}" if str(ended.exc_value or "") else ""
    return f"thread {name} failed ({shown(ended.exc_type.__name__ + words, most=_MAX_REASON)})"


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread, so that it waits where others want its core.

    For the threads that feed the model: on a machine whose cores the model needs, a frame read during an inference
    makes one of the model's threads wait, and with it all the others. The feeding fits into the gaps that every
    inference leaves. Works on Linux, where threads have priorities of their own; elsewhere it does nothing. Never
    raises the priority of a thread that is lower already, and never fails: a thread works at any priority.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid even this
            if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)


def on_stop_signals(stop: Callable[[], None]) -> AbstractContextManager[None]:
    """While entered, call `stop` at SIGINT and SIGTERM instead of ending the process."""
    return on_signals({signal.SIGINT: stop, signal.SIGTERM: stop})


@contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """While entered, call handlers at signals."""
    before = {each: signal.signal(each, lambda number, _: handlers[signal.Signals(number)]()) for each in handlers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

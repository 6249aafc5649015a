"""Tools for threads: guard against unforeseen exceptions, lower priority, waits between attempts, signals."""

import logging
import os
import random
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
_NICENESS = 10  # of 0 to 19: about a tenth of the processor time of a competing thread at 0


class ThreadFailedError(BeeagentError):
    """A thread ended with an unexpected exception; its traceback is in the log."""


class ThreadGuard:
    """A context manager that catches unexpected exceptions in any thread, and raises the first one on exit.

    It replaces `threading.excepthook`, so it covers all threads of the process, including those of libraries. Guards
    can be nested: an inner one passes failures on, and the outermost one logs them. They can be exited in any order.

    Args:
        on_failure: called once, with the reason in one line, on the failed thread after it has released its locks.
            Must not raise.
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
    message = f": {ended.exc_value}" if str(ended.exc_value or "") else ""
    return f"thread {name} failed ({shown(ended.exc_type.__name__ + message, most=_MAX_REASON)})"


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread, for threads that read and prepare frames.

    If the model uses all cores, reading a frame during an inference would delay one of the model's threads, and with it
    all others; the gaps between the parts of an inference suffice for reading. It works on Linux, where each thread has
    its own priority, and does nothing elsewhere. It never raises the priority, and ignores errors.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it
            if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)


class Backoff:
    """Exponential backoff with jitter: waits that double from attempt to attempt, up to a maximum.

    The jitter prevents many devices from reconnecting to a restarted server at the same time: each wait is drawn
    uniformly from the upper half of its range ("equal jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    def __init__(self, *, first: float, longest: float, rng: random.Random | None = None) -> None:
        """Set the range of the waits.

        Args:
            first: maximum of the first wait, in seconds.
            longest: maximum of all waits, in seconds.
            rng: random generator for the jitter; None for a new one.

        Raises:
            ValueError: not 0 < first <= longest.
        """
        if not 0 < first <= longest:
            raise ValueError(f"first {first} and longest {longest} are not a range of waits: give 0 < first <= longest")
        self._first = first
        self._longest = longest
        self._ceiling = first
        self._rng = random.Random() if rng is None else rng  # noqa: S311 - jitter, not a secret

    def next(self) -> float:
        """Return the next wait in seconds."""
        ceiling = self._ceiling
        self._ceiling = min(self._longest, ceiling * 2)
        return self._rng.uniform(ceiling / 2, ceiling)

    def reset(self) -> None:
        """Restart with the first wait, after a success."""
        self._ceiling = self._first


def on_stop_signals(stop: Callable[[], None]) -> AbstractContextManager[None]:
    """Return a context manager that calls `stop` at SIGINT and SIGTERM, instead of ending the process."""
    return on_signals({signal.SIGINT: stop, signal.SIGTERM: stop})


@contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Call handlers at signals within the context."""
    previous = {
        number: signal.signal(number, lambda signum, _: handlers[signal.Signals(signum)]()) for number in handlers
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

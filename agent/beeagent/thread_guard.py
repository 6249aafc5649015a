"""One guard for all threads: an exception that nobody foresaw ends what the thread works for."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from beeagent.errors import BeeagentError
from beeagent.shown_text import shown

_LOG = logging.getLogger(__name__)

_MAX_REASON = 200  # characters


class ThreadFailedError(BeeagentError):
    """A thread has ended with an exception that nobody foresaw; its traceback is in the log."""


class ThreadGuard:
    """While entered, notices each thread of this process that an exception ends, and on leaving raises the first.

    It takes the place of `threading.excepthook`, so that no thread can be started without it, a library's included. A
    guard that is entered inside another one passes on what it notices, and the outermost one writes the log. Guards may
    be left in any order.

    Args:
        on_failure: called with the reason in one line, on the thread that has failed, after all its locks were
            released; once. It must not raise.
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
        """Take in how a thread has ended, as `threading.excepthook`."""
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

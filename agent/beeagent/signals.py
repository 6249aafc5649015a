"""Signal handlers for the time of a block."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager


def on_stop_signals(stop: Callable[[], None]) -> AbstractContextManager[None]:
    """While entered, call `stop` at SIGINT and SIGTERM instead of ending the process."""
    return on_signals({signal.SIGINT: stop, signal.SIGTERM: stop})


@contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """While entered, call handlers at signals."""
    before = {
        number: signal.signal(number, lambda number, _: handlers[signal.Signals(number)]()) for number in handlers
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

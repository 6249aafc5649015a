"""The circuit breaker: spares a service that fails, and whoever waits for it."""

import threading
from collections.abc import Callable

from beeagent.backoff import Backoff


class Permit:
    """Leave to make one call; whoever has it says exactly once how the call went, with one of the three."""

    def __init__(self, breaker: "CircuitBreaker", *, probe: bool) -> None:
        self._breaker = breaker
        self._probe = probe

    def succeeded(self) -> None:
        """The service answered."""
        self._breaker._succeeded()  # noqa: SLF001 - the two are one thing

    def failed(self) -> None:
        """The service did not."""
        self._breaker._failed(probe=self._probe)  # noqa: SLF001 - likewise

    def unused(self) -> None:
        """No call was made, or it told nothing of the service."""
        self._breaker._unused(probe=self._probe)  # noqa: SLF001 - likewise


class CircuitBreaker:
    """Closed, it lets every call through. After some failures in a row it opens and lets none through for a while;
    then, half open, one call at a time is let through as a probe: success closes it, failure opens it for longer.

    Safe from any thread.
    """  # noqa: D205 - one thought

    def __init__(self, *, failures: int, backoff: Backoff, clock: Callable[[], float]) -> None:
        """Begin closed.

        Args:
            failures: how many in a row open it, 1 or more.
            backoff: how long it stays open, in seconds: longer with each probe that fails, and spread at random.
            clock: seconds that never go back, such as `time.monotonic`.

        Raises:
            ValueError: `failures` is below 1.
        """
        if failures < 1:
            raise ValueError(f"failures is {failures}: 1 or more open a circuit breaker")
        self._limit = failures
        self._backoff = backoff
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        """Whether every call is let through."""
        with self._lock:
            return self._open_until is None

    def admit(self) -> Permit | None:
        """Give leave for a call; None while there is none to be had."""
        with self._lock:
            if self._open_until is None:
                return Permit(self, probe=False)
            if self._probing or self._clock() < self._open_until:
                return None
            self._probing = True
            return Permit(self, probe=True)

    def _succeeded(self) -> None:
        # Even that of a call from before the breaker opened: the service answers.
        with self._lock:
            self._in_a_row = 0
            self._open_until = None
            self._probing = False
            self._backoff.reset()

    def _failed(self, *, probe: bool) -> None:
        with self._lock:
            if probe:
                if self._probing:
                    self._open()
            elif self._open_until is None:
                self._in_a_row += 1
                if self._in_a_row >= self._limit:
                    self._open()

    def _unused(self, *, probe: bool) -> None:
        with self._lock:
            if probe:
                self._probing = False

    def _open(self) -> None:
        self._open_until = self._clock() + self._backoff.next()
        self._probing = False

"""Honours a service that asks for fewer calls."""

import threading
from collections.abc import Callable

from beeagent.backoff import Backoff

_LONGEST_WAIT_S = 3600.0  # whatever the service says, so that a garbled answer does not silence the agent for good


class Throttle:
    """Says whether the wait that a service asked for is over. Safe from any thread."""

    def __init__(self, *, backoff: Backoff, clock: Callable[[], float]) -> None:
        """Begin without a wait.

        Args:
            backoff: the waits where the service does not say how long, in seconds.
            clock: seconds that never go back, such as `time.monotonic`.
        """
        self._backoff = backoff
        self._clock = clock
        self._lock = threading.Lock()
        self._until = float("-inf")

    @property
    def waiting(self) -> bool:
        """Whether no call is to be made."""
        with self._lock:
            return self._clock() < self._until

    def asked_to_wait(self, seconds: float | None) -> None:
        """Wait from now: for as long as the service said, and else for longer each time in a row."""
        with self._lock:
            # Several calls that were under way are refused together: that is one refusal.
            wait = self._backoff.next() if self._clock() >= self._until else 0.0
            self._until = max(self._until, self._clock() + max(wait, min(seconds or 0.0, _LONGEST_WAIT_S)))

    def answered(self) -> None:
        """A call was served: begin anew with short waits."""
        with self._lock:
            self._backoff.reset()

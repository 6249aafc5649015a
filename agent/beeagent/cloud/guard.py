"""Decides whether the cloud model may be called now: rate and budget, the service's requests to wait, its failures."""

import threading
import time
from collections.abc import Callable
from typing import Final, Literal, TypeVar

from beeagent.backoff import Backoff
from beeagent.cloud.budget import CallBudget
from beeagent.errors import BeeagentError

FailureReason = Literal[
    "timeout",
    "throttled",
    "budget",
    "rate",
    "breaker-open",
    "model-not-running",
    "credentials",
    "refused",
    "queue-full",
]
"""The values of `fallback.reason` in a message:

- `timeout`: no result in time: the service is slow, unreachable, closed the connection or failed internally.
- `throttled`: the service asked for fewer calls; also until the wait it asked for is over.
- `budget`, `rate`: the limit of calls per day, or per minute, is reached.
- `breaker-open`: the last calls failed; none is made until a wait is over.
- `model-not-running`: nobody has started the cloud model.
- `credentials`: there are none, or they do not permit the call.
- `refused`: the service rejects the call or the image, or its response is malformed.
- `queue-full`: more frames are unsure than can be processed.
"""

_MAX_WAIT_S: Final = 3600.0  # whatever the service asks for: a malformed response must not end the calls for good

T = TypeVar("T")


class CloudDetectionError(BeeagentError):
    """The cloud model has no result for a frame.

    Attributes:
        reason: why, as the message reports it.
        is_service_failure: whether it counts as a failure of the service, and is not about this frame alone.
        retry_after_s: seconds that the service asked to wait before the next call; None if it did not ask.
    """

    def __init__(
        self,
        reason: FailureReason,
        message: str,
        *,
        is_service_failure: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason
        self.is_service_failure = is_service_failure
        self.retry_after_s = retry_after_s


class CallGuard:
    """Makes a call if budget, throttling and circuit breaker permit it, and learns from its outcome.

    The circuit breaker opens after some failures in a row. Once its wait is over it permits one call at a time as a
    probe: success closes it, failure opens it again for longer. Throttling is no failure: the service is up, and has
    said what it wants.

    Safe from any thread.
    """

    def __init__(
        self,
        budget: CallBudget,
        *,
        failures: int = 5,
        open_backoff: Backoff | None = None,
        throttle_backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with the circuit breaker closed.

        Args:
            budget: limits the calls per minute and per day.
            failures: failures in a row that open the circuit breaker, 1 or more.
            open_backoff: waits of the open circuit breaker, in seconds; None for 30 s to half an hour.
            throttle_backoff: waits when throttled where the service does not say how long; None for 2 s to 2 minutes.
            clock: monotonic seconds.

        Raises:
            ValueError: `failures` is below 1.
        """
        if failures < 1:
            raise ValueError(f"failures is {failures}: a circuit breaker opens after 1 or more")
        self._budget = budget
        self._max_failures = failures
        self._open_backoff = open_backoff or Backoff(first=30.0, longest=1800.0)
        self._throttle_backoff = throttle_backoff or Backoff(first=2.0, longest=120.0)
        self._clock = clock
        self._lock = threading.Lock()
        self._throttled_until = float("-inf")
        self._failures = 0  # in a row
        self._open_until: float | None = None  # None while closed
        self._probing = False

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, if it may be called.

        Raises:
            CloudDetectionError: it may not be called, or raised this.
        """
        probe = self._admit()
        try:
            self._spend()  # last, as it is not refunded
            result = function()
        except Exception as error:
            self._note_error(error, probe=probe)
            raise
        self._note_success()
        return result

    def close(self) -> None:
        """Close the file of the budget; nothing may be called any more."""
        self._budget.close()

    def _admit(self) -> bool:
        """Raise if no call is due; else return whether the call is a probe."""
        with self._lock:
            now = self._clock()
            if now < self._throttled_until:
                raise CloudDetectionError("throttled", "the service asked to wait, and the wait is not over")
            if self._open_until is None:
                return False
            if self._probing or now < self._open_until:
                raise CloudDetectionError("breaker-open", "the last calls failed, and the next one is not due")
            self._probing = True
            return True

    def _spend(self) -> None:
        limit = self._budget.spend()
        if limit is not None:
            period = "minute" if limit == "rate" else "day"
            raise CloudDetectionError(limit, f"the limit of calls per {period} is reached", is_service_failure=False)

    def _note_success(self) -> None:
        # Also of a call from before the circuit breaker opened: the service responds.
        with self._lock:
            self._failures = 0
            self._open_until = None
            self._probing = False
            self._open_backoff.reset()
            self._throttle_backoff.reset()

    def _note_error(self, error: Exception, *, probe: bool) -> None:
        with self._lock:
            if isinstance(error, CloudDetectionError) and error.reason == "throttled":
                self._throttle(error.retry_after_s)
            elif not isinstance(error, CloudDetectionError) or error.is_service_failure:
                self._note_failure(probe=probe)
            if probe:
                self._probing = False

    def _throttle(self, seconds: float | None) -> None:
        now = self._clock()
        # Several calls that were in progress are throttled together: that counts once.
        wait = self._throttle_backoff.next() if now >= self._throttled_until else 0.0
        self._throttled_until = max(self._throttled_until, now + max(wait, min(seconds or 0.0, _MAX_WAIT_S)))

    def _note_failure(self, *, probe: bool) -> None:
        if probe:
            opens = self._probing  # not if another call has succeeded meanwhile
        else:
            self._failures += 1
            opens = self._open_until is None and self._failures >= self._max_failures
        if opens:
            self._open_until = self._clock() + self._open_backoff.next()
            self._probing = False

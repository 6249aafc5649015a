"""Whether a call may be made now: what it costs, and how the service has been."""

from collections.abc import Callable
from typing import TypeVar

from beeagent.cloud.breaker import CircuitBreaker
from beeagent.cloud.budget import CallBudget
from beeagent.cloud.reason import NoOpinionError
from beeagent.cloud.throttle import Throttle

Answer = TypeVar("Answer")


class Gate:
    """Lets a call through when nothing speaks against it, and learns from how it went. Safe from any thread."""

    def __init__(self, *, budget: CallBudget, breaker: CircuitBreaker, throttle: Throttle) -> None:
        self._budget = budget
        self._breaker = breaker
        self._throttle = throttle

    def through(self, call: Callable[[], Answer]) -> Answer:
        """Make the call, if it may be made.

        Raises:
            NoOpinionError: it may not, or it failed.
        """
        if self._throttle.waiting:
            raise NoOpinionError("throttled", "the service asked to wait, and the wait is not over")
        permit = self._breaker.admit()
        if permit is None:
            raise NoOpinionError("breaker-open", "the last calls failed, and the next one is not due")
        told = permit.unused
        try:
            # Last, for what is spent here does not come back.
            self._pay()
            told = permit.failed
            answer = call()
            told = permit.succeeded
            self._throttle.answered()
        except NoOpinionError as error:
            if told == permit.failed and error.reason == "throttled":
                # It is there, and has said what it wants: nothing to break a circuit for.
                told = permit.unused
                self._throttle.asked_to_wait(error.wait_s)
            elif not error.strikes:
                told = permit.unused
            raise
        else:
            return answer
        finally:
            told()

    def close(self) -> None:
        """Release the file of the budget; no call may be made from here on."""
        self._budget.close()

    def _pay(self) -> None:
        limit = self._budget.spend()
        if limit is not None:
            raise NoOpinionError(limit, f"the calls of the {'minute' if limit == 'rate' else 'day'} are spent")

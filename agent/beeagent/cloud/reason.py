"""Why there is no second opinion."""

from typing import Literal

from beeagent.errors import BeeagentError

Reason = Literal[
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
"""The words of `fallback.reason`:

- `timeout`: no answer came in time: the service is slow, out of reach, broke off, or failed by itself.
- `throttled`: the service asked for fewer calls, and until the wait it asked for is over.
- `budget`, `rate`: the calls of the day, of the minute, are spent.
- `breaker-open`: the last calls failed; none is made until a wait is over.
- `model-not-running`: nobody has started the cloud model.
- `credentials`: there are none, or they do not allow the call.
- `refused`: the service does not take the call or the picture, or gave no answer that makes sense.
- `queue-full`: more frames are unsure than can be asked about.
"""


class NoOpinionError(BeeagentError):
    """There is no second opinion on a frame.

    Attributes:
        reason: why, in a word for machines.
        strikes: whether it tells of the service as a whole, and so counts against it, and not of this frame alone.
        wait_s: how many seconds the service asked to wait before the next call; None where it did not say.
    """

    def __init__(self, reason: Reason, message: str, *, strikes: bool = True, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.strikes = strikes
        self.wait_s = wait_s

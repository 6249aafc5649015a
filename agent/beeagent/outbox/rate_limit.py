"""How many results may go out now."""

import time
from collections.abc import Callable


class RateLimit:
    """Lets a number of things through per second, and up to a second's worth of them at once.

    Args:
        per_second: the rate, greater than 0.
        now: gives seconds; for tests.

    Raises:
        ValueError: the rate is not positive.
    """

    def __init__(self, per_second: float, *, now: Callable[[], float] = time.monotonic) -> None:
        if not per_second > 0:
            raise ValueError(f"rate {per_second} is not positive")
        self._rate = per_second
        self._most = max(1.0, per_second)
        self._now = now
        self._left = self._most
        self._counted_at = now()

    @property
    def allowed(self) -> int:
        """How many may go now."""
        moment = self._now()
        self._left = min(self._most, self._left + (moment - self._counted_at) * self._rate)
        self._counted_at = moment
        return max(0, int(self._left))

    @property
    def wait_s(self) -> float:
        """Seconds until one more may go; 0 if one may go now."""
        return 0.0 if self.allowed else (1 - self._left) / self._rate

    def take(self) -> None:
        """Note that one went, allowed or not."""
        self._left -= 1

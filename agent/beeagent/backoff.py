"""How long to wait before trying again."""

import random


class Backoff:
    """Waits that double from try to try, up to a longest one, and are spread at random.

    The spread keeps many devices from coming back to a restarted server at the same moment: each wait is drawn
    evenly from the upper half of its range ("equal jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    def __init__(self, *, first: float, longest: float, rng: random.Random | None = None) -> None:
        """Set the range of the waits.

        Args:
            first: the first wait at its longest, in seconds.
            longest: no wait is longer, in seconds.
            rng: where the spread comes from; None for one of its own.

        Raises:
            ValueError: not 0 < first <= longest.
        """
        if not 0 < first <= longest:
            raise ValueError(f"first {first} and longest {longest} are no range of waits")
        self._first = first
        self._longest = longest
        self._ceiling = first
        self._rng = random.Random() if rng is None else rng  # noqa: S311 - spreads devices, protects nothing

    def next(self) -> float:
        """Give the next wait in seconds."""
        ceiling = self._ceiling
        self._ceiling = min(self._longest, ceiling * 2)
        return self._rng.uniform(ceiling / 2, ceiling)

    def reset(self) -> None:
        """Begin anew, after it went well."""
        self._ceiling = self._first

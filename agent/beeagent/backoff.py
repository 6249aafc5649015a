"""Exponential backoff."""

import random


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

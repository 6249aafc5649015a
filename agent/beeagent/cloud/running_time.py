"""For how long the cloud model has been seen to run, which is what costs: AWS bills its hours, not the calls."""

from collections.abc import Callable
from typing import Final

_JOINED_S: Final = 3600.0  # answers further apart say nothing of the time between


class RunningTime:
    """Adds up the time between answers of the model.

    Two answers at most an hour apart count as one stretch in which it ran, unless it said in between that it does
    not. So what comes out is a lower bound: the time before the first answer and after the last is unseen.

    Not safe for threads.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with nothing seen; `clock` gives seconds that never go back."""
        self._clock = clock
        self._last: float | None = None
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """Seconds seen so far."""
        return self._seconds

    def answered(self) -> None:
        """The model gave an answer just now."""
        now = self._clock()
        if self._last is not None and now - self._last <= _JOINED_S:
            self._seconds += now - self._last
        self._last = now

    def not_running(self) -> None:
        """The service said just now that the model does not run."""
        self._last = None

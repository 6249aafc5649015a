"""Starts and stops the cloud model for a person, and waits with them: each hour of it costs money."""

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from beeagent.errors import BeeagentError

_STOP_TRIES: Final = 20
_COST_NOTHING: Final = frozenset({"STOPPED", "FAILED", "TRAINING_COMPLETED"})


class Life(Protocol):
    """What can be done with a model: `CloudModel`, or what stands in for it."""

    def state(self) -> str:
        """Give its state."""

    def start(self, units: int) -> None:
        """Have it started."""

    def stop(self) -> None:
        """Have it stopped."""


class CloudModelLife:
    """Sees a start or a stop through to its end.

    Args:
        model: to be started and stopped.
        say: takes each line, without line break.
        leaving: set when whoever waits wants to go, as at Ctrl-C.
        look_every: seconds between two looks at its state.
    """

    def __init__(
        self, model: Life, *, say: Callable[[str], None], leaving: threading.Event, look_every: float = 10.0
    ) -> None:
        self._model = model
        self._say = say
        self._leaving = leaving
        self._look_every = look_every

    def start(self, units: int) -> None:
        """Have it started unless it runs, and wait until it does or `leaving` is set.

        Raises:
            BeeagentError: it does not start.
        """
        if self._model.state() not in {"RUNNING", "STARTING"}:
            self._model.start(units)
        self._wait_for("RUNNING")

    def keep_until(self, seconds: float) -> None:
        """Wait so long, or until `leaving` is set or the model runs no more."""
        by = time.monotonic() + seconds
        while (left := by - time.monotonic()) > 0 and not self._leaving.wait(min(left, self._look_every)):
            try:
                state = self._model.state()
            except BeeagentError as error:  # the stop at the end counts, not this look
                self._say(f"its state cannot be had: {error}")
                continue
            if state == "STOPPING" or state in _COST_NOTHING:
                self._say(f"it is {state}: somebody else has stopped it")
                return

    def stop(self) -> None:
        """Have it stopped, also where it still starts, and wait until it is; `leaving` does not end that.

        Raises:
            BeeagentError: it may still run.
        """
        pause = threading.Event()  # never set: `leaving` may be, and this is to be seen through
        before, failures = "", 0
        while True:
            try:
                state = self._model.state()
                if state in _COST_NOTHING:
                    self._say("it is stopped, and costs no more")
                    return
                if state == "RUNNING":
                    self._model.stop()
            except BeeagentError as error:
                failures += 1
                if failures >= _STOP_TRIES:
                    raise BeeagentError(
                        f"THE CLOUD MODEL MAY STILL RUN AND COST MONEY: {error}; stop it in the AWS console"
                    ) from None
                self._say(f"it cannot be stopped yet: {error}")
            else:
                failures = 0
                if state != before:
                    self._say(f"it is {state}, and is being stopped")
                before = state
            pause.wait(self._look_every)

    def _wait_for(self, wanted: str) -> None:
        began, before = time.monotonic(), ""
        while (state := self._model.state()) != wanted:
            # Right after the start it may still be told of as it was.
            if state == "FAILED" or (state in _COST_NOTHING and before == "STARTING"):
                raise BeeagentError(f"the cloud model is {state} and does not start: the AWS console says why")
            if state != before:
                self._say(f"it is {state}; this takes minutes")
            before = state
            if self._leaving.wait(self._look_every):
                return
        self._say(f"it is {wanted}, after {time.monotonic() - began:.0f} s")

"""The way out of the device as a whole: begun together, ended in order."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from beeagent.outbox.outbox import Outbox
from beeagent.outbox.publisher import Publisher
from beeagent.outbox.sender import Courier

_LOG: Final = logging.getLogger(__name__)

_FOR_LAST_RESULTS_S: Final = 0.5
_FOR_OUTBOX_S: Final = 0.7  # for what it has yet to commit, once the last receipts are in


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where results wait, who takes them there, and how they leave."""

    outbox: Outbox
    courier: Courier
    publisher: Publisher

    @property
    def broker_trouble(self) -> str | None:
        """Why there is no connection to the broker, in plain words; None when there is, or the first is being made."""
        state = self.publisher.state
        return None if state.connected or state.untried else state.reason

    @property
    def delivering(self) -> bool:
        """Whether results wait that are on their way out."""
        return self.publisher.state.connected and self.outbox.depth() > 0

    def start(self) -> None:
        """Begin to connect and to carry."""
        self.publisher.start()
        self.courier.start()

    def drain(self, *, timeout: float, unless: threading.Event) -> None:
        """Wait up to `timeout` seconds for what waits, unless told otherwise or the broker cannot be reached."""
        by = time.monotonic() + timeout
        while not unless.is_set() and time.monotonic() < by:
            if self.courier.drain(timeout=0.25) or self.broker_trouble is not None:
                return

    def end(self, *, farewell: Callable[[], bytes], by: float) -> None:
        """Let the last results out, say farewell, and store what is left.

        Args:
            farewell: gives the last retained status.
            by: when it is to be over at the latest, by `time.monotonic`. What the outbox has to commit has its
                time in any case.
        """
        if self.publisher.state.connected:
            self.courier.drain(timeout=_FOR_LAST_RESULTS_S)
        left = by - _FOR_OUTBOX_S - time.monotonic()
        self.publisher.stop(farewell=farewell(), timeout=max(0.1, left))
        self.courier.stop(timeout=_FOR_OUTBOX_S / 4)
        self.outbox.close(timeout=_FOR_OUTBOX_S / 2)
        waiting = self.outbox.counts().waiting
        if waiting:
            _LOG.warning("%d results wait for the broker; they will go out when the agent runs again", waiting)

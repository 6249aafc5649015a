"""Detection of poison messages, which a broker will never accept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FORBIDDEN: Final = "forbidden"
BREAKS_CONNECTION: Final = "breaks-connection"
"""Causes for giving up a message: the broker has refused it for long; the broker ends the connection over it."""

_RIGHT_AFTER: Final = 10.0  # seconds between a message and the end of the connection that it may have caused
_TRY_AGAIN_AFTER: Final = 3600.0  # seconds after which a poison message is tried again
_MAX_REMEMBERED: Final = 256  # messages; more than are ever in flight


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was in flight when the connection ended.

    Attributes:
        key: identifies it.
        precious: whether a result is lost if it is given up.
        sent_at: when it was sent, by `time.monotonic`.
    """

    key: str
    precious: bool
    sent_at: float


class PoisonDetector:
    """Finds poison messages over all connections of a publisher. Used by one thread.

    Some brokers, AWS IoT among them, end the connection when they do not accept a message; if it is sent again, they do
    so again, and no other message ever gets through. To find that message among those that were in flight, the next
    connection is `careful`: it sends nothing for `settle_s`, then one message at a time. A message is poison if
    `strikes` connections in a row were stable, and were ended by the broker right after this message alone was sent;
    and if the broker accepted others meanwhile, since a broker that accepts nothing is an outage.

    A broker that refuses a message with a reason code ("not authorized") may be misconfigured and be repaired; so the
    message is tried again for `patience_s`. From then on each message on that topic is given up at once, until one is
    accepted again.
    """

    def __init__(self, *, settle_s: float = 1.0, strikes: int = 3, patience_s: float = 60.0) -> None:
        """Set the limits.

        Args:
            settle_s: seconds after which a connection is stable, so that its end may be due to a message.
            strikes: number of connections that a message may end.
            patience_s: seconds for which a refused message is tried again.

        Raises:
            ValueError: a value is out of range.
        """
        if settle_s < 0 or strikes < 1 or patience_s < 0:
            raise ValueError(f"settle_s {settle_s}, strikes {strikes} or patience_s {patience_s} is out of range")
        self.settle_s = settle_s
        self._allowed = strikes
        self._patience = patience_s
        self._strikes: dict[str, int] = {}  # of messages that were in flight when a connection ended
        self._poison: dict[str, float] = {}
        self._refused_since: dict[str, float] = {}  # messages and topics
        self._others_accepted = False
        self._accepted_in_a_row = 0

    @property
    def careful(self) -> bool:
        """Whether messages are to be sent one at a time, once the connection is stable."""
        return bool(self._strikes)

    def is_poison(self, key: str) -> bool:
        """Return whether a message was found to be poison recently."""
        since = self._poison.get(key)
        if since is not None and time.monotonic() - since > _TRY_AGAIN_AFTER:
            del self._poison[key]
            return False
        return since is not None

    def note_accepted(self, key: str, topic: str) -> None:
        """Note that the broker has accepted a message."""
        self._strikes.pop(key, None)
        self._refused_since.pop(key, None)
        self._refused_since.pop(topic, None)
        self._others_accepted = True
        self._accepted_in_a_row += 1
        if self._accepted_in_a_row > _MAX_REMEMBERED:
            self._strikes.clear()  # those that were not sent again by now will not be

    def note_refused(self, key: str, topic: str) -> bool:
        """Note that the broker refuses a message for now; return whether to give it up."""
        self._strikes.pop(key, None)
        self._others_accepted = True  # the broker answers
        now = time.monotonic()
        since = min(self._refused_since.setdefault(name, now) for name in (key, topic))
        while len(self._refused_since) > _MAX_REMEMBERED:
            del self._refused_since[next(iter(self._refused_since))]
        if now - since < self._patience:
            return False
        self._refused_since.pop(key, None)
        return True

    def note_connection_ended(self, sent: Sequence[Sent], *, opened_at: float) -> str | None:
        """Note that the broker has ended a connection; return the key of the poison message that caused it, if known.

        Args:
            sent: the messages in flight, oldest first.
            opened_at: when the connection was accepted, by `time.monotonic`.
        """
        self._accepted_in_a_row = 0
        before, self._strikes = self._strikes, {one.key: self._strikes.get(one.key, 0) for one in sent}
        for key in list(before)[:_MAX_REMEMBERED]:
            self._strikes.setdefault(key, before[key])
        if len(sent) != 1:
            return None
        (one,) = sent
        stable = one.sent_at - opened_at >= self.settle_s
        if not stable or time.monotonic() - one.sent_at > _RIGHT_AFTER:
            return None
        self._strikes[one.key] += 1
        if self._strikes[one.key] < self._allowed or (one.precious and not self._others_accepted):
            return None
        del self._strikes[one.key]
        self._poison[one.key] = time.monotonic()
        if len(self._poison) > _MAX_REMEMBERED:
            del self._poison[next(iter(self._poison))]
        self._others_accepted = False
        return one.key

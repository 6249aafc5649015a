"""Detection of poison messages, which a broker will never accept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FORBIDDEN: Final = "forbidden"
BREAKS_CONNECTION: Final = "breaks-connection"
"""Causes for abandoning a message: the broker has refused it for too long; the broker ends the connection after it."""

_RIGHT_AFTER: Final = 10.0  # seconds between a message and the end of the connection that it may have caused
_TRY_AGAIN_AFTER: Final = 3600.0  # seconds after which a poison message is tried again
_MAX_REMEMBERED: Final = 256  # messages; more than are ever in flight


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was in flight when the connection ended.

    Attributes:
        key: identity of the message.
        precious: True if abandoning it loses a result.
        sent_at: time of sending, by `time.monotonic`.
    """

    key: str
    precious: bool
    sent_at: float


class PoisonDetector:
    """Detects poison messages over all connections of a publisher. For one thread.

    Some brokers, such as AWS IoT, end the connection if they do not accept a message; sent again, it ends the next
    connection, and blocks all other messages. To identify it among those in flight, the next connection is `careful`:
    it sends nothing for `settle_s`, then one message at a time. A message is poison if `strikes` consecutive stable
    connections were ended by the broker right after this message alone was sent, and if the broker accepted others
    meanwhile, since a broker that accepts no message has an outage.

    A refusal with a reason code ("not authorized") may be due to a temporary misconfiguration; so the message is
    retried for `patience_s`. After that, each message on that topic is abandoned at once until one is accepted again.
    """

    def __init__(self, *, settle_s: float = 1.0, strikes: int = 3, patience_s: float = 60.0) -> None:
        """Set the limits.

        Args:
            settle_s: seconds after which a connection is stable, so that its end may be due to a message.
            strikes: number of connections that a message may end.
            patience_s: seconds for which a refused message is retried.

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
        """True if messages are to be sent one at a time, once the connection is stable."""
        return bool(self._strikes)

    def is_poison(self, key: str) -> bool:
        """Return True if a message was recently detected as poison."""
        since = self._poison.get(key)
        if since is not None and time.monotonic() - since > _TRY_AGAIN_AFTER:
            del self._poison[key]
            return False
        return since is not None

    def note_accepted(self, key: str, topic: str) -> None:
        """Record that the broker has accepted a message."""
        self._strikes.pop(key, None)
        self._refused_since.pop(key, None)
        self._refused_since.pop(topic, None)
        self._others_accepted = True
        self._accepted_in_a_row += 1
        if self._accepted_in_a_row > _MAX_REMEMBERED:
            self._strikes.clear()  # messages that were not sent again so far will not be

    def note_refused(self, key: str, topic: str) -> bool:
        """Record that the broker refuses a message for now; return True to abandon it."""
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
        """Record that the broker has ended a connection; return the key of the poison message, if it is identified.

        Args:
            sent: the messages in flight, oldest first.
            opened_at: time at which the connection was accepted, by `time.monotonic`.
        """
        self._accepted_in_a_row = 0
        previous, self._strikes = self._strikes, {message.key: self._strikes.get(message.key, 0) for message in sent}
        for key in list(previous)[:_MAX_REMEMBERED]:
            self._strikes.setdefault(key, previous[key])
        if len(sent) != 1:
            return None
        (suspect,) = sent
        stable = suspect.sent_at - opened_at >= self.settle_s
        if not stable or time.monotonic() - suspect.sent_at > _RIGHT_AFTER:
            return None
        self._strikes[suspect.key] += 1
        if self._strikes[suspect.key] < self._allowed or (suspect.precious and not self._others_accepted):
            return None
        del self._strikes[suspect.key]
        self._poison[suspect.key] = time.monotonic()
        if len(self._poison) > _MAX_REMEMBERED:
            del self._poison[next(iter(self._poison))]
        self._others_accepted = False
        return suspect.key

"""Tells the messages that a broker will never take from those that an outage keeps back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FORBIDDEN: Final = "forbidden"
BREAKS_OFF: Final = "breaks-connection"
"""Words for why a message was given up: the broker refuses it for now, and has for long; it ends connections."""

_RIGHT_AFTER: Final = 10.0  # seconds between a message and the end of the connection that it is blamed for
_PARDONED_AFTER: Final = 3600.0  # seconds after which what was condemned is given another chance
_MAX_REMEMBERED: Final = 256  # messages; more than are ever on their way


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was on its way when the connection ended.

    Attributes:
        key: tells it from all others.
        precious: whether anything is lost if it is given up.
        sent_at: when, by `time.monotonic`.
    """

    key: str
    precious: bool
    sent_at: float


class Suspects:
    """What a publisher knows, over all its connections, of messages that may never be taken. Used by one thread.

    Some brokers, AWS IoT among them, answer a message that they do not like by ending the connection; if it is
    sent again, they do so again, and nothing else ever gets through. To find that message among those that were on
    their way, the next connection is `careful`: it stands quietly for `settle_s`, then sends one message at a time.
    A message is guilty if `strikes` connections in a row stood well, and were ended by the broker right after this
    message alone was sent; and if meanwhile the broker took others, for a broker that takes nothing is an outage.

    A broker that refuses a message in so many words ("not authorized") may have been set up wrongly and be mended;
    so it is tried again for `patience_s`. From then on each message on that topic is given up at once, until one
    is taken again.
    """

    def __init__(self, *, settle_s: float = 1.0, strikes: int = 3, patience_s: float = 60.0) -> None:
        """Choose how much it takes.

        Args:
            settle_s: seconds for which a connection has to stand before it says anything about a message.
            strikes: connections that a message may end.
            patience_s: seconds for which a refused message is tried again.

        Raises:
            ValueError: a value is out of range.
        """
        if settle_s < 0 or strikes < 1 or patience_s < 0:
            raise ValueError(f"settle_s {settle_s}, strikes {strikes} or patience_s {patience_s} is out of range")
        self.settle_s = settle_s
        self._allowed = strikes
        self._patience = patience_s
        self._strikes: dict[str, int] = {}  # for each message under suspicion
        self._condemned: dict[str, float] = {}
        self._refused_since: dict[str, float] = {}  # messages and topics
        self._others_taken = False
        self._taken_in_a_row = 0

    @property
    def careful(self) -> bool:
        """Whether messages are to be sent one at a time, after the connection has settled."""
        return bool(self._strikes)

    def is_condemned(self, key: str) -> bool:
        """Whether a message was found guilty, lately."""
        since = self._condemned.get(key)
        if since is not None and time.monotonic() - since > _PARDONED_AFTER:
            del self._condemned[key]
            return False
        return since is not None

    def note_taken(self, key: str, topic: str) -> None:
        """Note that the broker has taken a message."""
        self._strikes.pop(key, None)
        self._refused_since.pop(key, None)
        self._refused_since.pop(topic, None)
        self._others_taken = True
        self._taken_in_a_row += 1
        if self._taken_in_a_row > _MAX_REMEMBERED:
            self._strikes.clear()  # who has not come again by now does not come again

    def note_refused(self, key: str, topic: str) -> bool:
        """Note that the broker refuses a message for now; say whether to give it up."""
        self._strikes.pop(key, None)
        self._others_taken = True  # it answers
        now = time.monotonic()
        since = min(self._refused_since.setdefault(name, now) for name in (key, topic))
        while len(self._refused_since) > _MAX_REMEMBERED:
            del self._refused_since[next(iter(self._refused_since))]
        if now - since < self._patience:
            return False
        self._refused_since.pop(key, None)
        return True

    def note_broken_off(self, sent: Sequence[Sent], *, opened_at: float) -> str | None:
        """Note that the broker has ended a connection, perhaps because of a message; give the guilty one, if any.

        Args:
            sent: what was on its way, oldest first.
            opened_at: when the connection was accepted, by `time.monotonic`.
        """
        self._taken_in_a_row = 0
        before, self._strikes = self._strikes, {one.key: self._strikes.get(one.key, 0) for one in sent}
        for key in list(before)[:_MAX_REMEMBERED]:
            self._strikes.setdefault(key, before[key])
        if len(sent) != 1:
            return None
        (one,) = sent
        settled = one.sent_at - opened_at >= self.settle_s
        if not settled or time.monotonic() - one.sent_at > _RIGHT_AFTER:
            return None
        self._strikes[one.key] += 1
        if self._strikes[one.key] < self._allowed or (one.precious and not self._others_taken):
            return None
        del self._strikes[one.key]
        self._condemned[one.key] = time.monotonic()
        if len(self._condemned) > _MAX_REMEMBERED:
            del self._condemned[next(iter(self._condemned))]
        self._others_taken = False
        return one.key

"""Messages that the nucleus was asked to publish and that are not confirmed yet, and those that wait for space."""

import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from beeagent.greengrass.destination import Limits, packet_bytes
from beeagent.outbox import Receipt


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """A message to publish.

    Attributes:
        topic: of the message.
        payload: of the message.
        done: called with its receipt, once.
        deadline: until when it must have made progress, by `time.monotonic`.
        accepted: whether the nucleus has accepted it.
        retain: whether the broker is to retain it.
        queued_order: its place among those that wait.
        sent_order: its place among those that were sent.
    """

    topic: str
    payload: bytes
    done: Callable[[Receipt], None]
    deadline: float = 0.0
    accepted: bool = False
    retain: bool = False
    queued_order: int = 0
    sent_order: int = 0


class InFlight:
    """The messages in flight, in the order in which they were sent, and those that wait. Used by one thread.

    A message takes space from when it is sent until its echo arrives. Without echoes, the broker's
    acknowledgement is not visible, and it takes space for a short time longer.

    Args:
        limits: the space.
        settle_s: that short time, in seconds.
    """

    def __init__(self, limits: Limits, *, settle_s: float) -> None:
        self._limits = limits
        self._settle = settle_s
        self._sent: list[OutgoingMessage] = []
        self._waiting: list[OutgoingMessage] = []
        self._settling: list[tuple[float, int]] = []  # until when, and how many bytes
        self._queued_orders = itertools.count(1)
        self._sent_orders = itertools.count(1)

    def __contains__(self, message: OutgoingMessage) -> bool:
        """Whether a message is in flight."""
        return message in self._sent

    def __bool__(self) -> bool:
        """Whether any message is in flight or waiting."""
        return bool(self._sent or self._waiting)

    @property
    def deadline(self) -> float | None:
        """When the first message must have made progress, or there may be space for one that waits; None for never."""
        now = time.monotonic()
        settled = (until for until, _ in self._settling if self._waiting and until > now)
        return min((*(message.deadline for message in self._sent), *settled), default=None)

    @property
    def any_accepted(self) -> bool:
        """Whether the nucleus has accepted a message that the broker may not have acknowledged yet."""
        now = time.monotonic()
        return any(until > now for until, _ in self._settling) or any(message.accepted for message in self._sent)

    def wait(self, message: OutgoingMessage) -> None:
        """Queue a message until there is space, in the order of the first attempts."""
        message.queued_order = message.queued_order or next(self._queued_orders)
        bisect.insort(self._waiting, message, key=lambda each: each.queued_order)

    def next(self) -> OutgoingMessage | None:
        """Remove and return the first message that waits, if there is space for it; else return None."""
        now = time.monotonic()
        self._settling = [(until, size) for until, size in self._settling if until > now]
        sizes = [packet_bytes(message.topic, message.payload) for message in self._sent]
        sizes += [size for _, size in self._settling]
        if not self._waiting or len(sizes) >= self._limits.in_flight:
            return None
        size = packet_bytes(self._waiting[0].topic, self._waiting[0].payload)
        if sizes and sum(sizes) + size > self._limits.in_flight_bytes:
            return None
        return self._waiting.pop(0)

    def add(self, message: OutgoingMessage, *, timeout_s: float) -> None:
        """Note that a message is sent, and must make progress within `timeout_s`."""
        message.queued_order = message.queued_order or next(self._queued_orders)
        message.sent_order = next(self._sent_orders)
        message.deadline = time.monotonic() + timeout_s
        self._sent.append(message)

    def expired(self) -> list[OutgoingMessage]:
        """Return the messages whose deadline has passed."""
        now = time.monotonic()
        return [message for message in self._sent if now >= message.deadline]

    def accepted(self) -> list[OutgoingMessage]:
        """Return the messages that the nucleus has accepted."""
        return [message for message in self._sent if message.accepted]

    def of_topic(self, topic: str) -> list[OutgoingMessage]:
        """Return the messages on a topic."""
        return [message for message in self._sent if message.topic == topic]

    def take_back(self, message: OutgoingMessage) -> None:
        """Queue a message again that the nucleus did not accept for lack of space."""
        self._sent.remove(message)
        self.wait(message)

    def settle(self, message: OutgoingMessage, receipt: Receipt) -> None:
        """End a message that the nucleus has accepted, and that the broker may not have acknowledged yet."""
        self._settling.append((time.monotonic() + self._settle, packet_bytes(message.topic, message.payload)))
        self.end(message, receipt)

    def end(self, message: OutgoingMessage, receipt: Receipt) -> None:
        """Remove a message, and report its receipt."""
        self._sent.remove(message)
        message.done(receipt)

    def end_waiting(self, receipt: Receipt) -> None:
        """Remove all messages that wait."""
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            message.done(receipt)

    def clear(self) -> list[OutgoingMessage]:
        """Remove and return all messages; the caller reports their receipts."""
        messages = [*self._waiting, *self._sent]
        self._waiting, self._sent = [], []
        return messages

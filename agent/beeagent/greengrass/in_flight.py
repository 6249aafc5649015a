"""What a nucleus was asked to publish and has not been heard of since, and what waits for room."""

import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from beeagent.greengrass.destination import Limits, packet_bytes
from beeagent.outbox import Receipt


@dataclass(slots=True, eq=False)
class Publish:
    """One message on its way.

    Attributes:
        topic: where it goes.
        payload: the message.
        done: told of its end, once.
        due: when it has to have come further, by `time.monotonic`.
        answered: whether the nucleus has said that it took it.
        retain: whether the broker is to keep it for those who subscribe later.
        order: its place among those that wait.
        sent: its place among those that were sent.
    """

    topic: str
    payload: bytes
    done: Callable[[Receipt], None]
    due: float = 0.0
    answered: bool = False
    retain: bool = False
    order: int = 0
    sent: int = 0


class UnderWay:
    """The messages on their way, in the order in which they were sent, and those that wait. Used by one thread.

    A message takes room from when it is sent until it has come back. Where none comes back, that the broker has
    acknowledged it is not told, and it takes room for a short time longer.

    Args:
        limits: the room that there is.
        settles_in_s: that short time, in seconds.
    """

    def __init__(self, limits: Limits, *, settles_in_s: float) -> None:
        self._limits = limits
        self._settles_in = settles_in_s
        self._all: list[Publish] = []
        self._waiting: list[Publish] = []
        self._settling: list[tuple[float, int]] = []  # until when, and how many bytes
        self._orders = itertools.count(1)
        self._sent = itertools.count(1)

    def __contains__(self, publish: Publish) -> bool:
        """Whether a message has not had its end yet."""
        return publish in self._all

    def __bool__(self) -> bool:
        """Whether there is any, on its way or waiting."""
        return bool(self._all or self._waiting)

    @property
    def due(self) -> float | None:
        """When the first of them has to have come further, or makes room for one that waits; None for never."""
        now = time.monotonic()
        settled = (until for until, _ in self._settling if self._waiting and until > now)
        return min((*(publish.due for publish in self._all), *settled), default=None)

    @property
    def any_taken(self) -> bool:
        """Whether the nucleus has taken any that may not be acknowledged yet."""
        now = time.monotonic()
        return any(until > now for until, _ in self._settling) or any(publish.answered for publish in self._all)

    def wait(self, publish: Publish) -> None:
        """Let a message wait until there is room, in the order of the first try."""
        publish.order = publish.order or next(self._orders)
        bisect.insort(self._waiting, publish, key=lambda each: each.order)

    def next(self) -> Publish | None:
        """Take the first message that waits, if there is room for it; None where there is not."""
        now = time.monotonic()
        self._settling = [(until, size) for until, size in self._settling if until > now]
        sizes = [packet_bytes(publish.topic, publish.payload) for publish in self._all]
        sizes += [size for _, size in self._settling]
        if not self._waiting or len(sizes) >= self._limits.under_way:
            return None
        size = packet_bytes(self._waiting[0].topic, self._waiting[0].payload)
        if sizes and sum(sizes) + size > self._limits.under_way_bytes:
            return None
        return self._waiting.pop(0)

    def add(self, publish: Publish, *, within_s: float) -> None:
        """Note that a message is sent, and has to come further within so many seconds."""
        publish.order, publish.sent = publish.order or next(self._orders), next(self._sent)
        publish.due = time.monotonic() + within_s
        self._all.append(publish)

    def late(self) -> list[Publish]:
        """Give those that should have come further by now."""
        now = time.monotonic()
        return [publish for publish in self._all if now >= publish.due]

    def answered(self) -> list[Publish]:
        """Return those that the nucleus has taken."""
        return [publish for publish in self._all if publish.answered]

    def of_topic(self, topic: str) -> list[Publish]:
        """Give those on a topic."""
        return [publish for publish in self._all if publish.topic == topic]

    def take_back(self, publish: Publish) -> None:
        """Let a message wait again that the nucleus did not take for want of room."""
        self._all.remove(publish)
        self.wait(publish)

    def settle(self, publish: Publish, receipt: Receipt) -> None:
        """End a message that the nucleus has taken, and that the broker may not have acknowledged yet."""
        self._settling.append((time.monotonic() + self._settles_in, packet_bytes(publish.topic, publish.payload)))
        self.end(publish, receipt)

    def end(self, publish: Publish, receipt: Receipt) -> None:
        """Take a message out, and tell of its end."""
        self._all.remove(publish)
        publish.done(receipt)

    def end_waiting(self, receipt: Receipt) -> None:
        """Let none wait any more."""
        waiting, self._waiting = self._waiting, []
        for publish in waiting:
            publish.done(receipt)

    def end_all(self, receipt: Receipt) -> None:
        """Take all out, those that wait too."""
        self.end_waiting(receipt)
        for publish in list(self._all):
            self.end(publish, receipt)

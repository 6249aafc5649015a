"""What a nucleus was asked to publish and has not been heard of since."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from beeagent.delivery.publisher import Receipt


@dataclass(slots=True, eq=False)
class Publish:
    """One message on its way.

    Attributes:
        topic: where it goes.
        payload: the message.
        done: told of its end, once.
        due: when it has to have come further, by `time.monotonic`.
        answered: whether the nucleus has said that it took it.
    """

    topic: str
    payload: bytes
    done: Callable[[Receipt], None]
    due: float = 0.0
    answered: bool = False


class UnderWay:
    """The messages on their way, in the order in which they were sent. Used by one thread."""

    def __init__(self) -> None:
        self._all: list[Publish] = []

    def __contains__(self, publish: Publish) -> bool:
        """Whether a message has not had its end yet."""
        return publish in self._all

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._all)

    @property
    def due(self) -> float | None:
        """When the first of them has to have come further; None if there is none."""
        return min((publish.due for publish in self._all), default=None)

    def add(self, publish: Publish, *, within_s: float) -> None:
        """Note that a message is sent, and has to come further within so many seconds."""
        publish.due = time.monotonic() + within_s
        self._all.append(publish)

    def late(self) -> list[Publish]:
        """Give those that should have come further by now."""
        now = time.monotonic()
        return [publish for publish in self._all if now >= publish.due]

    def of_topic(self, topic: str) -> list[Publish]:
        """Give those on a topic."""
        return [publish for publish in self._all if publish.topic == topic]

    def end(self, publish: Publish, receipt: Receipt) -> None:
        """Take a message out, and tell of its end."""
        self._all.remove(publish)
        publish.done(receipt)

    def end_all(self, receipt: Receipt) -> None:
        """Take all out."""
        for publish in list(self._all):
            self.end(publish, receipt)

"""What every way out of the device offers: MQTT, and whatever stands in for it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Outcome(Enum):
    """What became of one publish.

    Attributes:
        DELIVERED: the other side has taken it over for good: in MQTT, the PUBACK came. A publisher whose own
            "success" means less than that may not call it delivered.
        LOST: it is not known to have arrived, and may or may not have: publish it again.
        REFUSED: the other side will not take it as it is: publishing it again is no use.
    """

    DELIVERED = "delivered"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The end of one publish.

    Attributes:
        outcome: what became of it.
        reason: in plain words; empty when delivered.
        cause: when refused, a word under which it is counted.
    """

    outcome: Outcome
    reason: str = ""
    cause: str = "refused"


@dataclass(frozen=True, slots=True)
class PublisherState:
    """Whether a publish is worth trying.

    Attributes:
        connected: True if it is.
        reason: why not, in plain words and without secrets; empty when connected.
        untried: True as long as the first attempt to connect has not come to an end.
    """

    connected: bool
    reason: str = ""
    untried: bool = False


class Publisher(Protocol):
    """A way out of the device. All methods may be called from any thread, and none waits for the network.

    A publisher keeps nothing for later: what cannot go out now is lost to it at once, and the outbox has it
    still. It connects by itself, and again whenever the connection ends, until it is stopped.
    """

    @property
    def state(self) -> PublisherState:
        """Whether a publish is worth trying now."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `state` may have changed. To be called before `start`.

        The listener is called on the publisher's own thread and must return at once.
        """
        ...

    def start(self) -> None:
        """Begin to connect. An unreachable broker is not an error: `state` tells of it."""
        ...

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        """Publish at least once, and call `done` exactly once, from whatever thread, maybe before returning.

        `done` must return at once and not call the publisher.
        """
        ...

    def report(self, payload: bytes) -> None:
        """Make `payload` the retained status of the device, now and again after each new connection.

        Only the newest counts: one that has not gone out when the next is given is forgotten.
        """
        ...

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        """Publish `farewell` as the retained status, and end the connection in an orderly way.

        Every publish that is under way ends with its receipt. Returns after `timeout` seconds at the latest.
        Safe to call twice, and without `start`.
        """
        ...

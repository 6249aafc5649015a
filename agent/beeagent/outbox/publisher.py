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

    Where the other side is not a broker, such as a Greengrass nucleus:

    - If its success means only that it has taken a message over for now (into a spool in memory, say), a publish
      is not delivered with it. The publisher waits for a proof that the message has arrived, such as its echo on
      a subscription to the same topic, and calls it lost when none comes in time. The outbox then gives it again.
    - If it fails while it is offline, and does not tell when it is online again, the failed publish is lost, and
      `state` is not connected, with the reason, for a pause that grows from failure to failure; then connected
      once more, for the next try. To stay connected would make the courier try again every second for ever.
    - If it refuses what is too large, or a topic that nobody permitted, that is REFUSED: at once where nothing can
      mend it, after some patience where a change of its settings may.
    """

    @property
    def payload_limit(self) -> int:
        """Bytes that a message may have; what is longer is refused, or may even end the connection."""
        ...

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

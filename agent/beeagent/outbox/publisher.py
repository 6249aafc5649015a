"""The protocol of a publisher, such as MQTT or Greengrass, and the one that discards everything."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

# Of AWS IoT Core: https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
MAX_PAYLOAD_BYTES: Final = 128 * 1024


class Outcome(Enum):
    """The outcome of one publish.

    Attributes:
        DELIVERED: the other side is responsible for it now: in MQTT, the PUBACK came. A publisher whose own
            "success" means less than that must not report it as delivered.
        LOST: it may or may not have arrived: publish it again.
        REFUSED: the other side does not accept it as it is: publishing it again is useless.
    """

    DELIVERED = "delivered"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The report on one publish.

    Attributes:
        outcome: delivered, lost or refused.
        reason: for people; empty when delivered.
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
        reason: why not, for people and without secrets; empty when connected.
        untried: True until the first attempt to connect has ended.
    """

    connected: bool
    reason: str = ""
    untried: bool = False


class Publisher(Protocol):
    """Publishes messages. All methods may be called from any thread, and none waits for the network.

    A publisher does not queue: what cannot be sent now is reported as lost at once, and is still in the outbox. It
    connects by itself, and again whenever the connection ends, until it is stopped.

    Where the other side is not a broker, such as a Greengrass nucleus:

    - If its success means only that it has queued a message (in memory, say), the message is not delivered yet. The
      publisher waits for a confirmation that the message has arrived, such as its echo on a subscription to the same
      topic, and reports it as lost when none comes in time. It is then published again.
    - If it fails while it is offline, and does not report when it is online again, the failed publish is lost, and
      `state` is not connected, with the reason, for a pause that grows from failure to failure; then connected
      again, for the next attempt. If it stayed connected, the sender would try again every second for ever.
    - A message that is too large, or whose topic is not permitted, is REFUSED: at once where nothing can change that,
      after some time where a change of settings may.
    """

    @property
    def payload_limit(self) -> int:
        """The maximum size of a payload in bytes; a longer one is refused, or may even end the connection."""
        ...

    @property
    def state(self) -> PublisherState:
        """Whether a publish is worth trying now."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `state` may have changed. Call this before `start`.

        The listener is called on the publisher's own thread and must return at once.
        """
        ...

    def start(self) -> None:
        """Start to connect. An unreachable broker is not an error: `state` reports it."""
        ...

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        """Publish at least once, and call `done` exactly once, from any thread, possibly before returning.

        `done` must return at once and not call the publisher.
        """
        ...

    def report(self, payload: bytes) -> None:
        """Make `payload` the retained status of the device, now and again after each new connection.

        Only the newest counts: one that has not been sent when the next is given is dropped.
        """
        ...

    def retain(self, *, topic: str, payload: bytes) -> None:
        """Make `payload` the retained message of a topic, as `report` does for the status.

        It is not a result: it is never in the outbox, and the newest is all that is ever published.
        """
        ...

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        """Publish `farewell` as the retained status, and end the connection in an orderly way.

        Every pending publish ends with its receipt. Returns after `timeout` seconds at the latest.
        Safe to call twice, and without `start`.
        """
        ...


class DiscardPublisher:
    """Reports everything as delivered, for `--broker none`.

    So the outbox numbers results as usual, and does not fill up.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._started = False

    @property
    def payload_limit(self) -> int:
        """That of MQTT, so that what is printed is what would be sent."""
        return MAX_PAYLOAD_BYTES

    @property
    def state(self) -> PublisherState:
        """Connected from `start` to `stop`."""
        return PublisherState(connected=True) if self._started else PublisherState(connected=False, reason="stopped")

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` at `start` and `stop`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Accept publishes."""
        self._set(started=True)

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:  # noqa: ARG002 - it is discarded
        """Report it as delivered."""
        done(Receipt(Outcome.DELIVERED) if self._started else Receipt(Outcome.LOST, "stopped"))

    def report(self, payload: bytes) -> None:
        """Discard the status."""

    def retain(self, *, topic: str, payload: bytes) -> None:
        """Discard the message."""

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:  # noqa: ARG002 - as `report`
        """Accept no more publishes."""
        self._set(started=False)

    def _set(self, *, started: bool) -> None:
        self._started = started
        for listener in self._listeners:
            listener()

"""The interface of publishers, such as MQTT and Greengrass, and a publisher that discards all messages."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

# Limit of AWS IoT Core: https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
MAX_PAYLOAD_BYTES: Final = 128 * 1024


class Outcome(Enum):
    """The outcome of one publish.

    Attributes:
        DELIVERED: the peer has taken responsibility for the message: in MQTT, by PUBACK. A publisher must not report
            this for a weaker confirmation.
        LOST: the message may or may not have arrived; publish it again.
        REFUSED: the peer does not accept the message; publishing it again does not help.
    """

    DELIVERED = "delivered"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of one publish.

    Attributes:
        outcome: delivered, lost or refused.
        reason: human-readable reason; empty if delivered.
        cause: key under which a refused message is counted.
    """

    outcome: Outcome
    reason: str = ""
    cause: str = "refused"


@dataclass(frozen=True, slots=True)
class PublisherState:
    """The state of the connection.

    Attributes:
        connected: True if messages can be published.
        reason: human-readable reason if not, without secrets; empty if connected.
        untried: True until the first attempt to connect has ended.
    """

    connected: bool
    reason: str = ""
    untried: bool = False


class Publisher(Protocol):
    """Publishes messages. All methods are thread-safe, and none waits for the network.

    A publisher has no queue: a message that cannot be sent now is reported as lost at once, and stays in the outbox. It
    connects and reconnects automatically until it is stopped.

    If the peer is not a broker, such as a Greengrass nucleus:

    - If the peer's success means only that it has queued a message, for example in memory, the message is not delivered
      yet. The publisher waits for a confirmation that the message has arrived, such as its echo on a subscription to
      the same topic, and reports the message as lost if there is none in time. It is then published again.
    - If the peer fails while it is offline, and does not report when it is online again, the failed publish is lost,
      and `state` is not connected, with the reason, for a pause with exponential backoff; then connected again, for the
      next attempt. If it stayed connected, the sender would retry every second.
    - A message that is too large, or whose topic is not permitted, is REFUSED: at once if this is permanent, after some
      time if a change of settings may resolve it.
    """

    @property
    def payload_limit(self) -> int:
        """The maximum size of a payload in bytes; a larger one is refused, or may end the connection."""
        ...

    @property
    def state(self) -> PublisherState:
        """The current state of the connection."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `state` may have changed. Must be called before `start`.

        The listener is called on the publisher's own thread and must return at once.
        """
        ...

    def start(self) -> None:
        """Start to connect. An unreachable broker is not an error, but reported by `state`."""
        ...

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        """Publish at least once, and call `done` exactly once, from any thread, possibly before returning.

        `done` must return at once and not call the publisher.
        """
        ...

    def report(self, payload: bytes) -> None:
        """Make `payload` the retained status of the device, now and again after each new connection.

        Only the newest payload is kept: a new one replaces one that has not been sent yet.
        """
        ...

    def retain(self, *, topic: str, payload: bytes) -> None:
        """Make `payload` the retained message of a topic, as `report` does for the status.

        It is not stored in the outbox, and only the newest payload of a topic is published.
        """
        ...

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        """Publish `farewell` as the retained status, and disconnect.

        Every pending publish ends with its receipt. Returns after at most `timeout` seconds.
        Idempotent, and allowed without `start`.
        """
        ...


class DiscardPublisher:
    """Reports all messages as delivered, for `--broker none`.

    So the outbox numbers results as usual, but does not fill up.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._started = False

    @property
    def payload_limit(self) -> int:
        """The limit of MQTT, so that printed messages are the same as published ones."""
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

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:  # noqa: ARG002 - discarded
        """Report the message as delivered."""
        done(Receipt(Outcome.DELIVERED) if self._started else Receipt(Outcome.LOST, "stopped"))

    def report(self, payload: bytes) -> None:
        """Discard the status."""

    def retain(self, *, topic: str, payload: bytes) -> None:
        """Discard the message."""

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:  # noqa: ARG002 - discarded
        """Accept no more publishes."""
        self._set(started=False)

    def _set(self, *, started: bool) -> None:
        self._started = started
        for listener in self._listeners:
            listener()

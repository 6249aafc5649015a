"""Delivery to the nucleus: destinations with their limits, messages in flight, echoes, and denied topics."""

import bisect
import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from beeagent.greengrass.ipc import PUBLISH_TO_IOT_CORE, PUBLISH_TO_TOPIC, IpcConnection
from beeagent.outbox import Receipt
from beeagent.threads import Backoff

_PACKET_HEADER: Final = 20  # maximum bytes of an MQTT 5 PUBLISH packet without topic and payload
_MAX_TOPICS: Final = 64  # more than any device publishes on


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a nucleus lite. A classic one accepts more, but the agent cannot determine the kind of the nucleus.

    Attributes:
        payload_bytes: maximum payload of a message created by the agent.
        publish_bytes: maximum payload of any publish: lite refuses 7,100 and closes the connection at 10,000.
        echo_bytes: maximum packet on a subscription, with topic and header; the broker silently drops larger ones.
        in_flight: maximum number of publishes without echo.
        in_flight_bytes: maximum total size of their packets.
    """

    payload_bytes: int
    publish_bytes: int
    echo_bytes: int
    in_flight: int
    in_flight_bytes: int


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """A message to publish.

    Attributes:
        topic: topic of the message.
        payload: payload of the message.
        done: called once with the receipt.
        deadline: time limit of the next step, by `time.monotonic`.
        accepted: True if the nucleus has accepted it.
        retain: True if the broker is to retain it.
        qos: quality of service; 0 for a message that an offline nucleus is to drop, not to publish later.
        queued_order: position among waiting messages.
        sent_order: position among sent messages.
    """

    topic: str
    payload: bytes
    done: Callable[[Receipt], None]
    deadline: float = 0.0
    accepted: bool = False
    retain: bool = False
    qos: Literal[0, 1] = 1
    queued_order: int = 0
    sent_order: int = 0

    @property
    def packet_bytes(self) -> int:
        """Maximum size of the MQTT packet."""
        return len(self.topic.encode()) + len(self.payload) + _PACKET_HEADER


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination of messages.

    Attributes:
        limits: limits of messages.
        operation: operation that `accessControl` must permit.
        publish: called with the SDK's client and a message; returns the future of the response; may raise.
    """

    limits: Limits
    operation: str
    publish: Callable[[Any, "OutgoingMessage"], "Future[Any]"]


def _publish_to_iot_core(client: Any, message: "OutgoingMessage") -> "Future[Any]":  # noqa: ANN401 - untyped package
    future: Future[Any] = client.publish_to_iot_core_async(
        topic_name=message.topic, qos=str(message.qos), payload=message.payload, retain=message.retain or None
    )
    return future


def _publish_to_topic(client: Any, message: "OutgoingMessage") -> "Future[Any]":  # noqa: ANN401 - untyped package
    from awsiot.greengrasscoreipc import model  # noqa: PLC0415 - an extra

    binary = model.PublishMessage(binary_message=model.BinaryMessage(message=message.payload))
    future: Future[Any] = client.publish_to_topic_async(topic=message.topic, publish_message=binary)
    return future


IOT_CORE: Final = Destination(
    # The iotcored of a nucleus lite holds at most 10 unacknowledged publishes of 15,000 bytes in total; some space is
    # left for the status and for other components.
    Limits(payload_bytes=4_800, publish_bytes=7_000, echo_bytes=5_000, in_flight=8, in_flight_bytes=12_000),
    PUBLISH_TO_IOT_CORE,
    _publish_to_iot_core,
)
"""AWS IoT Core."""

LOCAL_PUBSUB: Final = Destination(
    Limits(payload_bytes=7_000, publish_bytes=7_000, echo_bytes=7_000, in_flight=64, in_flight_bytes=1_000_000),
    PUBLISH_TO_TOPIC,
    _publish_to_topic,
)
"""Other components on the device, which receive the payload as bytes; nothing is retained."""


class InFlight:
    """The messages in flight, in the order in which they were sent, and the waiting messages. For one thread.

    A message occupies space until its echo arrives. Without echoes, the broker's acknowledgement is not visible, so it
    occupies space for a short additional time.

    Args:
        limits: the available space.
        settle_s: the additional time in seconds.

    Attributes:
        sent: the messages in flight.
    """

    def __init__(self, limits: Limits, *, settle_s: float) -> None:
        self._limits = limits
        self._settle = settle_s
        self.sent: list[OutgoingMessage] = []
        self._waiting: list[OutgoingMessage] = []
        self._settling: list[tuple[float, int]] = []  # end of the additional time, and number of bytes
        self._queued_orders = itertools.count(1)
        self._sent_orders = itertools.count(1)

    def __contains__(self, message: OutgoingMessage) -> bool:
        """Return True if a message is in flight."""
        return message in self.sent

    def __bool__(self) -> bool:
        """Return True if any message is in flight or waiting."""
        return bool(self.sent or self._waiting)

    @property
    def deadline(self) -> float | None:
        """Time of the first deadline, or at which there may be space for a waiting message; None for never."""
        now = time.monotonic()
        settled = (until for until, _ in self._settling if self._waiting and until > now)
        return min((*(message.deadline for message in self.sent), *settled), default=None)

    @property
    def any_accepted(self) -> bool:
        """True if the nucleus has accepted a message that the broker may not have acknowledged yet."""
        now = time.monotonic()
        return any(until > now for until, _ in self._settling) or any(message.accepted for message in self.sent)

    def wait(self, message: OutgoingMessage) -> None:
        """Queue a message until there is space, in the order of the first attempts."""
        message.queued_order = message.queued_order or next(self._queued_orders)
        bisect.insort(self._waiting, message, key=lambda other: other.queued_order)

    def next(self) -> OutgoingMessage | None:
        """Remove and return the first waiting message; None without one, or without space for it."""
        now = time.monotonic()
        self._settling = [(until, size) for until, size in self._settling if until > now]
        sizes = [message.packet_bytes for message in self.sent] + [size for _, size in self._settling]
        if not self._waiting or len(sizes) >= self._limits.in_flight:
            return None
        if sizes and sum(sizes) + self._waiting[0].packet_bytes > self._limits.in_flight_bytes:
            return None
        return self._waiting.pop(0)

    def add(self, message: OutgoingMessage, *, timeout_s: float) -> None:
        """Record that a message is sent, with a time limit of `timeout_s` for the next step."""
        message.queued_order = message.queued_order or next(self._queued_orders)
        message.sent_order = next(self._sent_orders)
        message.deadline = time.monotonic() + timeout_s
        self.sent.append(message)

    def expired(self) -> list[OutgoingMessage]:
        """Return the messages whose deadline has passed."""
        now = time.monotonic()
        return [message for message in self.sent if now >= message.deadline]

    def take_back(self, message: OutgoingMessage) -> None:
        """Queue a message again that the nucleus refused for lack of space."""
        self.sent.remove(message)
        self.wait(message)

    def settle(self, message: OutgoingMessage, receipt: Receipt) -> None:
        """End a message that the nucleus has accepted but the broker may not have acknowledged yet."""
        self._settling.append((time.monotonic() + self._settle, message.packet_bytes))
        self.end(message, receipt)

    def end(self, message: OutgoingMessage, receipt: Receipt) -> None:
        """Remove a message, and report its receipt."""
        self.sent.remove(message)
        message.done(receipt)

    def end_waiting(self, receipt: Receipt) -> None:
        """Remove all waiting messages."""
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            message.done(receipt)

    def clear(self) -> list[OutgoingMessage]:
        """Remove and return all messages; the caller reports their receipts."""
        messages = [*self._waiting, *self.sent]
        self._waiting, self.sent = [], []
        return messages


class EchoSubscriptions:
    """Subscriptions in AWS IoT Core to the topics on which the agent publishes. For one thread.

    An echo proves that a message has arrived. The callbacks run on the connection's own thread.
    """

    def __init__(
        self, ipc: IpcConnection, *, on_echo: Callable[[str, bytes], None], on_end: Callable[[str, int], None]
    ) -> None:
        """Start without subscriptions.

        Args:
            ipc: the connection to the nucleus.
            on_echo: called with topic and payload of each message on a subscription.
            on_end: called with the topic and number of a subscription that has ended.
        """
        self._ipc = ipc
        self._on_echo = on_echo
        self._on_end = on_end
        self._streams: dict[str, tuple[int, Any]] = {}
        self._created = 0

    def __contains__(self, topic: str) -> bool:
        """Return True if there is a subscription to a topic."""
        return topic in self._streams

    def subscribe(self, topic: str) -> None:
        """Subscribe to a topic; blocks until the response.

        Raises:
            IpcError: the nucleus did not subscribe.
        """
        self._created += 1
        number, streams = self._created, list[Any]()

        def operation(client: Any) -> "Future[Any]":  # noqa: ANN401 - untyped package
            response: Future[Any]
            response, stream = client.subscribe_to_iot_core_async(
                topic_name=topic,
                qos="1",
                on_stream_event=partial(self._handle_event, topic),
                on_stream_error=lambda _: True,
                on_stream_closed=partial(self._on_end, topic, number),
            )
            streams.append(stream)
            return response

        self._ipc.call(operation)
        self._streams[topic] = number, streams[0]

    def unsubscribe(self, topic: str) -> None:
        """End the subscription to a topic, if there is one."""
        _, stream = self._streams.pop(topic, (0, None))
        if stream is not None:
            stream.close()

    def note_end(self, topic: str, number: int) -> bool:
        """Record the end of a subscription; return False if it was not the current one of the topic."""
        if topic not in self._streams or self._streams[topic][0] != number:
            return False
        del self._streams[topic]
        return True

    def clear(self) -> None:
        """Remove all subscriptions, after the end of their connection."""
        self._streams.clear()

    def close(self) -> None:
        """End all subscriptions."""
        for topic in list(self._streams):
            self.unsubscribe(topic)

    def _handle_event(self, topic: str, event: Any) -> None:  # noqa: ANN401 - untyped package
        if event.message is not None:
            self._on_echo(topic, event.message.payload or b"")


@dataclass(slots=True)
class _Denial:
    since: float
    until: float
    reason: str
    backoff: Backoff


class DeniedTopics:
    """Topics for which the component's configuration lacks a permission. For one thread.

    A deployment may add the permission at any time, so each topic is retried with exponential backoff. No topic is
    abandoned while no other topic is accepted. If others are accepted, a topic that is denied for too long belongs to
    an older configuration, and would only delay the others.
    """

    def __init__(self, *, backoff: Callable[[], Backoff], give_up_after_s: float) -> None:
        """Start without denied topics.

        Args:
            backoff: creates the backoff of a topic.
            give_up_after_s: seconds after which a topic is abandoned if others are accepted.
        """
        self._new_backoff = backoff
        self._give_up_after = give_up_after_s
        self._denials: dict[str, _Denial] = {}
        self._others_accepted_at = -1.0

    def note_denied(self, topic: str, reason: str) -> None:
        """Record that the nucleus has denied a topic."""
        now = time.monotonic()
        denial = self._denials.get(topic)
        if denial is None:
            if len(self._denials) >= _MAX_TOPICS:
                del self._denials[next(iter(self._denials))]
            denial = self._denials[topic] = _Denial(now, now, reason, self._new_backoff())
        denial.until, denial.reason = now + denial.backoff.next(), reason

    def note_accepted(self, topic: str) -> None:
        """Record that the nucleus has accepted a result on a topic."""
        self._denials.pop(topic, None)
        self._others_accepted_at = time.monotonic()

    def reason(self, topic: str) -> str | None:
        """Return the reason why a topic is not to be tried now; None if it is to be tried."""
        denial = self._denials.get(topic)
        return None if denial is None or time.monotonic() >= denial.until else denial.reason

    def is_given_up(self, topic: str) -> bool:
        """Return True if a topic is abandoned."""
        denial = self._denials.get(topic)
        if denial is None:
            return False
        return self._others_accepted_at > denial.since and time.monotonic() - denial.since >= self._give_up_after

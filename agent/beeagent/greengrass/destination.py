"""Where the nucleus publishes: AWS IoT Core or local pubsub, their limits, and the subscriptions that return echoes."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from beeagent.greengrass.access_control import PUBLISH_TO_IOT_CORE, PUBLISH_TO_TOPIC
from beeagent.greengrass.ipc import IpcConnection

_PACKET_HEADER: Final = 20  # bytes of an MQTT 5 PUBLISH packet beside topic and payload, at most


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a nucleus lite; a classic one accepts more, and which one it is cannot be found out.

    Attributes:
        payload_bytes: of a message that the agent creates.
        publish_bytes: of any publish: lite refuses 7,100 and closes the connection at 10,000.
        echo_bytes: of a packet on a subscription, with topic and header; the broker silently drops larger ones.
        in_flight: publishes without echo.
        in_flight_bytes: of those, in total.
    """

    payload_bytes: int
    publish_bytes: int
    echo_bytes: int
    in_flight: int
    in_flight_bytes: int

    def can_echo(self, topic: str, payload: bytes) -> bool:
        """Return whether a message fits into a packet on a subscription."""
        return packet_bytes(topic, payload) <= self.echo_bytes


def packet_bytes(topic: str, payload: bytes) -> int:
    """Return the size of a message's MQTT packet, at most."""
    return len(topic.encode()) + len(payload) + _PACKET_HEADER


class Destination(Protocol):
    """Where the nucleus publishes.

    Attributes:
        limits: of its messages.
        operation: that `accessControl` must permit.
    """

    limits: Limits
    operation: str

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401 - of a package without types
        """Call the nucleus, and return the future of its response; may raise anything."""
        ...


class IotCore:
    """AWS IoT Core, at QoS 1.

    The iotcored of a nucleus lite holds at most 10 unacknowledged publishes of 15,000 bytes in total; some of that is
    left for the status and for other components.
    """

    limits = Limits(payload_bytes=4_800, publish_bytes=7_000, echo_bytes=5_000, in_flight=8, in_flight_bytes=12_000)
    operation = PUBLISH_TO_IOT_CORE

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401 - of a package without types
        """Call `PublishToIoTCore`."""
        future: Future[Any] = client.publish_to_iot_core_async(
            topic_name=topic, qos="1", payload=payload, retain=retain or None
        )
        return future


class LocalPubsub:
    """Other components on the device, which receive the payload as bytes; nothing is retained."""

    limits = Limits(payload_bytes=7_000, publish_bytes=7_000, echo_bytes=7_000, in_flight=64, in_flight_bytes=1_000_000)
    operation = PUBLISH_TO_TOPIC

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401, ARG002 - as above
        """Call `PublishToTopic`."""
        from awsiot.greengrasscoreipc import model  # noqa: PLC0415 - an extra

        message = model.PublishMessage(binary_message=model.BinaryMessage(message=payload))
        future: Future[Any] = client.publish_to_topic_async(topic=topic, publish_message=message)
        return future


class EchoSubscriptions:
    """Subscriptions in AWS IoT Core to the topics on which the agent publishes. Used by one thread.

    An echo proves that a message has arrived. The callbacks run on the connection's own thread.
    """

    def __init__(
        self,
        ipc: IpcConnection,
        *,
        on_echo: Callable[[str, bytes], None],
        on_end: Callable[[str, int], None],
    ) -> None:
        """Set up; nothing is subscribed yet.

        Args:
            ipc: the connection to the nucleus.
            on_echo: called with topic and payload of each message on a subscription.
            on_end: called with a topic whose subscription has ended, for whatever reason, and with its number.
        """
        self._ipc = ipc
        self._on_echo = on_echo
        self._on_end = on_end
        self._streams: dict[str, tuple[int, Any]] = {}
        self._created = 0

    def __contains__(self, topic: str) -> bool:
        """Whether there is a subscription to a topic."""
        return topic in self._streams

    def subscribe(self, topic: str) -> None:
        """Subscribe to a topic; blocks until that is done.

        Raises:
            IpcError: the nucleus did not subscribe.
        """
        self._created += 1
        number, streams = self._created, list[Any]()

        def operation(client: Any) -> "Future[Any]":  # noqa: ANN401 - of a package without types
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
        """Take the arguments of `on_end`; return whether it was the current subscription, not an earlier one."""
        if topic not in self._streams or self._streams[topic][0] != number:
            return False
        del self._streams[topic]
        return True

    def clear(self) -> None:
        """Note that all subscriptions have ended with their connection."""
        self._streams.clear()

    def close(self) -> None:
        """End all subscriptions."""
        for topic in list(self._streams):
            self.unsubscribe(topic)

    def _handle_event(self, topic: str, event: Any) -> None:  # noqa: ANN401 - of a package without types
        if event.message is not None:
            self._on_echo(topic, event.message.payload or b"")

"""Where a nucleus is to publish: the call for each, its limits, and nothing else."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol

from beeagent.greengrass.missing_rights import PUBLISH_TO_IOT_CORE, PUBLISH_TO_TOPIC

_PACKET_HEADER: Final = 20  # bytes of an MQTT 5 PUBLISH packet beside topic and payload, generously


@dataclass(frozen=True, slots=True)
class Limits:
    """What a nucleus lite takes; a classic one takes more, and which one it is cannot be asked.

    Attributes:
        payload_bytes: of a message that the agent makes.
        publish_bytes: of any publish: lite refuses 7,100 and closes the connection at 10,000.
        echo_bytes: of a packet that comes back on a subscription, with topic and header; the broker drops larger ones
            in silence.
        under_way: publishes that have not come back yet.
        under_way_bytes: of those, all together.
    """

    payload_bytes: int
    publish_bytes: int
    echo_bytes: int
    under_way: int
    under_way_bytes: int

    def echoes(self, topic: str, payload: bytes) -> bool:
        """Return whether a message can come back on a subscription."""
        return packet_bytes(topic, payload) <= self.echo_bytes


def packet_bytes(topic: str, payload: bytes) -> int:
    """Return the size of the MQTT packet of a message, at most."""
    return len(topic.encode()) + len(payload) + _PACKET_HEADER


class Destination(Protocol):
    """Begins to publish.

    Attributes:
        limits: what it takes.
        operation: the right that it needs, as in `accessControl`.
    """

    limits: Limits
    operation: str

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401 - of a package without types
        """Ask the nucleus, and give what will tell of its answer; it raises whatever it likes where that fails."""
        ...


class ToIotCore:
    """AWS IoT Core, at QoS 1.

    The iotcored of a nucleus lite keeps at most 10 publishes and 15,000 bytes that are not acknowledged; some of that
    is left for the status and for other components.
    """

    limits = Limits(payload_bytes=4_800, publish_bytes=7_000, echo_bytes=5_000, under_way=8, under_way_bytes=12_000)
    operation = PUBLISH_TO_IOT_CORE

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401 - of a package without types
        """Ask for `PublishToIoTCore`."""
        future: Future[Any] = client.publish_to_iot_core_async(
            topic_name=topic, qos="1", payload=payload, retain=retain or None
        )
        return future


class ToComponents:
    """Other components on the device, which get the payload as bytes; nothing is retained for those that come later."""

    limits = Limits(payload_bytes=7_000, publish_bytes=7_000, echo_bytes=7_000, under_way=64, under_way_bytes=1_000_000)
    operation = PUBLISH_TO_TOPIC

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401, ARG002 - as above
        """Ask for `PublishToTopic`."""
        from awsiot.greengrasscoreipc import model  # noqa: PLC0415 - an extra

        message = model.PublishMessage(binary_message=model.BinaryMessage(message=payload))
        future: Future[Any] = client.publish_to_topic_async(topic=topic, publish_message=message)
        return future

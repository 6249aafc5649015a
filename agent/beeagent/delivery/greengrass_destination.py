"""Where a nucleus is to publish: the call for each, and nothing else."""

from concurrent.futures import Future
from typing import Any, Protocol


class Destination(Protocol):
    """Begins to publish."""

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401 - of a package without types
        """Ask the nucleus, and give what will tell of its answer; it raises whatever it likes where that fails."""
        ...


class ToIotCore:
    """AWS IoT Core, at QoS 1."""

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401 - of a package without types
        """Ask for `PublishToIoTCore`."""
        future: Future[Any] = client.publish_to_iot_core_async(
            topic_name=topic, qos="1", payload=payload, retain=retain or None
        )
        return future


class ToComponents:
    """Other components on the device, which get the payload as bytes; nothing is retained for those that come later."""

    def publish(self, client: Any, topic: str, payload: bytes, *, retain: bool) -> "Future[Any]":  # noqa: ANN401, ARG002 - as above
        """Ask for `PublishToTopic`."""
        from awsiot.greengrasscoreipc import model  # noqa: PLC0415 - an extra

        message = model.PublishMessage(binary_message=model.BinaryMessage(message=payload))
        future: Future[Any] = client.publish_to_topic_async(topic=topic, publish_message=message)
        return future

"""A subscriber made with paho alone, independent of beeagent's own connection."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_DEADLINE = 45.0


class Subscriber:
    """Collects what arrives on some topics."""

    def __init__(
        self, *, host: str, port: int, topics: list[str], protocol: MQTTProtocolVersion, persistent: bool
    ) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._arrived = threading.Condition()
        self._subscribed = threading.Event()
        self._topics = topics
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"test-{uuid.uuid4().hex[:12]}", protocol=protocol
        )
        self.client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = lambda _client, _data, message: self._take(message)
        self.client.reconnect_delay_set(min_delay=1, max_delay=1)
        if persistent:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves this one untyped
            properties.SessionExpiryInterval = 3600
            self.client.connect(host, port, clean_start=False, properties=properties)
        else:
            self.client.connect(host, port)
        self.client.loop_start()
        assert self._subscribed.wait(_DEADLINE)

    def wait_for(self, count: int, *, topic_end: str = "", deadline: float = _DEADLINE) -> list[paho.MQTTMessage]:
        """Wait for a number of messages on topics with this suffix, and return all of them."""
        self.wait_until(lambda: len(self._on(topic_end)) >= count, deadline=deadline)
        return self._on(topic_end)

    def wait_until(self, condition: Callable[[], bool], *, deadline: float = _DEADLINE) -> None:
        """Wait until the condition holds; it is checked after each message."""
        with self._arrived:
            assert self._arrived.wait_for(condition, deadline), [
                (message.topic, message.payload[:300]) for message in self.messages
            ]

    def payloads(self, topic_end: str = "") -> list[bytes]:
        return [bytes(message.payload) for message in self._on(topic_end)]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on(self, topic_end: str) -> list[paho.MQTTMessage]:
        return [message for message in self.messages if message.topic.endswith(topic_end)]

    def _take(self, message: paho.MQTTMessage) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()


@contextmanager
def subscriber(
    port: int,
    *topics: str,
    protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    persistent: bool = False,
    host: str = "127.0.0.1",
) -> Iterator[Subscriber]:
    """Subscribe for as long as the context lasts; to everything unless topics are given.

    A persistent one keeps its session at the broker while it is not connected (MQTT 5 only).
    """
    subscribed = Subscriber(
        host=host, port=port, topics=list(topics) or ["#"], protocol=protocol, persistent=persistent
    )
    try:
        yield subscribed
    finally:
        subscribed.close()

"""paho's client, set up the way beeagent uses it."""

from collections.abc import Callable
from dataclasses import dataclass

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from beeagent.mqtt.dialect import MQTT_5, Dialect
from beeagent.mqtt.options import MqttOptions


@dataclass(frozen=True, slots=True)
class RetainedMessage:
    """What stays on a topic for those who subscribe later."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came in; `retained` if it was there before the subscription."""

    topic: str
    payload: bytes
    retained: bool


class PingingClient(paho.Client):
    """paho's client, which can ask the broker for a PINGRESP at any time, and reports all of them.

    paho has no public method for it; these two are the whole of what is used of its inside.
    """

    on_ping: Callable[[], None]
    on_pong: Callable[[], None]

    def ping(self) -> None:
        """Send a PINGREQ."""
        self._send_pingreq()

    def _send_pingreq(self) -> MQTTErrorCode:
        sent = super()._send_pingreq()
        if sent == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.on_ping()
        return sent

    def _handle_pingresp(self) -> MQTTErrorCode:
        handled = super()._handle_pingresp()
        self.on_pong()
        return handled


def make_client(*, options: MqttOptions, dialect: Dialect, will: RetainedMessage | None) -> PingingClient:
    """Make a client for one connection: it starts clean, leaves no session behind, and does not reconnect.

    Args:
        options: who connects, and how to be let in.
        dialect: which version of MQTT to speak, and which of its features to use.
        will: published by the broker, retained where it can be, if the connection ends without a word.
    """
    client = PingingClient(
        callback_api_version=CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if dialect.version == MQTT_5 else True,
        protocol=dialect.version,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # no bound here: the connection keeps it, with what the broker allows
    client.connect_timeout = options.connect_timeout_s
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    if options.tls is not None:
        client.tls_set_context(options.tls)
    if will is not None:
        properties = message_properties(dialect.version, PacketTypes.WILLMESSAGE)
        client.will_set(will.topic, will.payload, qos=dialect.qos, retain=dialect.retain, properties=properties)
    return client


def connect_size(options: MqttOptions, dialect: Dialect, will: RetainedMessage | None) -> int:
    """Return the bytes of the CONNECT packet of `make_client`'s client, to within a dozen."""
    texts = [options.client_id, options.username or "", options.password or "", will.topic if will else ""]
    size = 20 + sum(2 + len(text.encode()) for text in texts) + (2 + len(will.payload) if will else 0)
    properties = message_properties(dialect.version, PacketTypes.WILLMESSAGE) if will else None
    return size + (len(properties.pack()) if properties else 0)  # type: ignore[no-untyped-call] # as below


def message_properties(version: MQTTProtocolVersion, packet_type: int) -> Properties | None:
    """Give the properties that mark a payload as JSON; MQTT 3.1.1 has none."""
    if version != MQTT_5:
        return None
    properties = Properties(packet_type)  # type: ignore[no-untyped-call] # paho leaves this one untyped
    properties.PayloadFormatIndicator = 1  # UTF-8
    properties.ContentType = "application/json"
    return properties

"""paho's client, set up the way beeagent uses it."""

from dataclasses import dataclass
from typing import Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from beeagent.delivery.mqtt_options import MqttOptions

MQTT_5: Final = MQTTProtocolVersion.MQTTv5
MQTT_3: Final = MQTTProtocolVersion.MQTTv311


def first_version(options: MqttOptions) -> MQTTProtocolVersion:
    """Give the version of MQTT to try first."""
    return MQTT_5 if options.address.mqtt == "5" else MQTT_3


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


def make_client(*, options: MqttOptions, version: MQTTProtocolVersion, will: RetainedMessage | None) -> paho.Client:
    """Make a client for one connection: it starts clean, leaves no session behind, and does not reconnect.

    Args:
        options: who connects, and how to be let in.
        version: of MQTT to speak.
        will: published by the broker, retained, if the connection ends without a word.
    """
    client = paho.Client(
        callback_api_version=CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if version == MQTT_5 else True,
        protocol=version,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # no bound here: the connection keeps it, with what the broker allows
    client.connect_timeout = options.connect_timeout_s
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    if options.tls is not None:
        client.tls_set_context(options.tls)
    if will is not None:
        properties = message_properties(version, PacketTypes.WILLMESSAGE)
        client.will_set(will.topic, will.payload, qos=1, retain=True, properties=properties)
    return client


def message_properties(version: MQTTProtocolVersion, packet_type: int) -> Properties | None:
    """Give the properties that mark a payload as JSON; MQTT 3.1.1 has none."""
    if version != MQTT_5:
        return None
    properties = Properties(packet_type)  # type: ignore[no-untyped-call] # paho leaves this one untyped
    properties.PayloadFormatIndicator = 1  # UTF-8
    properties.ContentType = "application/json"
    return properties

"""Publishing to an MQTT broker, and subscribing to one."""

from beeagent.mqtt.client import Received
from beeagent.mqtt.embedded import EmbeddedBroker
from beeagent.mqtt.options import (
    BrokerAddress,
    Embedded,
    Greengrass,
    MqttOptions,
    NoBroker,
    Version,
    mqtt_options,
    parse_broker,
)
from beeagent.mqtt.poison import BREAKS_CONNECTION, FORBIDDEN, PoisonDetector
from beeagent.mqtt.publisher import MqttPublisher
from beeagent.mqtt.subscription import Subscription, reader_id

__all__ = [
    "BREAKS_CONNECTION",
    "FORBIDDEN",
    "BrokerAddress",
    "Embedded",
    "EmbeddedBroker",
    "Greengrass",
    "MqttOptions",
    "MqttPublisher",
    "NoBroker",
    "PoisonDetector",
    "Received",
    "Subscription",
    "Version",
    "mqtt_options",
    "parse_broker",
    "reader_id",
]

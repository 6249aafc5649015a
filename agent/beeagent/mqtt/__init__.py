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
    check_home_assistant_broker,
    mqtt_options,
    parse_broker,
)
from beeagent.mqtt.poison import BREAKS_CONNECTION, FORBIDDEN, PoisonDetector
from beeagent.mqtt.publisher import MqttPublisher
from beeagent.mqtt.subscription import Subscription, clear_retained, reader_id

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
    "check_home_assistant_broker",
    "clear_retained",
    "mqtt_options",
    "parse_broker",
    "reader_id",
]

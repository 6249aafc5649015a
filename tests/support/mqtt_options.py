"""Options of a connection, from single settings of the section `mqtt`."""

from typing import Any

from beeagent import mqtt
from beeagent.mqtt import BrokerAddress, MqttOptions
from beeagent.settings import MqttSettings


def mqtt_options(*, address: BrokerAddress, client_id: str, **settings: Any) -> MqttOptions:  # noqa: ANN401 - settings
    """Return the options that the agent would use with these settings."""
    return mqtt.mqtt_options(MqttSettings(**settings), address=address, client_id=client_id)

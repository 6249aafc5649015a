"""What the settings choose of the way out of the device."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from beeagent.errors import BeeagentError, InputError
from beeagent.messages import status_topic
from beeagent.mqtt import BrokerAddress, Embedded, Greengrass, MqttPublisher, NoBroker, parse_broker
from beeagent.outbox import DiscardPublisher, Publisher
from beeagent.runtime.factory import chosen_mqtt_options
from beeagent.settings import Settings

if TYPE_CHECKING:
    from beeagent.greengrass import IpcConnection


def chosen_publisher(
    settings: Settings,
    *,
    broker: BrokerAddress | None,
    ipc: "IpcConnection | None",
    last_will: Callable[[], bytes],
) -> Publisher:
    """Get ready to publish where the settings say.

    Args:
        settings: of which the broker, and how to be let in there, count.
        broker: where results go, in place of what the settings say.
        ipc: connection to the Greengrass nucleus; None if this process is not a component.
        last_will: gives the payload of the last will; a nucleus takes none.

    Raises:
        InputError: what the settings say of the broker cannot be used.
    """
    address = broker or parse_broker(settings.mqtt.broker)
    topic = status_topic(settings.messages.topic_prefix, settings.agent.device)
    if isinstance(address, NoBroker):
        return DiscardPublisher()
    if isinstance(address, Embedded):
        raise BeeagentError("the embedded broker is started by whoever runs the agent, and its address given")
    if isinstance(address, BrokerAddress):
        client_id = settings.mqtt.client_id or f"beeagent-{settings.agent.device}-{settings.camera.name}"
        options = chosen_mqtt_options(settings, address=address, client_id=client_id)
        return MqttPublisher(options=options, status_topic=topic, last_will=last_will)
    return _greengrass(settings, address, topic, ipc)


def _greengrass(settings: Settings, address: Greengrass, topic: str, ipc: "IpcConnection | None") -> Publisher:
    if ipc is None:
        raise InputError(
            f"broker {address} is the nucleus of a Greengrass component, and this is none: give --greengrass there, or "
            "another broker here"
        )
    from beeagent.greengrass import GreengrassPublisher  # noqa: PLC0415 - for Greengrass only

    return GreengrassPublisher(
        ipc=ipc,
        destination=address.destination,
        status_topic=topic,
        confirmation=settings.greengrass.confirm,
    )

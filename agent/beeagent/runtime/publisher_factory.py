"""What the settings choose of the way out of the device."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from beeagent.errors import BeeagentError, InputError
from beeagent.messages.topics import status_topic
from beeagent.mqtt.broker_url import BrokerAddress, Embedded, Greengrass, NoBroker, parse_broker
from beeagent.mqtt.publisher import MqttPublisher
from beeagent.outbox.discard import DiscardPublisher
from beeagent.outbox.publisher import Publisher
from beeagent.runtime.factory import chosen_mqtt_options
from beeagent.settings import Settings

if TYPE_CHECKING:
    from beeagent.greengrass.ipc import NucleusConnection


def chosen_publisher(
    settings: Settings,
    *,
    broker: BrokerAddress | None,
    nucleus: "NucleusConnection | None",
    last_will: Callable[[], bytes],
) -> Publisher:
    """Get ready to publish where the settings say.

    Args:
        settings: of which the broker, and how to be let in there, count.
        broker: where results go, in place of what the settings say.
        nucleus: of the Greengrass component that this process is; None where it is none.
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
    return _greengrass(settings, address, topic, nucleus)


def _greengrass(settings: Settings, address: Greengrass, topic: str, nucleus: "NucleusConnection | None") -> Publisher:
    if nucleus is None:
        raise InputError(
            f"broker {address} is the nucleus of a Greengrass component, and this is none: give --greengrass there, or "
            "another broker here"
        )
    from beeagent.greengrass.publisher import GreengrassPublisher  # noqa: PLC0415 - its package is an extra

    return GreengrassPublisher(
        nucleus=nucleus,
        destination=address.destination,
        status_topic=topic,
        confirmation=settings.greengrass.confirm,
    )

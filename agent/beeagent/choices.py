"""What the settings choose: the model, and how to be let in by the broker."""

from beeagent.config import Settings
from beeagent.delivery.broker_url import BrokerAddress
from beeagent.delivery.mqtt_options import MqttOptions, mqtt_options
from beeagent.detection.bundle import ModelBundle, load_bundle
from beeagent.detection.shipped import shipped_bundle


def chosen_bundle(settings: Settings) -> ModelBundle:
    """Load the model that the settings name, or the bee model that comes along.

    Raises:
        InputError: it cannot be used.
        BeeagentError: the installation lacks the bee model.
    """
    return load_bundle(settings.model or shipped_bundle(), labels=settings.labels)


def chosen_mqtt_options(settings: Settings, *, address: BrokerAddress, client_id: str) -> MqttOptions:
    """Put together what the settings say of a broker.

    Args:
        settings: of which user, password and certificates count.
        address: of the broker, from the settings or not.
        client_id: who connects.

    Raises:
        InputError: things contradict each other, or a file cannot be used.
    """
    return mqtt_options(
        address=address,
        client_id=client_id,
        username=settings.mqtt_username,
        password=settings.password(),
        ca_file=settings.mqtt_ca_file,
        certificate_file=settings.mqtt_certificate_file,
        key_file=settings.mqtt_key_file,
    )

"""What is needed to connect to an MQTT broker."""

import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from beeagent.errors import InputError
from beeagent.mqtt.broker_url import BrokerAddress
from beeagent.mqtt.dialect import Version
from beeagent.mqtt.tls import tls_context


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """Where the broker is and how to be let in. `mqtt_options` checks and builds one.

    Attributes:
        address: of the broker.
        client_id: who connects; a broker ends the connection of another client of the same id.
        username: None to give none.
        password: None to give none. Not shown when this object is printed.
        tls: what to trust and what to show, for `mqtts`; None for `mqtt`.
        version: of MQTT to speak.
        keepalive_s: seconds of silence after which each side asks whether the other is there.
        connect_timeout_s: seconds for each step of connecting: TCP, TLS, the broker's answer.
        acknowledge_timeout_s: seconds after which a publish without acknowledgement ends the connection.
        max_in_flight: publishes without acknowledgement at any time, at most.
    """

    address: BrokerAddress
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    version: Version = "auto"
    keepalive_s: int = 30
    connect_timeout_s: float = 10.0
    acknowledge_timeout_s: float = 60.0
    max_in_flight: int = 16

    def __post_init__(self) -> None:
        if self.address.tls != (self.tls is not None):
            raise ValueError(
                f"{self.address} and TLS settings {'given' if self.tls else 'absent'} contradict each other"
            )
        if self.password is not None and self.username is None:
            raise InputError("mqtt_password is set and mqtt_username is not: give the user name that belongs to it")
        # AWS IoT takes 30 to 1200 s; MQTT's field ends at 65535.
        if not 1 <= self.keepalive_s <= 65535:
            raise ValueError(f"keepalive_s {self.keepalive_s} is not within 1 to 65535")
        if self.max_in_flight < 1 or self.connect_timeout_s <= 0 or self.acknowledge_timeout_s <= 0:
            raise ValueError("max_in_flight and the time-outs must be positive")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and yet unsafe, a line each."""
        lines = []
        if self.tls is not None and self.tls.verify_mode is ssl.CERT_NONE:
            lines.append(
                f"insecure_tls is set: whoever answers at {self.address} is taken for the broker, and could read and "
                "change everything; give the broker's authority as mqtt_ca_file instead"
            )
        if self.tls is None and self.username is not None and not _is_this_machine(self.address.host):
            lines.append(
                f"user name and password go to {self.address} in clear text, for everyone on the way to read: "
                "give the broker as mqtts://"
            )
        return tuple(lines)


def mqtt_options(  # noqa: PLR0913 - what a user can set for a broker
    *,
    address: BrokerAddress,
    client_id: str,
    username: str | None = None,
    password: str | None = None,
    ca_file: Path | None = None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
    insecure: bool = False,
    version: Version = "auto",
) -> MqttOptions:
    """Check what a user gave for a broker, and put it together.

    Args:
        address: of the broker; a user name in it counts as `username`.
        client_id: who connects.
        username: for the broker.
        password: for the broker.
        ca_file: PEM file of the authorities to trust instead of the system's.
        certificate_file: PEM file of the client's certificate, with `key_file`.
        key_file: PEM file of the certificate's key, without a passphrase.
        insecure: trust any certificate.
        version: of MQTT to speak; `auto` for 5, and 3.1.1 with a broker that does not know 5.

    Raises:
        InputError: things contradict each other, or a file cannot be used.
    """
    if address.username is not None:
        if username not in (None, address.username):
            raise InputError(
                f"the broker's address names the user {address.username!r} and mqtt_username says {username!r}: "
                "give one of them"
            )
        username = address.username
    if version == "auto":
        version = address.mqtt
    files = {"mqtt_ca_file": ca_file, "mqtt_certificate_file": certificate_file, "mqtt_key_file": key_file}
    if not address.tls:
        for key, path in files.items():
            if path is not None:
                raise InputError(f"{key} {path} is set and {address} has no TLS: give the broker as mqtts://")
        if insecure:
            raise InputError(f"insecure_tls is set and {address} has no TLS anyway: leave it out")
        return MqttOptions(address=address, client_id=client_id, username=username, password=password, version=version)
    tls = tls_context(
        address=address,
        ca_file=ca_file,
        certificate_file=certificate_file,
        key_file=key_file,
        insecure=insecure,
    )
    return MqttOptions(
        address=address, client_id=client_id, username=username, password=password, tls=tls, version=version
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, section 6.3

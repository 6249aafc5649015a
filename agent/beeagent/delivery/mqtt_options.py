"""What is needed to connect to an MQTT broker."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from beeagent.delivery.broker_url import BrokerAddress
from beeagent.errors import InputError


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """Where the broker is and how to be let in. `mqtt_options` checks and builds one.

    Attributes:
        address: of the broker.
        client_id: who connects; a broker ends the connection of another client of the same id.
        username: None to give none.
        password: None to give none. Not shown when this object is printed.
        tls: what to trust and what to show, for `mqtts`; None for `mqtt`.
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


def mqtt_options(  # noqa: PLR0913 - what a user can set for a broker
    *,
    address: BrokerAddress,
    client_id: str,
    username: str | None = None,
    password: str | None = None,
    ca_file: Path | None = None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
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
    files = {"mqtt_ca_file": ca_file, "mqtt_certificate_file": certificate_file, "mqtt_key_file": key_file}
    if not address.tls:
        for key, path in files.items():
            if path is not None:
                raise InputError(f"{key} {path} is set and {address} has no TLS: give the broker as mqtts://")
        return MqttOptions(address=address, client_id=client_id, username=username, password=password)
    tls = _tls(ca_file=ca_file, certificate_file=certificate_file, key_file=key_file)
    return MqttOptions(address=address, client_id=client_id, username=username, password=password, tls=tls)


def _tls(*, ca_file: Path | None, certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    if (certificate_file is None) != (key_file is None):
        raise InputError("mqtt_certificate_file and mqtt_key_file go together: give both or none")
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        raise InputError(f"mqtt_ca_file {ca_file} cannot be used: {_words(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate_file is not None and key_file is not None:

        def no_passphrase() -> str:
            # Without this, OpenSSL asks for it on the terminal, and a service would wait there for ever.
            raise InputError(f"mqtt_key_file {key_file} has a passphrase, which nobody can type here: give one without")

        try:
            context.load_cert_chain(str(certificate_file), str(key_file), password=no_passphrase)
        except (OSError, ValueError) as error:
            raise InputError(
                f"mqtt_certificate_file {certificate_file} with mqtt_key_file {key_file} cannot be used: "
                f"{_words(error)}"
            ) from error
    return context


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file").replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

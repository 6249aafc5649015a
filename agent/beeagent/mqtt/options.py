"""The settings of a connection to an MQTT broker: address, TLS, credentials."""

import ipaddress
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from beeagent.errors import InputError
from beeagent.settings import MqttSettings

Version: TypeAlias = Literal["auto", "5", "3.1.1"]

DEFAULT_PORT: Final = 1883
DEFAULT_TLS_PORT: Final = 8883

_FORMS: Final = (
    "give mqtt://HOST[:PORT], mqtts://HOST[:PORT], embedded or none, such as mqtt://127.0.0.1:1883; in a Greengrass "
    "component also greengrass://iot-core or greengrass://local"
)
_MAX_PORT: Final = 65535
_MAX_NAME: Final = 253  # bytes of a host name, RFC 1035
# AWS IoT Core accepts MQTT with a client certificate on port 443 with this ALPN protocol.
# https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
_AWS_ALPN: Final = "x-amzn-mqtt-ca"
_AWS_ALPN_PORT: Final = 443
_AWS_IOT: Final = re.compile(r"\.iot\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\.?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker to connect to.

    Attributes:
        host: host name, or IPv4 or IPv6 address without brackets.
        port: port, 1 to 65535.
        tls: True for `mqtts`.
        username: decoded user name in the URL; None without one.
        mqtt: version of MQTT that the broker is known to support; `auto` if unknown.
    """

    host: str
    port: int
    tls: bool
    username: str | None = None
    mqtt: Literal["auto", "3.1.1"] = "auto"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Embedded:
    """The broker in this process, `beeagent.mqtt.EmbeddedBroker`."""


@dataclass(frozen=True, slots=True)
class NoBroker:
    """Nothing is published."""


@dataclass(frozen=True, slots=True)
class Greengrass:
    """The nucleus that runs this process as a Greengrass component.

    Attributes:
        destination: destination of messages: AWS IoT Core, or other components on the device.
    """

    destination: Literal["iot-core", "local"]

    def __str__(self) -> str:
        return f"greengrass://{self.destination}"


def parse_broker(text: str) -> BrokerAddress | Embedded | NoBroker | Greengrass:
    """Parse an address such as `mqtt://hive.local`, `mqtts://bee@[2001:db8::1]:8884`, `embedded` or `none`.

    In a Greengrass component, `greengrass://iot-core` and `greengrass://local` are valid too. The default port is 1883
    for `mqtt` and 8883 for `mqtts`.

    Raises:
        InputError: the text is none of these, or contains a password.
    """
    if text == "embedded":
        return Embedded()
    if text == "none":
        return NoBroker()
    if text == "greengrass://iot-core":
        return Greengrass("iot-core")
    if text == "greengrass://local":
        return Greengrass("local")
    return _address(text)


def check_home_assistant_broker(address: BrokerAddress | Embedded | NoBroker | Greengrass, *, text: str) -> None:
    """Check that Home Assistant can use a broker.

    Args:
        address: address of the broker.
        text: the address as written by the user.

    Raises:
        InputError: Home Assistant cannot use the broker.
    """
    if isinstance(address, NoBroker):
        reason = "nothing is published"
    elif isinstance(address, Greengrass):
        reason = "Home Assistant has no connection to a Greengrass nucleus"
    elif isinstance(address, BrokerAddress) and _AWS_IOT.search(address.host):
        # It ends the connection if a SUBSCRIBE has more than 8 topic filters; Home Assistant sends hundreds.
        # https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
        reason = "Home Assistant cannot use AWS IoT Core, which ends the connection when it subscribes"
    else:
        return
    raise InputError(
        f"home_assistant is on, and broker is {text}: {reason}; give the broker that Home Assistant is connected to, "
        "which can be bridged to AWS IoT Core"
    )


class ErrorKeepingSocket(ssl.SSLSocket):
    """A TLS socket that keeps its last error.

    In TLS 1.3, a broker that rejects the client certificate reports it only after the handshake, where paho discards
    the error.
    """

    fault: ssl.SSLError | None = None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read, as `ssl.SSLSocket.recv`."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.fault = error
            raise

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ANN401 - Buffer, which does not exist in Python 3.10
        """Write, as `ssl.SSLSocket.send`; if the peer has closed the connection, read its TLS alert."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            with suppress(OSError):
                self.recv(1)
            raise


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """The broker and the credentials for it. `mqtt_options` checks and builds one.

    Attributes:
        address: address of the broker.
        client_id: client id, unique among the clients of the broker.
        username: user name; None for none.
        password: password, excluded from `repr`; None for none.
        tls: TLS context for `mqtts`; None for `mqtt`.
        version: version of MQTT to use.
        keepalive_s: seconds without traffic after which the client sends a PINGREQ.
        connect_timeout_s: time-out in seconds of each step of connecting: TCP, TLS, CONNACK.
        acknowledge_timeout_s: seconds after which a publish without acknowledgement ends the connection.
        max_in_flight: maximum number of unacknowledged publishes.
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
        # AWS IoT accepts 30 to 1200 s; the maximum in MQTT is 65535.
        if not 1 <= self.keepalive_s <= 65535:
            raise ValueError(f"keepalive_s {self.keepalive_s} is not within 1 to 65535")
        if self.max_in_flight < 1 or self.connect_timeout_s <= 0 or self.acknowledge_timeout_s <= 0:
            raise ValueError("max_in_flight and the time-outs must be positive")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about allowed but unsafe settings, one line each."""
        lines = []
        if self.tls is not None and self.tls.verify_mode is ssl.CERT_NONE:
            lines.append(
                f"insecure_tls is set: the certificate of {self.address} is not verified, so another server could "
                "read and change everything; set mqtt_ca_file to the broker's certificate authority instead"
            )
        if self.tls is None and self.username is not None and not _is_this_machine(self.address.host):
            lines.append(
                f"user name and password are sent to {self.address} in clear text, which others can read: "
                "give the broker as mqtts://"
            )
        return tuple(lines)


def mqtt_options(settings: MqttSettings, *, address: BrokerAddress, client_id: str) -> MqttOptions:
    """Check the settings of a broker, and build the options of a connection.

    Args:
        settings: user, password, certificates and version of MQTT.
        address: address of the broker; its user name, if any, counts as that of the settings.
        client_id: client id of the agent or the command.

    Raises:
        InputError: settings contradict each other, or a file cannot be used.
    """
    username = settings.username
    if address.username is not None:
        if username not in (None, address.username):
            raise InputError(
                f"the broker's address has the user {address.username!r} and mqtt_username is {username!r}: "
                "set one of them"
            )
        username = address.username
    if not address.tls:
        for name in ("ca_file", "certificate_file", "key_file"):
            if (path := getattr(settings, name)) is not None:
                raise InputError(f"mqtt_{name} {path} is set and {address} has no TLS: give the broker as mqtts://")
        if settings.insecure_tls:
            raise InputError(f"insecure_tls is set and {address} has no TLS anyway: leave it out")
    return MqttOptions(
        address=address,
        client_id=client_id,
        username=username,
        password=settings.read_password(),
        tls=_tls_context(settings, address) if address.tls else None,
        version=address.mqtt if settings.version == "auto" else settings.version,
    )


def _tls_context(settings: MqttSettings, address: BrokerAddress) -> ssl.SSLContext:
    ca_file, certificate_file, key_file = settings.ca_file, settings.certificate_file, settings.key_file
    if (certificate_file is None) != (key_file is None):
        raise InputError("mqtt_certificate_file and mqtt_key_file go together: give both or none")
    if settings.insecure_tls and ca_file is not None:
        raise InputError(
            f"insecure_tls accepts any certificate, and mqtt_ca_file {ca_file} is set too: set one of them"
        )
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        raise InputError(f"mqtt_ca_file {ca_file} cannot be used: {_words(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = ErrorKeepingSocket
    if settings.insecure_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate_file is not None and key_file is not None:
        _load_certificate(context, certificate_file, key_file)
        if address.port == _AWS_ALPN_PORT:
            context.set_alpn_protocols([_AWS_ALPN])
    return context


def _address(text: str) -> BrokerAddress:
    scheme, separator, rest = text.partition("://")
    tls = scheme.lower() == "mqtts"
    if not separator or scheme.lower() not in ("mqtt", "mqtts"):
        raise InputError(f"broker {_without_password(text)!r} is not understood: {_FORMS}")
    if ":" in rest.rpartition("@")[0]:
        raise InputError(
            f"broker {_without_password(text)!r} has a password in it, where others can read it: leave it out of the "
            "address and set BEEAGENT_MQTT_PASSWORD or mqtt_password_file"
        )
    if not text.isprintable() or any(character.isspace() or character in "?#\\" for character in text):
        raise InputError(f"broker {text!r} contains an invalid character: {_FORMS}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"broker {text!r} is malformed ({error}): {_FORMS}") from error
    if parts.path not in ("", "/"):
        raise InputError(f"broker {text!r} has text after the host and port: {_FORMS}")
    if not host or not _is_host(host) or parts.netloc.endswith(":"):
        raise InputError(f"broker {text!r} has no usable host and port: {_FORMS}")
    if port is None:
        port = DEFAULT_TLS_PORT if tls else DEFAULT_PORT
    if not 1 <= port <= _MAX_PORT:
        raise InputError(f"broker {text!r} has port {port}: give one from 1 to {_MAX_PORT}")
    return BrokerAddress(host=host, port=port, tls=tls, username=_username(text, parts.netloc))


def _username(text: str, netloc: str) -> str | None:
    before, at, _ = netloc.rpartition("@")
    if not at:
        return None
    try:
        name = unquote(before, errors="strict")
    except UnicodeDecodeError as error:
        raise InputError(f"broker {text!r} has a user name that is not UTF-8: {_FORMS}") from error
    if not name or not name.isprintable():
        raise InputError(f"broker {text!r} has no usable user name before the '@': give one, or leave the '@' out")
    return name


def _is_host(host: str) -> bool:
    try:
        encoded = host if ":" in host else host.encode("idna").decode()
    except UnicodeError:
        return False
    return len(encoded) <= _MAX_NAME and not set(host) & set("@/\\[]<>^|%\"'`{},;=")


def _without_password(text: str) -> str:
    """Return the text without a possible password, for errors, which may be logged."""
    before, at, after = text.rpartition("@")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", before)  # else `://` may be a part of the password
    start = scheme.end() if scheme else 0
    user, colon, _ = before[start:].partition(":")
    return f"{before[:start]}{user}:…@{after}" if at and colon else text


def _load_certificate(context: ssl.SSLContext, certificate_file: Path, key_file: Path) -> None:
    def no_passphrase() -> str:
        # Otherwise OpenSSL would ask for it on the terminal, and a service would wait forever.
        raise InputError(f"mqtt_key_file {key_file} has a passphrase, which is not supported: give one without")

    try:
        context.load_cert_chain(str(certificate_file), str(key_file), password=no_passphrase)
    except (OSError, ValueError) as error:
        raise InputError(
            f"mqtt_certificate_file {certificate_file} with mqtt_key_file {key_file} cannot be used: {_words(error)}"
        ) from error


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file").replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, section 6.3

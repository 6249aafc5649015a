"""What `--broker` may say."""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from beeagent.errors import InputError

DEFAULT_PORT: Final = 1883
DEFAULT_TLS_PORT: Final = 8883

_FORMS: Final = (
    "give mqtt://HOST[:PORT], mqtts://HOST[:PORT], embedded or none, such as mqtt://127.0.0.1:1883; in a Greengrass "
    "component also greengrass://iot-core or greengrass://local"
)
_MAX_PORT: Final = 65535
_MAX_NAME: Final = 253  # bytes of a host name, RFC 1035


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker to connect to.

    Attributes:
        host: a name, or an IPv4 or IPv6 address without brackets.
        port: 1 to 65535.
        tls: True for `mqtts`.
        username: as the URL gave it, decoded; None when it gave none.
        mqtt: the version of MQTT that it is known to speak; `auto` where that is not known.
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
    """The broker that beeagent brings along, in its own process."""


@dataclass(frozen=True, slots=True)
class NoBroker:
    """Nothing is published."""


@dataclass(frozen=True, slots=True)
class Greengrass:
    """The nucleus of the Greengrass component that this process is.

    Attributes:
        destination: where the nucleus is to publish: to AWS IoT Core, or on the device itself, to other components.
    """

    destination: Literal["iot-core", "local"]

    def __str__(self) -> str:
        return f"greengrass://{self.destination}"


def parse_broker(text: str) -> BrokerAddress | Embedded | NoBroker | Greengrass:
    """Read an address such as `mqtt://hive.local`, `mqtts://bee@[2001:db8::1]:8884`, `embedded` or `none`.

    In a Greengrass component it may be `greengrass://iot-core` or `greengrass://local`. The port is 1883 for `mqtt` and
    8883 for `mqtts` unless it is given.

    Raises:
        InputError: the text is none of these, or has a password in it.
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


def _address(text: str) -> BrokerAddress:
    scheme, separator, rest = text.partition("://")
    tls = scheme.lower() == "mqtts"
    if not separator or scheme.lower() not in ("mqtt", "mqtts"):
        raise InputError(f"broker {_without_password(text)!r} is not understood: {_FORMS}")
    if ":" in rest.rpartition("@")[0]:
        raise InputError(
            f"broker {_without_password(text)!r} has a password in it, where others can read it: leave it out of the "
            "address and give it as BEEAGENT_MQTT_PASSWORD or mqtt_password_file"
        )
    if not text.isprintable() or any(character.isspace() or character in "?#\\" for character in text):
        raise InputError(f"broker {text!r} has a character that no address may have: {_FORMS}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"broker {text!r} is malformed ({error}): {_FORMS}") from error
    if parts.path not in ("", "/"):
        raise InputError(f"broker {text!r} has something behind the host and port: {_FORMS}")
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
    """Give the text with what may be a password left out, for an error that may end up in a log."""
    before, at, after = text.rpartition("@")
    user, colon, _ = before.partition("://")[2].partition(":")
    if not at or not colon:
        return text
    return f"{before.partition('://')[0]}://{user}:…@{after}"

"""Why a broker could not be reached or did not take something, in plain words."""

import socket
import ssl
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from beeagent.delivery.broker_url import BrokerAddress

# Reason codes of MQTT 5, section 2.4.
_UNSUPPORTED_VERSION: Final = 0x84
_LOGIN: Final = frozenset({0x86, 0x87})  # bad user name or password, not authorized
_TOPIC_NAME_INVALID: Final = 0x90
_PAYLOAD_FORMAT_INVALID: Final = 0x99


def connect_error(address: BrokerAddress, error: Exception) -> str:
    """Say why there is no connection to the broker at all."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{address} is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{address} does not agree on TLS: {(error.reason or 'handshake failed').replace('_', ' ').lower()}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {address}"
    if isinstance(error, socket.gaierror):
        return f"the host of {address} is not known"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer"
    return f"{address} cannot be reached: {error.strerror if isinstance(error, OSError) else error}"


def refusal(address: BrokerAddress, code: ReasonCode) -> str:
    """Say why the broker refused the connection."""
    if code.value in _LOGIN:
        return f"{address} refuses the user name or password ({str(code).lower()})"
    return f"{address} refuses the connection ({str(code).lower()})"


def is_other_version(code: ReasonCode) -> bool:
    """Whether the broker refused because it does not speak this version of MQTT."""
    return bool(code.value == _UNSUPPORTED_VERSION)


def is_final(code: ReasonCode) -> bool:
    """Whether publishing the same again would be refused again, whatever changes at the broker."""
    return code.value in (_TOPIC_NAME_INVALID, _PAYLOAD_FORMAT_INVALID)

"""Why a broker could not be reached or did not take something, in plain words."""

import socket
import ssl
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from beeagent.mqtt.broker_url import BrokerAddress
from beeagent.mqtt.dialect import MQTT_5, Dialect
from beeagent.mqtt.options import MqttOptions

# Reason codes of MQTT 5, section 2.4.
_UNSUPPORTED_VERSION: Final = 0x84
_CLIENT_ID_NOT_VALID: Final = 0x85
_BAD_LOGIN: Final = 0x86
_NOT_AUTHORIZED: Final = 0x87
_SESSION_TAKEN_OVER: Final = 0x8E
_REFUSALS: Final = frozenset({0x80, 0x83, _NOT_AUTHORIZED})  # unspecified, implementation specific, not authorized
_TOPIC_NAME_INVALID: Final = 0x90
_PAYLOAD_FORMAT_INVALID: Final = 0x99
# Why a connection ends that has nothing to do with a message: keep alive, busy, shutting down, session taken over,
# message rate, quota, administrative action, another server, connection rate, connect time.
_OTHER_ENDS: Final = frozenset({0x89, 0x8B, 0x8D, 0x8E, 0x96, 0x97, 0x98, 0x9C, 0x9D, 0x9F, 0xA0})


# Results of OpenSSL's verification of a certificate: openssl/x509_vfy.h.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_HOST: Final = frozenset({62, 64})

_OWN_ID: Final = "give each its own device, camera_name or mqtt_client_id"


def connect_error(address: BrokerAddress, error: Exception) -> str:
    """Say why there is no connection to the broker at all."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{address} is not trusted: {_distrust(address, error)}"
    if isinstance(error, ssl.SSLError) or (address.tls and isinstance(error, ConnectionResetError)):
        return tls_error(address, error)
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {address}"
    if isinstance(error, socket.gaierror):
        return f"the host of {address} is not known"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer"
    return f"{address} cannot be reached: {error.strerror if isinstance(error, OSError) else error}"


def _distrust(address: BrokerAddress, error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired: renew it at the broker, or set this device's clock if that is wrong"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet: set this device's clock, which seems to be behind"
    if code in _UNKNOWN_AUTHORITY:
        return (
            "its certificate comes from an authority that is not trusted here: give the PEM file of the authority's "
            f"certificate as mqtt_ca_file ({error.verify_message})"
        )
    if code in _OTHER_HOST:
        return (
            f"its certificate is for another host than {address.host}: give the broker by a name that its "
            "certificate has, or have one made for this name"
        )
    return error.verify_message


def tls_error(address: BrokerAddress, error: ssl.SSLError | ConnectionResetError) -> str:
    """Say why TLS failed: in the handshake, or after it, when the broker has looked at the client's certificate."""
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError)):
        return f"{address} broke the handshake off: give a port that speaks TLS, or the broker as mqtt://"
    words = (error.reason or "handshake failed").replace("_", " ").lower()
    if "wrong version number" in words or "record layer failure" in words or "packet length too long" in words:
        return f"{address} does not speak TLS: give a port that speaks TLS, or the broker as mqtt://"
    if "alert" in words and "certificate required" in words:
        return f"{address} asks for a client certificate: give mqtt_certificate_file and mqtt_key_file"
    if "alert" in words and any(part in words for part in ("certificate", "unknown ca")):
        told = words.partition("alert ")[2]
        return f"{address} does not accept the client certificate, mqtt_certificate_file ({told}): give another one"
    if "alert" in words and "handshake failure" in words:
        return f"{address} breaks the handshake off: it may ask for a client certificate (mqtt_certificate_file)"
    return f"{address} does not agree on TLS: {words}"


def lost_unanswered(address: BrokerAddress, dialect: Dialect, *, connect_bytes: int) -> str:
    """Return why the broker may have closed the connection in place of an answer to CONNECT.

    Args:
        address: of the broker.
        dialect: of the connection.
        connect_bytes: about the size of the CONNECT packet, which has the will in it.
    """
    hints = [
        "a broker that wants another client certificate, mqtt_certificate_file,"
        if address.tls
        else "a port for mqtts://"
    ]
    if dialect.version == MQTT_5:
        hints.append("a broker that knows MQTT 3.1.1 only")
    hints.append(f"a broker whose maximum packet size is below the about {connect_bytes} bytes of CONNECT")
    return f"{address} closed the connection without an answer to {dialect.name} ({' or '.join(hints)} does that)"


def refusal(options: MqttOptions, code: ReasonCode, *, client_id: str, dialect: Dialect) -> str:
    """Return why the broker refused the connection.

    Args:
        options: of the connection.
        code: of the CONNACK.
        client_id: that was refused, maybe.
        dialect: of the connection.
    """
    address = options.address
    said = str(code).lower()
    if code.value == _CLIENT_ID_NOT_VALID:
        # MQTT 3.1.1 has no other code for a keep-alive that is too long; in MQTT 5 the broker sets its own.
        too_long = f"; or its maximum keep-alive is below {options.keepalive_s} s" if dialect.version != MQTT_5 else ""
        return (
            f"{address} refuses the client id {client_id!r} ({said}): set another one as mqtt_client_id, or shorten "
            f"device or camera_name, of which it is made otherwise{too_long}"
        )
    if code.value == _BAD_LOGIN:
        return f"{address} refuses the user name or password ({said})"
    if code.value == _NOT_AUTHORIZED:
        return f"{address} refuses the user name or password, or the client id {client_id!r} ({said})"
    if code.value == _UNSUPPORTED_VERSION:
        return f"{address} does not speak {dialect.name} ({said}){_other_version(options)}"
    return f"{address} refuses the connection ({said})"


def misunderstood(options: MqttOptions, code: ReasonCode, *, dialect: Dialect) -> str:
    """Return that the broker's answer to CONNECT makes no sense; paho reports a 3.1.1 refusal of the version so."""
    said = f"does not answer {dialect.name} as it should ({str(code).lower()})"
    return f"{options.address} {said}{_other_version(options)}"


def _other_version(options: MqttOptions) -> str:
    return "" if options.version == "auto" else ": leave mqtt_version out, or set the other version"


def end(code: ReasonCode, *, by_packet: bool, client_id: str) -> str:
    """Say why a connection has ended that was open.

    Args:
        code: of the DISCONNECT, or paho's for a connection that was lost.
        by_packet: whether the broker sent a DISCONNECT.
        client_id: of the connection.
    """
    if code.value == _SESSION_TAKEN_OVER:
        return f"another client has connected with the same client id, {client_id!r}: {_OWN_ID}"
    what = "the broker ended the connection" if by_packet else "the connection was lost"
    return what if is_silent(code) else f"{what} ({str(code).lower()})"


def is_silent(code: ReasonCode) -> bool:
    """Whether a code says nothing about why a connection has ended."""
    return code.getName() in ("Unspecified error", "Success")


def lost_again(times: int, *, client_id: str) -> str:
    """Say that several connections in a row were lost soon after they were open, without a word from the broker."""
    return (
        f"the connection was lost {times} times soon after it was made: if another client has the same client id, "
        f"{client_id!r}, {_OWN_ID}"
    )


def is_final(code: ReasonCode) -> bool:
    """Whether publishing the same again would be refused again, whatever changes at the broker."""
    return code.value in (_TOPIC_NAME_INVALID, _PAYLOAD_FORMAT_INVALID)


def is_refusal(code: ReasonCode) -> bool:
    """Whether the broker refuses a message as things are, and may take it once it is set up otherwise."""
    return code.value in _REFUSALS


def may_be_for_a_message(code: ReasonCode) -> bool:
    """Whether a connection that ended with this may have been ended because of a message."""
    return code.value not in _OTHER_ENDS

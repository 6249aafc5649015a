"""The dialect of MQTT to use with a broker, and the reasons why it refuses or ends a connection."""

import socket
import ssl
from dataclasses import dataclass, replace
from typing import Final

from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from beeagent.mqtt.options import BrokerAddress, MqttOptions, Version

MQTT_5: Final = MQTTProtocolVersion.MQTTv5
MQTT_3: Final = MQTTProtocolVersion.MQTTv311

# Reason codes of MQTT 5, section 2.4.
_UNSUPPORTED_VERSION: Final = 0x84
_CLIENT_ID_NOT_VALID: Final = 0x85
_BAD_LOGIN: Final = 0x86
_NOT_AUTHORIZED: Final = 0x87
_SESSION_TAKEN_OVER: Final = 0x8E
_REFUSALS: Final = frozenset({0x80, 0x83, _NOT_AUTHORIZED})  # unspecified, implementation specific, not authorized
_TOPIC_NAME_INVALID: Final = 0x90
_PAYLOAD_FORMAT_INVALID: Final = 0x99
_RETAIN_NOT_SUPPORTED: Final = 0x9A
_QOS_NOT_SUPPORTED: Final = 0x9B
# Ends of a connection that are unrelated to a message: keep alive, busy, shutting down, session taken over,
# message rate, quota, administrative action, another server, connection rate, connect time.
_OTHER_ENDS: Final = frozenset({0x89, 0x8B, 0x8D, 0x8E, 0x96, 0x97, 0x98, 0x9C, 0x9D, 0x9F, 0xA0})
# Results of OpenSSL's verification of a certificate: openssl/x509_vfy.h.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_HOST: Final = frozenset({62, 64})

_OWN_ID: Final = "give each its own device, camera_name or mqtt_client_id"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The version and features of MQTT to use with a broker.

    Attributes:
        version: version of MQTT.
        retain: True if the broker supports retained messages.
        qos: maximum quality of service for messages to the broker, 0 or 1.
    """

    version: MQTTProtocolVersion
    retain: bool = True
    qos: int = 1

    @property
    def name(self) -> str:
        """The name of the version, for logs and errors."""
        return "MQTT 5" if self.version == MQTT_5 else "MQTT 3.1.1"

    def __str__(self) -> str:
        return f"{self.name}{'' if self.retain else ', not retained'}{'' if self.qos else ', at QoS 0'}"

    def after(self, code: int) -> "Dialect":
        """Return the dialect to use after a refusal with a reason code."""
        if code == _RETAIN_NOT_SUPPORTED:
            return replace(self, retain=False)
        return replace(self, qos=0) if code == _QOS_NOT_SUPPORTED else self


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a connection.

    Attributes:
        reason: human-readable reason, without secrets.
        opened: True if the broker had accepted the connection.
        dialect: dialect of the connection; adapted to the CONNACK if the broker had accepted it.
        lasted_s: seconds from the broker's acceptance to the end; 0 if it was not accepted.
        refusal: reason code of a CONNACK that refuses the connection; None without one.
        unanswered: True if the broker was reachable, but sent no valid answer to CONNECT.
        lost: True if the connection was open and ended without a DISCONNECT from the broker.
    """

    reason: str
    opened: bool
    dialect: Dialect
    lasted_s: float = 0.0
    refusal: int | None = None
    unanswered: bool = False
    lost: bool = False


class DialectChoice:
    """Chooses the dialect of each connection by the ends of the previous ones. For one thread.

    A broker without MQTT 5 may refuse it, close the connection, not answer, or answer in the format of MQTT 3.1.1. A
    broker without retained messages or QoS 1 refuses a CONNECT whose will uses them; in MQTT 3.1.1 it can only close
    the connection. So without an answer, the next connection uses fewer features.
    """

    def __init__(self, version: Version, *, has_will: bool) -> None:
        """Choose the first dialect.

        Args:
            version: version of MQTT; `auto` for 5, with 3.1.1 as fallback.
            has_will: True if the connections have a will.
        """
        self._versions = {"auto": (MQTT_5, MQTT_3), "5": (MQTT_5,), "3.1.1": (MQTT_3,)}[version]
        self._ladder = [Dialect(version) for version in self._versions]
        if has_will and MQTT_3 in self._versions:
            self._ladder.append(Dialect(MQTT_3, retain=False, qos=0))
        self._step = 0
        self._current = self._ladder[0]

    @property
    def current(self) -> Dialect:
        """The dialect of the next connection."""
        return self._current

    def note(self, ending: Ending, *, healthy_after_s: float) -> bool:
        """Adapt the dialect to the end of a connection; return True to reconnect at once.

        Args:
            ending: end of a connection in the current dialect.
            healthy_after_s: seconds after which a connection in a fallback dialect counts as stable. The next one then
                uses the first dialect, since the missing answer may have been due to a restart of the broker.
        """
        if ending.opened:
            self._current = ending.dialect
            if self._step and ending.lasted_s >= healthy_after_s:
                self._restart()
            return False
        before = self._current
        if ending.refusal == _UNSUPPORTED_VERSION:
            others = [version for version in self._versions if version != before.version]
            self._current = replace(before, version=others[0]) if others else before
            return before.version == MQTT_5 and bool(others)
        if ending.refusal is not None:
            self._current = before.after(ending.refusal)
        elif ending.unanswered:
            if self._step + 1 == len(self._ladder):
                self._restart()
                return False
            self._step += 1
            self._current = self._ladder[self._step]
        return self._current != before

    def _restart(self) -> None:
        self._step = 0
        self._current = self._ladder[0]


def connect_error(address: BrokerAddress, error: Exception) -> str:
    """Return the reason why no connection to the broker can be established."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{address} is not trusted: {_verification_error(address, error)}"
    if isinstance(error, ssl.SSLError) or (address.tls and isinstance(error, ConnectionResetError)):
        return tls_error(address, error)
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {address}"
    if isinstance(error, socket.gaierror):
        return f"the host of {address} is not known"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer"
    return f"{address} cannot be reached: {error.strerror if isinstance(error, OSError) else error}"


def _verification_error(address: BrokerAddress, error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired: renew it at the broker, or set this device's clock if that is wrong"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet: set this device's clock, which seems to be behind"
    if code in _UNKNOWN_AUTHORITY:
        return (
            "its certificate is from a certificate authority that is not trusted here: set mqtt_ca_file to the PEM "
            f"file of the authority's certificate ({error.verify_message})"
        )
    if code in _OTHER_HOST:
        return (
            f"its certificate is for another host than {address.host}: use a name of the broker that is in its "
            "certificate, or a certificate for this name"
        )
    return error.verify_message


def tls_error(address: BrokerAddress, error: ssl.SSLError | ConnectionResetError) -> str:
    """Return the reason for a TLS failure, in the handshake or in the later check of the client certificate."""
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError)):
        return f"{address} ended the handshake: give a port that speaks TLS, or the broker as mqtt://"
    words = (error.reason or "handshake failed").replace("_", " ").lower()
    if "wrong version number" in words or "record layer failure" in words or "packet length too long" in words:
        return f"{address} does not speak TLS: give a port that speaks TLS, or the broker as mqtt://"
    if "alert" in words and "certificate required" in words:
        return f"{address} requires a client certificate: set mqtt_certificate_file and mqtt_key_file"
    if "alert" in words and any(part in words for part in ("certificate", "unknown ca")):
        alert = words.partition("alert ")[2]
        return f"{address} does not accept the client certificate, mqtt_certificate_file ({alert}): set another one"
    if "alert" in words and "handshake failure" in words:
        return f"{address} ends the handshake: it may require a client certificate (mqtt_certificate_file)"
    return f"{address} does not accept TLS: {words}"


def lost_unanswered(address: BrokerAddress, dialect: Dialect, *, connect_bytes: int) -> str:
    """Return possible reasons why the broker has closed the connection without an answer to CONNECT.

    Args:
        address: address of the broker.
        dialect: dialect of the connection.
        connect_bytes: approximate size of the CONNECT packet, including the will.
    """
    hints = [
        "a broker that requires another client certificate, mqtt_certificate_file,"
        if address.tls
        else "a port for mqtts://"
    ]
    if dialect.version == MQTT_5:
        hints.append("a broker that supports MQTT 3.1.1 only")
    hints.append(f"a broker whose maximum packet size is below the about {connect_bytes} bytes of CONNECT")
    return f"{address} closed the connection without an answer to {dialect.name} ({' or '.join(hints)} does that)"


def refusal(options: MqttOptions, code: ReasonCode, *, client_id: str, dialect: Dialect) -> str:
    """Return the reason why the broker refused the connection.

    Args:
        options: options of the connection.
        code: reason code of the CONNACK.
        client_id: client id of the connection.
        dialect: dialect of the connection.
    """
    address = options.address
    code_name = str(code).lower()
    if code.value == _CLIENT_ID_NOT_VALID:
        # MQTT 3.1.1 has no other code for a keep-alive that is too long; in MQTT 5 the broker sets its own.
        too_long = f"; or its maximum keep-alive is below {options.keepalive_s} s" if dialect.version != MQTT_5 else ""
        return (
            f"{address} refuses the client id {client_id!r} ({code_name}): set another one as mqtt_client_id, or "
            f"shorten device or camera_name, from which it is built otherwise{too_long}"
        )
    if code.value == _BAD_LOGIN:
        return f"{address} refuses the user name or password ({code_name})"
    if code.value == _NOT_AUTHORIZED:
        return f"{address} refuses the user name or password, or the client id {client_id!r} ({code_name})"
    if code.value == _UNSUPPORTED_VERSION:
        return f"{address} does not support {dialect.name} ({code_name}){_other_version(options)}"
    return f"{address} refuses the connection ({code_name})"


def misunderstood(options: MqttOptions, code: ReasonCode, *, dialect: Dialect) -> str:
    """Return an error text for an invalid answer to CONNECT, which may be a refusal of the version in MQTT 3.1.1."""
    return f"{options.address} does not answer {dialect.name} correctly ({str(code).lower()}){_other_version(options)}"


def _other_version(options: MqttOptions) -> str:
    return "" if options.version == "auto" else ": leave mqtt_version out, or set the other version"


def end(code: ReasonCode, *, by_packet: bool, client_id: str) -> str:
    """Return the reason for the end of an open connection.

    Args:
        code: reason code of the DISCONNECT, or paho's code for a lost connection.
        by_packet: True if the broker sent a DISCONNECT.
        client_id: client id of the connection.
    """
    if code.value == _SESSION_TAKEN_OVER:
        return f"another client has connected with the same client id, {client_id!r}: {_OWN_ID}"
    reason = "the broker ended the connection" if by_packet else "the connection was lost"
    return reason if is_silent(code) else f"{reason} ({str(code).lower()})"


def is_silent(code: ReasonCode) -> bool:
    """Return True if a code contains no reason for the end of a connection."""
    return code.getName() in ("Unspecified error", "Success")


def lost_again(times: int, *, client_id: str) -> str:
    """Return an error text for consecutive connections that were lost soon, without a DISCONNECT."""
    return (
        f"the connection was lost {times} times soon after it was established: if another client has the same client "
        f"id, {client_id!r}, {_OWN_ID}"
    )


def is_final(code: ReasonCode) -> bool:
    """Return True if the same message will always be refused."""
    return code.value in (_TOPIC_NAME_INVALID, _PAYLOAD_FORMAT_INVALID)


def is_refusal(code: ReasonCode) -> bool:
    """Return True if the broker refuses a message that it may accept with another configuration."""
    return code.value in _REFUSALS


def may_be_over_a_message(code: ReasonCode) -> bool:
    """Return True if a message may be the reason for the end of a connection with this code."""
    return code.value not in _OTHER_ENDS

"""Which version of MQTT, and which of its features, a broker accepts."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from paho.mqtt.enums import MQTTProtocolVersion

MQTT_5: Final = MQTTProtocolVersion.MQTTv5
MQTT_3: Final = MQTTProtocolVersion.MQTTv311

Version = Literal["auto", "5", "3.1.1"]

# Reason codes of CONNACK: MQTT 5, section 3.2.2.2.
_UNSUPPORTED_VERSION: Final = 0x84
_RETAIN_NOT_SUPPORTED: Final = 0x9A
_QOS_NOT_SUPPORTED: Final = 0x9B


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to speak to a broker.

    Attributes:
        version: of MQTT.
        retain: whether the broker keeps retained messages.
        qos: the highest quality of service for messages to the broker, 0 or 1.
    """

    version: MQTTProtocolVersion
    retain: bool = True
    qos: int = 1

    @property
    def name(self) -> str:
        """The version, for logs and errors."""
        return "MQTT 5" if self.version == MQTT_5 else "MQTT 3.1.1"

    def __str__(self) -> str:
        return f"{self.name}{'' if self.retain else ', not retained'}{'' if self.qos else ', at QoS 0'}"

    def after(self, code: int) -> "Dialect":
        """Return the dialect to speak after the broker refused something with a reason code."""
        if code == _RETAIN_NOT_SUPPORTED:
            return replace(self, retain=False)
        return replace(self, qos=0) if code == _QOS_NOT_SUPPORTED else self


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended.

    Attributes:
        reason: in plain words, without secrets.
        opened: whether the broker had accepted it.
        dialect: as it was spoken; where the broker accepted the connection, corrected by what it announced.
        lasted_s: seconds from the broker's acceptance to the end; 0 if there was none.
        refusal: the reason code of a CONNACK that refuses; None if there was none.
        unanswered: whether the broker could be reached, and answered CONNECT with nothing that could be understood.
        lost: whether it was open and ended without a word from the broker.
    """

    reason: str
    opened: bool
    dialect: Dialect
    lasted_s: float = 0.0
    refusal: int | None = None
    unanswered: bool = False
    lost: bool = False


class DialectChoice:
    """Chooses the dialect of each connection by how the ones before ended. Used by one thread.

    A broker that does not know MQTT 5 may say so, close the connection, say nothing, or answer in the form of MQTT
    3.1.1. A broker without retained messages or without QoS 1 refuses a CONNECT whose will asks for them; in MQTT 3.1.1
    it can only close the connection. So where an answer is missing, the next connection asks for less.
    """

    def __init__(self, version: Version, *, has_will: bool) -> None:
        """Choose the first dialect.

        Args:
            version: to speak; `auto` for 5, and 3.1.1 where the broker does not answer that.
            has_will: whether the connections have a will.
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
        """Learn from the end of a connection; return whether to connect again at once.

        Args:
            ending: of a connection in the current dialect.
            healthy_after_s: seconds after which a connection in a guessed dialect was no accident. The next one begins
                with the first dialect again, since the broker may have been restarting when it did not answer.
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

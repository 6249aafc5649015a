"""The configuration of paho's client, and the publishes of one connection."""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from beeagent.mqtt.errors import MQTT_5, Dialect, is_final, is_refusal
from beeagent.mqtt.options import MqttOptions
from beeagent.mqtt.poison import BREAKS_CONNECTION, FORBIDDEN, PoisonDetector, Sent
from beeagent.outbox import Outcome, Receipt

PUBLISH_OVERHEAD: Final = 64  # bytes; upper bound of a PUBLISH with its properties, without topic and payload


@dataclass(frozen=True, slots=True)
class RetainedMessage:
    """A retained message of a topic."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A received message; `retained` if it was published before the subscription."""

    topic: str
    payload: bytes
    retained: bool


class PingingClient(paho.Client):
    """paho's client, extended to send a PINGREQ at any time and report every PINGRESP.

    paho has no public methods for this; the two overridden ones are private.
    """

    on_ping: Callable[[], None]
    on_pong: Callable[[], None]

    def ping(self) -> None:
        """Send a PINGREQ."""
        self._send_pingreq()

    def _send_pingreq(self) -> MQTTErrorCode:
        sent = super()._send_pingreq()
        if sent == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.on_ping()
        return sent

    def _handle_pingresp(self) -> MQTTErrorCode:
        handled = super()._handle_pingresp()
        self.on_pong()
        return handled


def make_client(*, options: MqttOptions, dialect: Dialect, will: RetainedMessage | None) -> PingingClient:
    """Create a client for one connection, with a clean start, without a session and without reconnection.

    Args:
        options: client id and credentials.
        dialect: version and features of MQTT to use.
        will: last will, retained if possible; None for none.
    """
    client = PingingClient(
        callback_api_version=CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if dialect.version == MQTT_5 else True,
        protocol=dialect.version,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # no limit: `PendingPublishes` applies it together with that of the broker
    client.connect_timeout = options.connect_timeout_s
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    if options.tls is not None:
        client.tls_set_context(options.tls)
    if will is not None:
        properties = message_properties(dialect.version, PacketTypes.WILLMESSAGE)
        client.will_set(will.topic, will.payload, qos=dialect.qos, retain=dialect.retain, properties=properties)
    return client


def connect_size(options: MqttOptions, dialect: Dialect, will: RetainedMessage | None) -> int:
    """Return the approximate size in bytes of the CONNECT packet of a client of `make_client`."""
    texts = [options.client_id, options.username or "", options.password or "", will.topic if will else ""]
    size = 20 + sum(2 + len(text.encode()) for text in texts) + (2 + len(will.payload) if will else 0)
    properties = message_properties(dialect.version, PacketTypes.WILLMESSAGE) if will else None
    return size + (len(properties.pack()) if properties else 0)  # type: ignore[no-untyped-call] # untyped in paho


class _JsonProperties(Properties):
    """The properties that mark a payload as JSON. Packed once, since that takes half of the time of a PUBLISH."""

    def __init__(self, packet_type: int) -> None:
        super().__init__(packet_type)  # type: ignore[no-untyped-call] # untyped in paho
        self.PayloadFormatIndicator = 1  # UTF-8
        self.ContentType = "application/json"
        self.__dict__["packed"] = super().pack()  # type: ignore[no-untyped-call]

    def pack(self) -> bytes:
        return bytes(self.__dict__["packed"])


def message_properties(version: MQTTProtocolVersion, packet_type: int) -> Properties | None:
    """Return the properties that mark a payload as JSON; MQTT 3.1.1 has none."""
    return _JsonProperties(packet_type) if version == MQTT_5 else None


@dataclass(frozen=True)
class Publish:
    """A message to publish, and the callback for its outcome."""

    topic: str
    payload: bytes
    retain: bool
    done: Callable[[Receipt], None]

    @cached_property
    def key(self) -> str:
        """The identity of the message: the topic of a retained message, a hash of topic and payload otherwise."""
        if self.retain:
            return f"retained {self.topic}"
        return hashlib.sha256(self.topic.encode("utf-8", "surrogatepass") + b"\0" + self.payload).hexdigest()


class PendingPublishes:
    """Sends publishes in order, within the broker's limit of messages in flight, and reports their receipts.

    A broker without QoS 1 acknowledges no publish. The publishes are then followed by a PINGREQ: since a broker
    processes the packets of a connection in order, its PINGRESP confirms them.

    `add` and `close` are thread-safe; the other methods are for the thread of the connection.
    """

    def __init__(
        self, *, dialect: Dialect, max_in_flight: int, acknowledge_timeout_s: float, poison: PoisonDetector
    ) -> None:
        """Start without publishes.

        Args:
            dialect: dialect to use until `open`.
            max_in_flight: maximum number of unacknowledged publishes.
            acknowledge_timeout_s: seconds after which a publish without acknowledgement is overdue.
            poison: detector of poison messages.
        """
        self._dialect = dialect
        self._max_in_flight = max_in_flight
        self._acknowledge_timeout = acknowledge_timeout_s
        self._poison = poison
        self._lock = threading.Lock()
        self._waiting: deque[Publish] = deque()
        self._accepting = True
        self._in_flight: dict[int, tuple[Publish, float]] = {}
        self._unconfirmed: list[int] = []  # without QoS 1: published since the last PINGREQ
        self._pinged: deque[list[int]] = deque()  # the publishes before each PINGREQ that has no PINGRESP
        self._receipts: list[tuple[Publish, Receipt]] = []
        self._max_packet: int | None = None
        self._opened_at = 0.0
        self._properties: Properties | None = None

    def add(self, publish: Publish) -> bool:
        """Add a publish; return False if it is not accepted."""
        with self._lock:
            if self._accepting:
                self._waiting.append(publish)
            return self._accepting

    def close(self) -> bool:
        """Accept no more publishes; return False if closed already."""
        with self._lock:
            before, self._accepting = self._accepting, False
            return before

    @property
    def idle(self) -> bool:
        """True if every publish has its receipt."""
        with self._lock:
            return not self._waiting and not self._in_flight

    @property
    def overdue(self) -> bool:
        """True if an acknowledgement is overdue."""
        oldest = next(iter(self._in_flight.values()), None)
        return oldest is not None and time.monotonic() - oldest[1] > self._acknowledge_timeout

    def open(self, *, dialect: Dialect, receive_maximum: int | None, max_packet: int | None) -> None:
        """Record that the broker has accepted the connection, and its limits."""
        self._opened_at = time.monotonic()
        self._dialect = dialect
        self._properties = message_properties(dialect.version, PacketTypes.PUBLISH)
        self._max_packet = max_packet
        if receive_maximum is not None:
            self._max_in_flight = min(self._max_in_flight, receive_maximum)

    def pause(self) -> float:
        """Return the seconds for which nothing may be sent; 0 if publishes may be sent now."""
        with self._lock:
            closing = not self._accepting
        if closing or not self._poison.careful:
            return 0.0
        return max(0.0, self._opened_at + self._poison.settle_s - time.monotonic())

    def send(self, client: PingingClient) -> None:
        """Send the publishes that may be sent now."""
        while client.socket() is not None and not self.pause():
            if len(self._in_flight) >= (1 if self._poison.careful else self._max_in_flight):
                break
            with self._lock:
                if not self._waiting:
                    break
                publish = self._waiting.popleft()
            self._send_one(client, publish)
        if self._unconfirmed and client.socket() is not None:
            client.ping()

    def acknowledge(self, number: int, code: ReasonCode) -> None:
        """Process the broker's acknowledgement or refusal of a publish."""
        if self._dialect.qos == 0:  # paho only reports that it has written the packet
            return
        if not code.is_failure:
            self._deliver(number)
            return
        publish, _ = self._in_flight.pop(number)
        reason = f"the broker refused a message ({str(code).lower()})"
        if is_final(code):
            self._end(publish, Receipt(Outcome.REFUSED, reason))
        elif is_refusal(code) and self._poison.note_refused(publish.key, publish.topic):
            self._end(publish, Receipt(Outcome.REFUSED, reason, cause=FORBIDDEN))
        else:
            self._end(publish, Receipt(Outcome.LOST, reason))

    def note_ping(self) -> None:
        """Record that a PINGREQ was sent."""
        self._pinged.append(self._unconfirmed)
        self._unconfirmed = []

    def note_pong(self) -> None:
        """Process the PINGRESP to the oldest PINGREQ."""
        for number in self._pinged.popleft() if self._pinged else ():
            self._deliver(number)

    def end(self, reason: str, *, by_broker: bool) -> None:
        """End all publishes with the connection; `by_broker` if a message may be the reason for its end."""
        self.close()
        poison = None
        if by_broker and self._in_flight:
            sent = [Sent(publish.key, not publish.retain, sent_at) for publish, sent_at in self._in_flight.values()]
            poison = self._poison.note_connection_ended(sent, opened_at=self._opened_at)
        for publish, _ in self._in_flight.values():
            self._end(publish, _breaks_connection() if publish.key == poison else Receipt(Outcome.LOST, reason))
        self._in_flight.clear()
        while self._waiting:
            self._end(self._waiting.popleft(), Receipt(Outcome.LOST, reason))
        self.report_receipts()

    def report_receipts(self) -> None:
        """Call `done` of ended publishes. Must not be called under paho's locks."""
        receipts, self._receipts = self._receipts, []
        for publish, receipt in receipts:
            publish.done(receipt)

    def _deliver(self, number: int) -> None:
        publish, _ = self._in_flight.pop(number)
        self._poison.note_accepted(publish.key, publish.topic)
        self._end(publish, Receipt(Outcome.DELIVERED))

    def _send_one(self, client: paho.Client, publish: Publish) -> None:
        size = len(publish.topic.encode()) + len(publish.payload) + PUBLISH_OVERHEAD
        if self._max_packet is not None and size > self._max_packet:
            reason = f"a message of {size} bytes exceeds the broker's maximum packet size, {self._max_packet}"
            self._end(publish, Receipt(Outcome.REFUSED, reason))
            return
        if self._poison.is_poison(publish.key):
            self._end(publish, _breaks_connection())
            return
        dialect = self._dialect
        try:
            sent = client.publish(
                publish.topic,
                publish.payload,
                qos=dialect.qos,
                retain=publish.retain and dialect.retain,
                properties=self._properties,
            )
        except ValueError as error:
            self._end(publish, Receipt(Outcome.REFUSED, f"not a valid message: {error}"))
            return
        if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._in_flight[sent.mid] = (publish, time.monotonic())
            if dialect.qos == 0:
                self._unconfirmed.append(sent.mid)
        else:
            self._end(publish, Receipt(Outcome.LOST, paho.error_string(sent.rc)))

    def _end(self, publish: Publish, receipt: Receipt) -> None:
        self._receipts.append((publish, receipt))


def _breaks_connection() -> Receipt:
    return Receipt(Outcome.REFUSED, "the broker ends each connection right after a message", cause=BREAKS_CONNECTION)

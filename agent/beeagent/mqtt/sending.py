"""The publishes of one MQTT connection: those that wait, those on their way, and what became of each."""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from beeagent.mqtt.client import PingingClient, message_properties
from beeagent.mqtt.dialect import Dialect
from beeagent.mqtt.poison import BREAKS_OFF, FORBIDDEN, Sent, Suspects
from beeagent.mqtt.reasons import is_final, is_refusal
from beeagent.outbox import Outcome, Receipt

PUBLISH_OVERHEAD: Final = 64  # bytes, more than a PUBLISH has besides topic and payload, our properties included


@dataclass(frozen=True)
class Publish:
    """A message to be published, and the callback that reports its outcome."""

    topic: str
    payload: bytes
    retain: bool
    done: Callable[[Receipt], None]

    @cached_property
    def key(self) -> str:
        """What tells it from others: a state by its topic, whatever it says at the moment; a result by its content."""
        if self.retain:
            return f"retained {self.topic}"
        return hashlib.sha256(self.topic.encode("utf-8", "surrogatepass") + b"\0" + self.payload).hexdigest()


class Sending:
    """Sends publishes in their order, no more at a time than the broker wants, and hands out their receipts.

    A broker without QoS 1 acknowledges no publish. There, a PINGREQ follows the publishes: since a broker handles the
    packets of a connection in their order, its PINGRESP says that it has them.

    `add` and `close` may be called from any thread, everything else from the connection's own.
    """

    def __init__(self, *, dialect: Dialect, window: int, acknowledge_timeout_s: float, suspects: Suspects) -> None:
        """Begin with nothing to send.

        Args:
            dialect: how to speak to the broker, until `open` knows better.
            window: publishes without acknowledgement at any time, at most.
            acknowledge_timeout_s: seconds after which a publish without acknowledgement is overdue.
            suspects: what is known of messages that the broker does not take.
        """
        self._dialect = dialect
        self._window = window
        self._acknowledge_timeout = acknowledge_timeout_s
        self._suspects = suspects
        self._lock = threading.Lock()
        self._waiting: deque[Publish] = deque()
        self._accepting = True
        self._on_their_way: dict[int, tuple[Publish, float]] = {}
        self._unconfirmed: list[int] = []  # without QoS 1: published since the last PINGREQ
        self._pinged: deque[list[int]] = deque()  # the publishes before each PINGREQ that has no PINGRESP
        self._receipts: list[tuple[Publish, Receipt]] = []
        self._max_packet: int | None = None
        self._opened_at = 0.0

    def add(self, publish: Publish) -> bool:
        """Take a publish, unless no more are taken; say which."""
        with self._lock:
            if self._accepting:
                self._waiting.append(publish)
            return self._accepting

    def close(self) -> bool:
        """Take no more; say whether that is new."""
        with self._lock:
            before, self._accepting = self._accepting, False
            return before

    @property
    def idle(self) -> bool:
        """Whether every publish has had its end."""
        with self._lock:
            return not self._waiting and not self._on_their_way

    @property
    def overdue(self) -> bool:
        """Whether the broker should have acknowledged something long ago."""
        oldest = next(iter(self._on_their_way.values()), None)
        return oldest is not None and time.monotonic() - oldest[1] > self._acknowledge_timeout

    def open(self, *, dialect: Dialect, receive_maximum: int | None, max_packet: int | None) -> None:
        """Note that the broker has accepted the connection, and what it takes."""
        self._opened_at = time.monotonic()
        self._dialect = dialect
        self._max_packet = max_packet
        if receive_maximum is not None:
            self._window = min(self._window, receive_maximum)

    def pause(self) -> float:
        """Give the seconds for which nothing may be sent yet; 0 when all may."""
        with self._lock:
            hurried = not self._accepting
        if hurried or not self._suspects.careful:
            return 0.0
        return max(0.0, self._opened_at + self._suspects.settle_s - time.monotonic())

    def send(self, client: PingingClient) -> None:
        """Send what may be sent now."""
        while client.socket() is not None and not self.pause():
            if len(self._on_their_way) >= (1 if self._suspects.careful else self._window):
                break
            with self._lock:
                if not self._waiting:
                    break
                publish = self._waiting.popleft()
            self._send_one(client, publish)
        if self._unconfirmed and client.socket() is not None:
            client.ping()

    def acknowledge(self, number: int, code: ReasonCode) -> None:
        """Take in the broker's answer to a publish."""
        if self._dialect.qos == 0:  # paho reports here that it has written the packet
            return
        if not code.is_failure:
            self._deliver(number)
            return
        publish, _ = self._on_their_way.pop(number)
        reason = f"the broker refused a message ({str(code).lower()})"
        if is_final(code):
            self._end(publish, Receipt(Outcome.REFUSED, reason))
        elif is_refusal(code) and self._suspects.note_refused(publish.key, publish.topic):
            self._end(publish, Receipt(Outcome.REFUSED, reason, cause=FORBIDDEN))
        else:
            self._end(publish, Receipt(Outcome.LOST, reason))

    def note_ping(self) -> None:
        """Note that a PINGREQ was sent, by whomever."""
        self._pinged.append(self._unconfirmed)
        self._unconfirmed = []

    def note_pong(self) -> None:
        """Take in the broker's answer to the oldest PINGREQ."""
        for number in self._pinged.popleft() if self._pinged else ():
            self._deliver(number)

    def end(self, reason: str, *, by_broker: bool) -> None:
        """Give up all that has had no end, as the connection has; `by_broker` if it may be because of a message."""
        self.close()
        guilty = None
        if by_broker and self._on_their_way:
            sent = [Sent(one.key, not one.retain, when) for one, when in self._on_their_way.values()]
            guilty = self._suspects.note_broken_off(sent, opened_at=self._opened_at)
        for publish, _ in self._on_their_way.values():
            self._end(publish, _breaks_off() if publish.key == guilty else Receipt(Outcome.LOST, reason))
        self._on_their_way.clear()
        while self._waiting:
            self._end(self._waiting.popleft(), Receipt(Outcome.LOST, reason))
        self.hand_out()

    def hand_out(self) -> None:
        """Tell of the publishes that have ended; not to be called under paho's locks."""
        receipts, self._receipts = self._receipts, []
        for publish, receipt in receipts:
            publish.done(receipt)

    def _deliver(self, number: int) -> None:
        publish, _ = self._on_their_way.pop(number)
        self._suspects.note_taken(publish.key, publish.topic)
        self._end(publish, Receipt(Outcome.DELIVERED))

    def _send_one(self, client: paho.Client, publish: Publish) -> None:
        size = len(publish.topic.encode()) + len(publish.payload) + PUBLISH_OVERHEAD
        if self._max_packet is not None and size > self._max_packet:
            reason = f"a message of {size} bytes is more than the {self._max_packet} that the broker takes"
            self._end(publish, Receipt(Outcome.REFUSED, reason))
            return
        if self._suspects.is_condemned(publish.key):
            self._end(publish, _breaks_off())
            return
        dialect = self._dialect
        try:
            sent = client.publish(
                publish.topic,
                publish.payload,
                qos=dialect.qos,
                retain=publish.retain and dialect.retain,
                properties=message_properties(dialect.version, PacketTypes.PUBLISH),
            )
        except ValueError as error:
            self._end(publish, Receipt(Outcome.REFUSED, f"not a valid message: {error}"))
            return
        if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._on_their_way[sent.mid] = (publish, time.monotonic())
            if dialect.qos == 0:
                self._unconfirmed.append(sent.mid)
        else:
            self._end(publish, Receipt(Outcome.LOST, paho.error_string(sent.rc)))

    def _end(self, publish: Publish, receipt: Receipt) -> None:
        self._receipts.append((publish, receipt))


def _breaks_off() -> Receipt:
    return Receipt(Outcome.REFUSED, "the broker ends each connection right after a message", cause=BREAKS_OFF)

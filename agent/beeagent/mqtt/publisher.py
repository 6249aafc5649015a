"""The publisher for MQTT brokers."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from beeagent.messages import MAX_TOPIC_BYTES
from beeagent.mqtt.client import PUBLISH_OVERHEAD, Received, RetainedMessage
from beeagent.mqtt.connection import MqttConnection
from beeagent.mqtt.errors import DialectChoice
from beeagent.mqtt.options import MqttOptions
from beeagent.mqtt.poison import PoisonDetector
from beeagent.outbox import MAX_PAYLOAD_BYTES, Outcome, PublisherState, Receipt
from beeagent.threads import Backoff

_LOG: Final = logging.getLogger(__name__)

_HEALTHY_AFTER: Final = 10.0  # minimum duration in seconds of a connection that resets the backoff
# If the broker of 1,000 agents restarts, about 500 connect per second, the limit of AWS IoT Core for an account:
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
# After a long outage, all reconnect within half a minute.
_FIRST_WAIT_S: Final = 4.0
_LONGEST_WAIT_S: Final = 30.0
_STOPPED: Final = PublisherState(connected=False, reason="stopped")


@dataclass(slots=True)
class _Retained:
    """The newest retained message of a topic; `refused` is the reason why the broker refused the last one."""

    payload: bytes
    pending: bool = False
    refused: str = ""


class MqttPublisher:
    """Publishes at QoS 1 to a broker, and reconnects whenever the connection is lost.

    It uses MQTT 5, with MQTT 3.1.1 as fallback; see `DialectChoice`. Every connection has a clean start and no session,
    since the outbox keeps unacknowledged messages. The status is retained, and its topic is that of the last will.
    Retained messages are published again on each connection.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        options: MqttOptions,
        status_topic: str,
        last_will: Callable[[], bytes],
        first_wait_s: float = _FIRST_WAIT_S,
        longest_wait_s: float = _LONGEST_WAIT_S,
        subscriptions: Mapping[str, Callable[[Received], None]] | None = None,
        poison: PoisonDetector | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """Prepare the publisher, which connects after `start`.

        Args:
            options: the broker and the credentials for it.
            status_topic: topic of `report`, `stop` and the last will, retained.
            last_will: returns the payload of the last will; called for every connection.
            first_wait_s: maximum wait in seconds before the first reconnection.
            longest_wait_s: maximum wait in seconds before later ones.
            subscriptions: handlers of received messages by topic, called on the publisher's thread; they must return at
                once. A refused subscription does not prevent publishing.
            poison: detector of poison messages; None for one with the default limits.
            stopping: event set by `stop`, which ends the wait between two connections; None for a new one.

        Raises:
            ValueError: the waits are out of range.
        """
        self._options = options
        self._status_topic = status_topic
        self._last_will = last_will
        self._backoff = Backoff(first=first_wait_s, longest=longest_wait_s)
        self._poison = poison or PoisonDetector()
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._stopping = stopping or threading.Event()
        self._lock = threading.Lock()
        self._state = PublisherState(connected=False, reason="not yet connected", untried=True)
        self._connection: MqttConnection | None = None
        self._subscriptions = dict(subscriptions or {})
        self._retained: dict[str, _Retained] = {}
        self._accepted: MqttConnection | None = None  # last connection accepted by the broker
        self._warned_of_retain = False

    @property
    def payload_limit(self) -> int:
        """The limit of the broker, at most that of AWS IoT Core, which ends the connection after a larger payload."""
        with self._lock:
            max_packet = None if self._accepted is None else self._accepted.max_packet
        if max_packet is None:
            return MAX_PAYLOAD_BYTES
        return max(0, min(MAX_PAYLOAD_BYTES, max_packet - PUBLISH_OVERHEAD - MAX_TOPIC_BYTES))

    @property
    def state(self) -> PublisherState:
        """The state of the connection."""
        with self._lock:
            return self._state

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `state` has changed."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Start to connect, and log a warning for each unsafe setting."""
        for line in self._options.warnings:
            _LOG.warning("%s", line)
        self._thread.start()

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        """Publish with QoS 1; `done` reports the PUBACK or its absence."""
        with self._lock:
            state, connection = self._state, self._connection
        if connection is None or not state.connected:
            done(Receipt(Outcome.LOST, state.reason))
        else:
            connection.publish(topic=topic, payload=payload, retain=False, done=done)

    def report(self, payload: bytes) -> None:
        """Make `payload` the retained status, now and after each new connection."""
        self.retain(topic=self._status_topic, payload=payload)

    def retain(self, *, topic: str, payload: bytes) -> None:
        """Make `payload` the retained message of a topic, now and after each new connection."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._retained.setdefault(topic, _Retained(payload)).payload = payload
        self._send_retained(topic)

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        """Wait for pending publishes, publish `farewell` as the retained status, and disconnect."""
        with self._lock:
            already = self._stopping.is_set()
            self._stopping.set()
            connection, connected = self._connection, self._state.connected
        if connection is not None and not already:
            if connected and farewell is not None:
                connection.publish(topic=self._status_topic, payload=farewell, retain=True, done=_ignore)
            connection.close(grace=timeout * 0.7)  # leaves time for DISCONNECT
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._set_state(_STOPPED)

    def _run(self) -> None:
        dialects = DialectChoice(self._options.version, has_will=True)
        lost_soon = 0
        while not self._stopping.is_set():
            dialect = dialects.current
            connection = MqttConnection(
                options=self._options,
                dialect=dialect,
                will=RetainedMessage(self._status_topic, self._last_will()),
                subscriptions=tuple(self._subscriptions),
                subscriptions_required=False,
                poison=self._poison,
                lost_before=lost_soon,
                on_open=self._handle_open,
                on_close=self._handle_close,
                on_message=self._handle_message,
            )
            with self._lock:
                self._connection = connection
                for retained in self._retained.values():
                    retained.pending = False
            if self._stopping.is_set():  # `stop` may have been called before this connection existed
                connection.close(grace=0.0)
            ending = connection.run()
            with self._lock:
                self._connection = None
            if self._stopping.is_set():
                break
            if dialects.note(ending, healthy_after_s=_HEALTHY_AFTER):
                _LOG.info("%s: trying again with %s", ending.reason, dialects.current)
                continue
            self._set_state(PublisherState(connected=False, reason=ending.reason))
            if ending.lasted_s >= _HEALTHY_AFTER:
                self._backoff.reset()
            lost_soon = lost_soon + 1 if ending.lost and ending.lasted_s < _HEALTHY_AFTER else 0
            self._stopping.wait(self._backoff.next())

    def _handle_open(self, connection: MqttConnection) -> None:
        with self._lock:
            self._state = PublisherState(connected=True)
            self._accepted = connection
        if not connection.dialect.retain and not self._warned_of_retain:
            self._warned_of_retain = True
            _LOG.warning(
                "%s keeps no retained messages: a new subscriber gets the status at its next change only",
                self._options.address,
            )
        # The status first: if the broker accepts it but not the next message, the connection is not the reason.
        with self._lock:
            topics = sorted(self._retained, key=lambda topic: topic != self._status_topic)
        for topic in topics:
            self._send_retained(topic)
        self._notify()

    def _handle_close(self, reason: str) -> None:
        if self.state.connected and not self._stopping.is_set():
            self._set_state(PublisherState(connected=False, reason=reason))

    def _handle_message(self, message: Received) -> None:
        if (handle := self._subscriptions.get(message.topic)) is not None:
            handle(message)

    def _send_retained(self, topic: str) -> None:
        """Publish the newest retained message of a topic, after the pending one if there is one."""
        with self._lock:
            retained, connection = self._retained.get(topic), self._connection
            if retained is None or connection is None or not self._state.connected or retained.pending:
                return
            retained.pending = True
            payload = retained.payload

        def handle_receipt(receipt: Receipt) -> None:
            with self._lock:
                if self._connection is not connection:
                    return  # the next connection publishes the newest message anyway
                retained.pending = False
                newer = retained.payload is not payload
                refused = receipt.reason if receipt.outcome is Outcome.REFUSED else ""
                changed = refused != retained.refused
                retained.refused = refused
            if refused and changed:
                name = "the status" if topic == self._status_topic else "the retained message"
                _LOG.error("%s is not published on %s: %s", name, topic, refused)
            if newer and receipt.outcome is Outcome.DELIVERED:
                self._send_retained(topic)

        connection.publish(topic=topic, payload=payload, retain=True, done=handle_receipt)

    def _set_state(self, state: PublisherState) -> None:
        with self._lock:
            if state == self._state:
                return
            self._state = state
        self._notify()

    def _notify(self) -> None:
        state = self.state
        if state.connected:
            with self._lock:
                dialect = self._accepted.dialect.name if self._accepted else ""
            _LOG.info("connected to %s with %s as %s", self._options.address, dialect, self._options.client_id)
        elif state != _STOPPED:
            _LOG.warning("no connection to the broker: %s; reconnecting", state.reason)
        for listener in self._listeners:
            listener()


def _ignore(_: Receipt) -> None:
    pass

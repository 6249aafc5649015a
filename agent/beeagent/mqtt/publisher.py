"""Publishing to an MQTT broker."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from beeagent.backoff import Backoff
from beeagent.messages.topics import MAX_TOPIC_BYTES
from beeagent.mqtt.client import RetainedMessage
from beeagent.mqtt.connection import Announced, MqttConnection
from beeagent.mqtt.dialect import DialectChoice
from beeagent.mqtt.options import MqttOptions
from beeagent.mqtt.poison import Suspects
from beeagent.mqtt.sending import PUBLISH_OVERHEAD
from beeagent.outbox import Outcome, PublisherState, Receipt

_LOG: Final = logging.getLogger(__name__)

_HEALTHY_AFTER: Final = 10.0  # seconds a connection has to last before the next failure counts as the first
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_PAYLOAD_LIMIT: Final = 128 * 1024  # bytes
_STOPPED: Final = PublisherState(connected=False, reason="stopped")


class MqttPublisher:
    """Publishes at QoS 1 to a broker, and connects again whenever the connection is gone.

    It speaks MQTT 5, and MQTT 3.1.1 to a broker that does not answer 5; see `DialectChoice`. Every connection starts
    clean and leaves no session behind, since the outbox keeps what the broker does not have yet. The status topic is
    retained, and is also the topic of the last will.
    """

    def __init__(  # noqa: PLR0913 - what distinguishes a publisher
        self,
        *,
        options: MqttOptions,
        status_topic: str,
        last_will: Callable[[], bytes],
        first_wait_s: float = 1.0,
        longest_wait_s: float = 60.0,
        suspects: Suspects | None = None,
    ) -> None:
        """Describe the broker; nothing happens before `start`.

        Args:
            options: the broker and how to be let in.
            status_topic: where `report`, `stop` and the last will publish, retained.
            last_will: gives the payload of the last will; called anew for every connection.
            first_wait_s: seconds before the first new try, at most.
            longest_wait_s: seconds between later tries, at most.
            suspects: finds the messages that the broker will never take; None for one with the usual patience.

        Raises:
            ValueError: the waits are no range.
        """
        self._options = options
        self._status_topic = status_topic
        self._last_will = last_will
        self._backoff = Backoff(first=first_wait_s, longest=longest_wait_s)
        self._suspects = suspects or Suspects()
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._state = PublisherState(connected=False, reason="not yet connected", untried=True)
        self._connection: MqttConnection | None = None
        self._report: bytes | None = None
        self._reporting = False
        self._report_refused = ""
        self._announced: Announced | None = None
        self._warned_of_retain = False

    @property
    def payload_limit(self) -> int:
        """What the broker has announced, and AWS IoT Core takes; that ends the connection over more."""
        with self._lock:
            announced = self._announced
        if announced is None or announced.max_packet is None:
            return _PAYLOAD_LIMIT
        return max(0, min(_PAYLOAD_LIMIT, announced.max_packet - PUBLISH_OVERHEAD - MAX_TOPIC_BYTES))

    @property
    def state(self) -> PublisherState:
        """Whether there is a connection."""
        with self._lock:
            return self._state

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `state` has changed."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to connect, and warn of what is unsafe about it."""
        for line in self._options.warnings:
            _LOG.warning("%s", line)
        self._thread.start()

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        """Publish with QoS 1; `done` tells of the PUBACK, or that there will be none."""
        with self._lock:
            state, connection = self._state, self._connection
        if connection is None or not state.connected:
            done(Receipt(Outcome.LOST, state.reason))
        else:
            connection.publish(topic=topic, payload=payload, retain=False, done=done)

    def report(self, payload: bytes) -> None:
        """Make `payload` the retained status, now and after each new connection."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._report = payload
        self._send_report()

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        """Wait for what is under way, publish `farewell` as the retained status, and disconnect."""
        with self._lock:
            already = self._stopping.is_set()
            self._stopping.set()
            connection, connected = self._connection, self._state.connected
        if connection is not None and not already:
            if connected and farewell is not None:
                connection.publish(topic=self._status_topic, payload=farewell, retain=True, done=_forget)
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
                suspects=self._suspects,
                lost_before=lost_soon,
                on_open=self._handle_open,
                on_close=self._handle_close,
            )
            with self._lock:
                self._connection = connection
                self._reporting = False
            if self._stopping.is_set():  # `stop` may have come too early to see this connection
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

    def _handle_open(self, announced: Announced) -> None:
        with self._lock:
            self._state = PublisherState(connected=True)
            self._announced = announced
        if not announced.dialect.retain and not self._warned_of_retain:
            self._warned_of_retain = True
            _LOG.warning(
                "%s keeps no retained messages: who subscribes to the status sees it at its next change only",
                self._options.address,
            )
        # The state first: a broker that takes it, and not what follows, says something of what follows.
        self._send_report()
        self._tell()

    def _handle_close(self, reason: str) -> None:
        if self.state.connected and not self._stopping.is_set():
            self._set_state(PublisherState(connected=False, reason=reason))

    def _send_report(self) -> None:
        """Publish the newest report, unless one is under way: then it follows that one."""
        with self._lock:
            report, connection = self._report, self._connection
            if report is None or connection is None or not self._state.connected or self._reporting:
                return
            self._reporting = True

        def handle_end(receipt: Receipt) -> None:
            with self._lock:
                if self._connection is not connection:
                    return  # the next connection begins with the newest report anyway
                self._reporting = False
                newer = self._report is not report
                refused = receipt.reason if receipt.outcome is Outcome.REFUSED else ""
                news = refused != self._report_refused
                self._report_refused = refused
            if refused and news:
                _LOG.error("the status is not published on %s: %s", self._status_topic, refused)
            if newer and receipt.outcome is Outcome.DELIVERED:
                self._send_report()

        connection.publish(topic=self._status_topic, payload=report, retain=True, done=handle_end)

    def _set_state(self, state: PublisherState) -> None:
        with self._lock:
            if state == self._state:
                return
            self._state = state
        self._tell()

    def _tell(self) -> None:
        state = self.state
        if state.connected:
            with self._lock:
                dialect = self._announced.dialect.name if self._announced else ""
            _LOG.info("connected to %s by %s as %s", self._options.address, dialect, self._options.client_id)
        elif state != _STOPPED:
            _LOG.warning("no connection to the broker: %s; trying again", state.reason)
        for listener in self._listeners:
            listener()


def _forget(_: Receipt) -> None:
    """Nobody waits for this one."""

"""The publisher for Greengrass IPC."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from beeagent.greengrass.delivery import (
    IOT_CORE,
    LOCAL_PUBSUB,
    DeniedTopics,
    EchoSubscriptions,
    InFlight,
    OutgoingMessage,
)
from beeagent.greengrass.ipc import (
    SERVICE_ERROR,
    SUBSCRIBE_TO_IOT_CORE,
    UNAUTHORIZED,
    IpcConnection,
    IpcError,
    ipc_error,
    missing_permission,
)
from beeagent.mqtt import FORBIDDEN
from beeagent.outbox import Outcome, PublisherState, Receipt
from beeagent.threads import Backoff

_LOG: Final = logging.getLogger(__name__)

TOO_LARGE: Final = "too-large"
_MAX_WITHOUT_ECHO: Final = 3
"""Number of attempts for a message without echo, if later messages have one."""
_MAX_REMEMBERED: Final = 64

_STOPPED: Final = PublisherState(connected=False, reason="stopped")

Confirmation = Literal["echo", "accepted"]


@dataclass(slots=True)
class _Retained:
    """The newest retained message of a topic; `problem` is the reason why the last one was not published."""

    payload: bytes
    unsent: bool = True
    problem: str = ""


class GreengrassPublisher:
    """Publishes through the nucleus that runs this process as a component.

    For AWS IoT Core, success of the nucleus does not confirm delivery: a classic one has put the message into a spool
    in memory, and neither kind reports the response of the broker in the cloud. So a result counts as delivered when it
    is received on a subscription to its own topic (its echo). An offline nucleus fails at once or does not respond, and
    does not report when it is online again: after each failure the publisher pauses, with exponential backoff.

    A nucleus lite also fails if too many publishes are unacknowledged. So the number in flight is limited, and a
    failure while others are in flight is first interpreted as "full": the message is sent again after the next echo.

    For local pubsub, success is the only confirmation.

    All work is done by one thread; it receives responses and events of the nucleus through a queue, since the
    connection's thread must not block.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        ipc: IpcConnection,
        destination: Literal["iot-core", "local"],
        status_topic: str,
        confirmation: Confirmation = "echo",
        response_timeout_s: float = 10.0,
        echo_timeout_s: float = 30.0,
        give_up_denied_after_s: float = 60.0,
        settle_s: float = 0.15,
        backoff: Callable[[], Backoff] | None = None,
    ) -> None:
        """Prepare the publisher, which publishes after `start`.

        Args:
            ipc: the connection to the nucleus, shared with others.
            destination: destination of messages.
            status_topic: topic of `report` and `stop`.
            confirmation: confirmation of a delivery to AWS IoT Core: the echo, or acceptance by the nucleus.
            response_timeout_s: time-out in seconds for a response of the nucleus.
            echo_timeout_s: time-out in seconds from acceptance to the echo.
            give_up_denied_after_s: seconds for which a denied topic is retried if others are accepted.
            settle_s: seconds after which a message without echo counts as acknowledged by the broker.
            backoff: creates the backoff for pauses after failures; None for the defaults.

        Raises:
            ValueError: a time is not positive.
        """
        if min(response_timeout_s, echo_timeout_s) <= 0 or give_up_denied_after_s < 0:
            raise ValueError(f"{response_timeout_s}, {echo_timeout_s} or {give_up_denied_after_s} is out of range")
        self._ipc = ipc
        self._destination = LOCAL_PUBSUB if destination == "local" else IOT_CORE
        self._use_echoes = confirmation == "echo" and destination == "iot-core"
        self._status_topic = status_topic
        self._response_timeout = response_timeout_s
        self._echo_timeout = echo_timeout_s
        # Retrying a failed call is cheap; a message in the spool of an offline nucleus is published later.
        self._failure_backoff = (backoff or partial(Backoff, first=1.0, longest=10.0))()
        self._no_echo_backoff = (backoff or partial(Backoff, first=1.0, longest=60.0))()
        self._full_backoff = Backoff(first=0.1, longest=1.0)
        self._denied = DeniedTopics(
            backoff=backoff or partial(Backoff, first=1.0, longest=60.0), give_up_after_s=give_up_denied_after_s
        )
        self._echoes = EchoSubscriptions(
            ipc,
            on_echo=lambda topic, payload: self._inbox.put(partial(self._handle_echo, topic, payload)),
            on_end=lambda topic, number: self._inbox.put(partial(self._handle_subscription_end, topic, number)),
        )
        self._listeners: list[Callable[[], None]] = []
        self._stop_listening: Callable[[], None] = lambda: None
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="greengrass", daemon=True)
        self._lock = threading.Lock()
        self._accepting = True
        self._state = PublisherState(connected=False, reason="not yet connected", untried=True)
        # The following are used only by the thread.
        self._client: Any = None
        self._in_flight = InFlight(self._destination.limits, settle_s=0.0 if destination == "local" else settle_s)
        self._last_echoed: dict[str, int] = {}  # by topic: `sent_order` of the newest message with an echo
        self._without_echo: dict[int, int] = {}  # by message: number of attempts without echo while later ones had one
        self._full_since: float | None = None
        self._full_until: float | None = None
        self._paused_until: float | None = None
        self._pause_reason = ""
        self._logged_reason = ""
        self._retained: dict[str, _Retained] = {}
        self._stop_by: float | None = None  # deadline of `stop`

    @property
    def payload_limit(self) -> int:
        """Maximum size of a message in bytes."""
        return self._destination.limits.payload_bytes

    @property
    def state(self) -> PublisherState:
        """The current state of the connection."""
        with self._lock:
            return self._state

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `state` has changed."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Start publishing when there is a connection to the nucleus."""
        self._stop_listening = self._ipc.listen(lambda: self._inbox.put(self._handle_connection))
        self._inbox.put(self._handle_connection)
        self._thread.start()

    def publish(self, *, topic: str, payload: bytes, done: Callable[[Receipt], None]) -> None:
        """Publish with QoS 1; `done` is called once with the receipt."""
        limit = self._destination.limits.publish_bytes  # messages of an older version may be longer
        if len(payload) > limit:
            reason = f"a message of {len(payload)} bytes exceeds the nucleus' limit of {limit}"
            done(Receipt(Outcome.REFUSED, reason, cause=TOO_LARGE))
            return
        with self._lock:
            accepting = self._accepting and self._thread.ident is not None
            if accepting:
                self._inbox.put(partial(self._begin, OutgoingMessage(topic, payload, done)))
        if not accepting:
            done(Receipt(Outcome.LOST, self.state.reason))

    def report(self, payload: bytes) -> None:
        """Make `payload` the status of the device, now and after each new connection; retained in the cloud."""
        self.retain(topic=self._status_topic, payload=payload)

    def retain(self, *, topic: str, payload: bytes) -> None:
        """Make `payload` the newest message of a topic, now and after each new connection; retained in the cloud.

        Messages other than the status have QoS 0, so that an offline nucleus drops them instead of spooling them.
        """
        self._inbox.put(partial(self._set_retained, topic, payload))

    def stop(self, *, farewell: bytes | None, timeout: float) -> None:
        """Wait for the messages in flight, publish `farewell` as the status, and stop using the connection."""
        self._stop_listening()
        self._inbox.put(partial(self._begin_stop, farewell, time.monotonic() + timeout))
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._set_state(_STOPPED)

    # Everything below runs on the publisher's thread.

    def _run(self) -> None:
        while not self._is_done():
            times = (self._in_flight.deadline, self._full_until, self._paused_until, self._stop_by)
            deadlines = [deadline for deadline in times if deadline is not None]
            timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            try:
                work = self._inbox.get(timeout=timeout)
            except queue.Empty:
                self._handle_deadlines()
            else:
                work()
            self._send_waiting()
        with self._lock:
            self._accepting = False
        while not self._inbox.empty():  # reports them as lost
            self._inbox.get()()
        for message in self._in_flight.clear():
            message.done(Receipt(Outcome.LOST, "stopped"))
        self._echoes.close()

    def _is_done(self) -> bool:
        if self._stop_by is None:
            return False
        return not self._in_flight or time.monotonic() >= self._stop_by

    def _begin_stop(self, farewell: bytes | None, deadline: float) -> None:
        if self._stop_by is not None:
            return
        self._stop_by = deadline - 0.1
        self._in_flight.end_waiting(Receipt(Outcome.LOST, "stopped"))
        if farewell is not None and self.state.connected:
            self._send(OutgoingMessage(self._status_topic, farewell, lambda _: None, retain=True))

    def _handle_connection(self) -> None:
        """Handle a new, ended or changed connection to the nucleus."""
        client = self._ipc.client
        if client is self._client and not self.state.untried:
            return
        self._client = client
        self._echoes.clear()
        self._paused_until = None
        self._clear_full()
        for retained in self._retained.values():
            retained.unsent = True
        lost = self._in_flight.clear()
        self._update_state()  # also publishes the status, which is not lost
        for message in lost:
            message.done(Receipt(Outcome.LOST, "the connection to the nucleus ended"))

    def _handle_deadlines(self) -> None:
        if self._paused_until is not None and time.monotonic() >= self._paused_until:
            self._paused_until = None
            self._probe()
        for message in self._in_flight.expired():
            if message not in self._in_flight:
                continue  # ended together with another one
            if message.accepted:
                self._handle_missing_echo(message)
            else:
                reason = "the nucleus does not respond"
                self._pause(reason, self._failure_backoff)
                self._in_flight.end(message, Receipt(Outcome.LOST, reason))

    def _handle_missing_echo(self, message: OutgoingMessage) -> None:
        """Handle a message that was accepted by the nucleus, but whose echo has not arrived in time."""
        reason = f"no message has come back from AWS IoT Core for {self._echo_timeout:g} s"
        if self._last_echoed.get(message.topic, 0) > message.sent_order:
            # Later messages have an echo: the subscription works, and only this message is lost.
            key = hash((message.topic, message.payload))
            times = self._without_echo.pop(key, 0) + 1
            if times >= _MAX_WITHOUT_ECHO:
                _LOG.warning(
                    "a message on %s was published %d times and never came back, though later ones did: it counts as "
                    "delivered",
                    message.topic,
                    times,
                )
                self._in_flight.end(message, Receipt(Outcome.DELIVERED))
                return
            self._without_echo[key] = times
            if len(self._without_echo) > _MAX_REMEMBERED:
                del self._without_echo[next(iter(self._without_echo))]
            self._in_flight.end(message, Receipt(Outcome.LOST, reason))
            return
        # The subscription may have been lost silently. End all messages on its topic, so that each is published only
        # once more.
        reason += ": is the nucleus offline, or does the device's IoT policy lack iot:Receive for the topic?"
        self._echoes.unsubscribe(message.topic)
        self._pause(reason, self._no_echo_backoff)
        self._lose_topic(message.topic, reason)

    def _lose_topic(self, topic: str, reason: str) -> None:
        for message in [sent for sent in self._in_flight.sent if sent.topic == topic]:
            self._in_flight.end(message, Receipt(Outcome.LOST, reason))

    def _probe(self) -> None:
        """Check, after a pause, whether the nucleus publishes again, by publishing the current status."""
        status = self._retained.get(self._status_topic)
        if status is None:
            self._update_state()
            return

        def handle_end(receipt: Receipt) -> None:
            self._handle_retained_receipt(self._status_topic, receipt)
            if receipt.outcome is Outcome.DELIVERED:
                self._failure_backoff.reset()
            if receipt.outcome is Outcome.DELIVERED or self._denied.reason(self._status_topic):
                self._update_state()  # a denied status must not block the results

        status.unsent = False
        self._send(OutgoingMessage(self._status_topic, status.payload, handle_end, retain=True))

    def _begin(self, message: OutgoingMessage) -> None:
        if self._stop_by is not None or not self.state.connected:
            message.done(Receipt(Outcome.LOST, self.state.reason or "stopped"))
            return
        if reason := self._denied.reason(message.topic):
            message.done(self._denied_receipt(message.topic, reason))
            return
        self._in_flight.wait(message)

    def _send_waiting(self) -> None:
        """Send waiting messages while there is space."""
        if self._full_until is not None and time.monotonic() >= self._full_until:
            self._full_until = None
        while self._full_until is None and (message := self._in_flight.next()) is not None:
            if self._needs_echo(message) and message.topic not in self._echoes:
                try:
                    self._echoes.subscribe(message.topic)
                except IpcError as error:
                    message.done(self._failure_receipt(message.topic, error, SUBSCRIBE_TO_IOT_CORE))
                    continue
            self._send(message)

    def _send(self, message: OutgoingMessage) -> None:
        self._in_flight.add(message, timeout_s=self._response_timeout)
        try:
            future = self._destination.publish(self._client, message)
        except Exception as error:  # noqa: BLE001 - the SDK raises various exceptions after the connection has ended
            self._in_flight.end(message, self._failure_receipt(message.topic, ipc_error(error)))
            return
        future.add_done_callback(lambda future: self._inbox.put(partial(self._handle_response, message, future)))

    def _handle_response(self, message: OutgoingMessage, future: "Future[Any]") -> None:
        if message not in self._in_flight:
            return  # the echo has already arrived, or the message was lost
        error = future.exception()
        if error is not None:
            self._handle_failure(message, ipc_error(error))
        elif self._needs_echo(message):
            message.accepted = True
            message.deadline = time.monotonic() + self._echo_timeout
        else:
            if not message.retain:
                self._handle_accepted(message.topic)
            self._in_flight.settle(message, Receipt(Outcome.DELIVERED))

    def _needs_echo(self, message: OutgoingMessage) -> bool:
        """Return True if an echo confirms the delivery; for a message too large for that, acceptance does."""
        fits = message.packet_bytes <= self._destination.limits.echo_bytes
        return self._use_echoes and not message.retain and fits

    def _handle_failure(self, message: OutgoingMessage, error: IpcError) -> None:
        if message.qos == 0 and error.name != UNAUTHORIZED:  # dropped; unrelated to results
            self._in_flight.end(message, Receipt(Outcome.LOST, str(error)))
            return
        if not self._is_full(error):
            self._in_flight.end(message, self._failure_receipt(message.topic, error))
            return
        now = time.monotonic()
        self._full_since = self._full_since or now
        if self._full_until is None:  # several messages may fail at once
            self._full_until = now + self._full_backoff.next()
        self._in_flight.take_back(message)

    def _is_full(self, error: IpcError) -> bool:
        """Return True if an error may be due to too many messages in flight, not to an offline nucleus."""
        if error.name != SERVICE_ERROR or self._paused_until is not None or not self._in_flight.any_accepted:
            return False
        return self._full_since is None or time.monotonic() - self._full_since < self._response_timeout

    def _clear_full(self) -> None:
        self._full_since = self._full_until = None
        self._full_backoff.reset()

    def _handle_echo(self, topic: str, payload: bytes) -> None:
        same_topic = [message for message in self._in_flight.sent if message.topic == topic]
        message = next((message for message in same_topic if message.payload == payload), None)
        if message is None:
            return
        self._handle_accepted(topic)
        self._no_echo_backoff.reset()
        self._last_echoed[topic] = max(message.sent_order, self._last_echoed.get(topic, 0))
        self._in_flight.end(message, Receipt(Outcome.DELIVERED))
        # Echoes arrive in order, so earlier messages are probably lost and only occupy space.
        soon = time.monotonic() + self._echo_timeout / 6
        for other in same_topic:
            if other.accepted and other.sent_order < message.sent_order:
                other.deadline = min(other.deadline, soon)

    def _handle_subscription_end(self, topic: str, number: int) -> None:
        if self._echoes.note_end(topic, number):
            self._lose_topic(topic, f"the nucleus ended the subscription to {topic}")

    def _handle_accepted(self, topic: str) -> None:
        """Reset the failures of a topic after an accepted result."""
        self._denied.note_accepted(topic)
        self._failure_backoff.reset()
        self._clear_full()
        self._logged_reason = ""

    def _failure_receipt(self, topic: str, error: IpcError, operation: str | None = None) -> Receipt:
        """Return the receipt of a message after a failed publish or subscription."""
        action = "publishing on" if operation is None else "subscribing to"
        if error.name == UNAUTHORIZED:
            missing = missing_permission(self._ipc, operation or self._destination.operation, topic)
            reason = f"{action} {topic}: {missing}"
            self._denied.note_denied(topic, reason)
            return self._denied_receipt(topic, reason)
        cause = "the nucleus did not accept it: is it offline or too busy?" if error.name == SERVICE_ERROR else error
        reason = f"{action} {topic}: {cause}"
        self._pause(reason, self._failure_backoff)
        if error.name == SERVICE_ERROR:
            # Sessions are clean: messages in flight when the nucleus went offline have no echo.
            for message in [sent for sent in self._in_flight.sent if sent.accepted]:
                self._in_flight.end(message, Receipt(Outcome.LOST, reason))
        return Receipt(Outcome.LOST, reason)

    def _denied_receipt(self, topic: str, reason: str) -> Receipt:
        if self._denied.is_given_up(topic):
            return Receipt(Outcome.REFUSED, reason, cause=FORBIDDEN)
        return Receipt(Outcome.LOST, reason)

    def _pause(self, reason: str, backoff: Backoff) -> None:
        if self._paused_until is None and self._client is not None:
            self._paused_until = time.monotonic() + backoff.next()
            self._pause_reason = reason
            self._clear_full()
            self._update_state()
            self._in_flight.end_waiting(Receipt(Outcome.LOST, reason))

    def _set_retained(self, topic: str, payload: bytes) -> None:
        if self._stop_by is None:
            retained = self._retained.setdefault(topic, _Retained(payload))
            retained.payload, retained.unsent = payload, True
            self._publish_retained()

    def _publish_retained(self) -> None:
        """Publish the retained messages that were not sent yet, the status first."""
        for topic in sorted(self._retained, key=lambda topic: topic != self._status_topic):
            retained = self._retained[topic]
            if not self.state.connected:
                return
            if not retained.unsent or (topic != self._status_topic and self._denied.reason(topic)):
                continue
            retained.unsent = False
            done = partial(self._handle_retained_receipt, topic)
            qos: Literal[0, 1] = 1 if topic == self._status_topic else 0
            self._send(OutgoingMessage(topic, retained.payload, done, retain=True, qos=qos))

    def _handle_retained_receipt(self, topic: str, receipt: Receipt) -> None:
        retained = self._retained[topic]
        problem = "" if receipt.outcome is Outcome.DELIVERED else receipt.reason
        if problem and problem != retained.problem:
            name = "the status" if topic == self._status_topic else f"the newest message of {topic}"
            _LOG.warning("%s is not published: %s", name, problem)
        retained.problem = problem

    def _update_state(self) -> None:
        connected = self._client is not None and self._paused_until is None
        reason = "" if connected else self._ipc.reason if self._client is None else self._pause_reason
        self._set_state(PublisherState(connected=connected, reason=reason))
        if connected:
            self._publish_retained()

    def _set_state(self, state: PublisherState) -> None:
        with self._lock:
            if self._state in (state, _STOPPED):
                return
            self._state = state
        if not state.connected and state != _STOPPED and state.reason != self._logged_reason:
            self._logged_reason = state.reason
            _LOG.warning("cannot publish through the nucleus: %s; retrying", state.reason)
        for listener in self._listeners:
            listener()

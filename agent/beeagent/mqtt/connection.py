"""One connection to an MQTT broker, from CONNECT to its end."""

import logging
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from beeagent.mqtt import errors
from beeagent.mqtt.client import (
    PendingPublishes,
    PingingClient,
    Publish,
    Received,
    RetainedMessage,
    connect_size,
    make_client,
)
from beeagent.mqtt.errors import MQTT_5, Dialect, Ending
from beeagent.mqtt.options import ErrorKeepingSocket, MqttOptions
from beeagent.mqtt.poison import PoisonDetector
from beeagent.outbox import Outcome, Receipt

_LOG: Final = logging.getLogger(__name__)

_MAX_SLEEP: Final = 1.0  # seconds between two checks of the time-outs
_SOON: Final = 10.0  # seconds within which a connection may be lost because of another client with the same id
_MANY_LOSSES: Final = 3  # consecutive losses after which there may be such a client
_FAREWELL_TIME: Final = 0.5  # seconds for sending a DISCONNECT


def _ignore(_: object = None) -> None:
    pass


class MqttConnection:
    """One connection, which is established, used and ended once. `run` does all work on the calling thread.

    Only that thread uses paho's client. So paho's locks cannot be acquired in the wrong order, and no publish is passed
    to an offline client, which would queue it and send it later. No state is carried over to the next connection, which
    has a new client and a clean start: unacknowledged messages are in the outbox.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        options: MqttOptions,
        dialect: Dialect,
        will: RetainedMessage | None = None,
        subscriptions: Sequence[str] = (),
        subscriptions_required: bool = True,
        poison: PoisonDetector | None = None,
        lost_before: int = 0,
        on_open: "Callable[[MqttConnection], None]" = _ignore,
        on_close: Callable[[str], None] = _ignore,
        on_message: Callable[[Received], None] = _ignore,
    ) -> None:
        """Prepare the connection, which `run` establishes.

        Args:
            options: the broker and the credentials for it.
            dialect: dialect to use with the broker.
            will: last will; None for none.
            subscriptions: topic filters to subscribe to with QoS 1.
            subscriptions_required: True to end the connection if the broker refuses one of them.
            poison: detector of poison messages, shared by several connections.
            lost_before: number of consecutive connections before this one that were lost soon.
            on_open: called with this connection when the broker has accepted it and the subscriptions.
            on_close: called with the reason when the connection has ended, before the receipts of lost publishes.
            on_message: called for each received message. All callbacks run on the thread of `run`.
        """
        self._options = options
        self.dialect = dialect  # adapted to the broker's CONNACK
        self.max_packet: int | None = None  # the broker's maximum packet size in bytes
        self._will = will
        self._subscriptions = list(subscriptions)
        self._subscriptions_required = subscriptions_required
        self._lost_before = lost_before
        self._on_open = on_open
        self._on_close = on_close
        self._on_message = on_message
        self._publishes = PendingPublishes(
            dialect=dialect,
            max_in_flight=options.max_in_flight,
            acknowledge_timeout_s=options.acknowledge_timeout_s,
            poison=poison or PoisonDetector(),
        )
        self._lock = threading.Lock()
        self._close_by: float | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._wake_writer.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        # The following are used only by the thread of `run`.
        self._received: list[Received] = []
        self._socket: ErrorKeepingSocket | None = None
        self._opened = False
        self._announced = False
        self._ended = False
        self._by_broker = False
        self._reason = ""
        self._client_id = options.client_id
        self._reached = False
        self._answered = False
        self._refusal: int | None = None
        self._opened_at = 0.0
        self._lost = False
        self._farewell_by: float | None = None

    def publish(self, *, topic: str, payload: bytes, retain: bool, done: Callable[[Receipt], None]) -> None:
        """Publish with QoS 1. Thread-safe; `done` is called exactly once, on the thread of `run` or the caller's."""
        if self._publishes.add(Publish(topic, payload, retain, done)):
            self._wake()
        else:
            done(Receipt(Outcome.LOST, "the connection is closed"))

    def close(self, *, grace: float) -> None:
        """Accept no more publishes; end when all are acknowledged, or after `grace` seconds. Thread-safe."""
        with self._lock:
            if self._close_by is None:
                self._close_by = time.monotonic() + grace
        if self._publishes.close():
            self._wake()

    def run(self) -> Ending:
        """Connect, and serve the connection until it ends. Call it once."""
        try:
            if (client := self._connect()) is not None:
                self._serve(client)
        finally:
            if self._socket is not None and self._socket.fault is not None and not self._opened:
                self._reached = False
                self._reason = errors.tls_error(self._options.address, self._socket.fault)
            self._reason = self._reason or "the connection was lost"
            self._on_close(self._reason)
            self._publishes.end(self._reason, by_broker=self._by_broker)
            with self._lock:
                self._wake_reader.close()
                self._wake_writer.close()
        return Ending(
            reason=self._reason,
            opened=self._opened,
            dialect=self.dialect,
            lasted_s=time.monotonic() - self._opened_at if self._opened else 0.0,
            refusal=self._refusal,
            unanswered=self._reached and not self._answered,
            lost=self._lost,
        )

    def _wake(self) -> None:
        with self._lock, suppress(OSError):  # full: already awake; closed: already ended
            self._wake_writer.send(b"\0")

    def _connect(self) -> PingingClient | None:
        client = make_client(options=self._options, dialect=self.dialect, will=self._will)
        client.on_socket_open = self._handle_socket
        client.on_connect = self._handle_connect
        client.on_disconnect = self._handle_disconnect
        client.on_publish = lambda _client, _data, mid, code, _properties: self._publishes.acknowledge(mid, code)
        client.on_subscribe = self._handle_suback
        client.on_ping = self._publishes.note_ping
        client.on_pong = self._publishes.note_pong
        client.on_message = lambda _client, _data, message: self._received.append(
            Received(message.topic, bytes(message.payload), message.retain)
        )
        address = self._options.address
        try:
            client.connect(address.host, address.port, keepalive=self._options.keepalive_s)
        except (OSError, ValueError) as error:
            self._reason = errors.connect_error(address, error)
            return None
        return client

    def _serve(self, client: PingingClient) -> None:
        connection = client.socket()
        self._reached = True
        if connection is None:  # lost during CONNECT
            return
        answer_by = time.monotonic() + self._options.connect_timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            selector.register(connection, selectors.EVENT_READ)
            try:
                while client.socket() is not None and not self._ended:
                    self._serve_once(client, selector)
                    self._call_back()
                    if self._opened:
                        self._publishes.send(client)
                        self._call_back()
                    self._check_times(answer_by)
                    self._disconnect(client)
            finally:
                connection.close()

    def _serve_once(self, client: paho.Client, selector: selectors.DefaultSelector) -> None:
        if (connection := client.socket()) is None:
            return
        selector.modify(connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0))
        # Data that TLS has already read and decrypted does not wake the selector.
        decrypted = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        ready = {key.fileobj: mask for key, mask in selector.select(0 if decrypted else self._sleep(client))}
        if self._wake_reader in ready:
            self._wake_reader.recv(4096)
        mask = ready.get(connection, 0)
        try:
            if decrypted or mask & selectors.EVENT_READ:
                client.loop_read()
            if mask & selectors.EVENT_WRITE:
                client.loop_write()
            client.loop_misc()
        except Exception as error:  # noqa: BLE001 - paho raises various exceptions for invalid packets
            self._end(f"{self._options.address} sent invalid MQTT packets ({type(error).__name__})")

    def _sleep(self, client: paho.Client) -> float:
        with self._lock:
            deadlines = [deadline for deadline in (self._close_by, self._farewell_by) if deadline is not None]
        # The broker may have set a shorter keep-alive; it tolerates 1.5 times the interval.
        sleeps = [
            min(_MAX_SLEEP, client.keepalive / 4 or _MAX_SLEEP),
            *(deadline - time.monotonic() for deadline in deadlines),
        ]
        if self._opened and (pause := self._publishes.pause()):
            sleeps.append(pause)
        return max(0.0, min(sleeps))

    def _check_times(self, answer_by: float) -> None:
        now = time.monotonic()
        if not self._opened and now > answer_by:
            self._end(f"{self._options.address} does not answer {self.dialect.name}")
        if self._publishes.overdue:
            self._end(f"no acknowledgement for {self._options.acknowledge_timeout_s:g} s")

    def _disconnect(self, client: paho.Client) -> None:
        now = time.monotonic()
        with self._lock:
            close_by = self._close_by
        if close_by is None:
            return
        if self._farewell_by is not None:
            if now >= self._farewell_by:  # DISCONNECT cannot be sent
                self._end("disconnected")
        elif self._opened and self._publishes.idle:
            self._reason = self._reason or "disconnected"
            self._farewell_by = now + _FAREWELL_TIME
            client.disconnect()
        elif not self._opened or now >= close_by:
            # The last status could not be delivered: let the broker publish the will.
            self._end("disconnected")

    def _end(self, reason: str) -> None:
        """Request the end of the connection without a DISCONNECT, so that the broker publishes the will."""
        self._reason = self._reason or reason
        self._ended = True

    def _call_back(self) -> None:
        """Call the callbacks, but not from paho's callbacks, which run under its locks."""
        if self._opened and not self._announced:
            self._announced = True
            self._on_open(self)
        received, self._received = self._received, []
        for message in received:
            self._on_message(message)
        self._publishes.report_receipts()

    def _handle_socket(self, _client: paho.Client, _data: object, connection: object) -> None:
        self._socket = connection if isinstance(connection, ErrorKeepingSocket) else None

    def _handle_connect(
        self,
        client: paho.Client,
        _data: object,
        _flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answered = True
        if code.is_failure:
            self._refusal = code.value
            self._reason = errors.refusal(self._options, code, client_id=self._client_id, dialect=self.dialect)
            return

        def broker_limit(name: str, default: int) -> int:
            return int(getattr(properties, name, default))

        self._client_id = getattr(properties, "AssignedClientIdentifier", self._client_id)
        if self.dialect.version == MQTT_5:
            self.dialect = replace(
                self.dialect,
                retain=self.dialect.retain and bool(broker_limit("RetainAvailable", 1)),
                qos=min(self.dialect.qos, broker_limit("MaximumQoS", 1)),
            )
        self.max_packet = getattr(properties, "MaximumPacketSize", None)
        self._publishes.open(
            dialect=self.dialect,
            receive_maximum=getattr(properties, "ReceiveMaximum", None),
            max_packet=self.max_packet,
        )
        wildcards = [topic_filter for topic_filter in self._subscriptions if set(topic_filter) & set("+#")]
        if wildcards and not broker_limit("WildcardSubscriptionAvailable", 1):
            self._end(
                f"{self._options.address} accepts no subscription with wildcards, such as {wildcards[0]}: give "
                "the device and the camera"
            )
        elif self._subscriptions:
            client.subscribe([(topic_filter, 1) for topic_filter in self._subscriptions])
        else:
            self._opened, self._opened_at = True, time.monotonic()

    def _handle_suback(
        self, _client: paho.Client, _data: object, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = [code for code in codes if code.is_failure]
        if refused and self._subscriptions_required:
            self._end(f"{self._options.address} refuses the subscription ({str(refused[0]).lower()})")
            return
        for topic_filter, code in zip(self._subscriptions, codes, strict=False):
            if code.is_failure:
                _LOG.warning("%s refuses the subscription to %s (%s)", self._options.address, topic_filter, code)
        self._opened, self._opened_at = True, time.monotonic()

    def _handle_disconnect(
        self, _client: paho.Client, _data: object, flags: paho.DisconnectFlags, code: ReasonCode, _: Properties | None
    ) -> None:
        by_packet = flags.is_disconnect_packet_from_server
        reason = errors.end(code, by_packet=by_packet, client_id=self._client_id)
        if not self._answered and errors.is_silent(code):
            reason = errors.lost_unanswered(
                self._options.address,
                self.dialect,
                connect_bytes=connect_size(self._options, self.dialect, self._will),
            )
        elif not self._answered and not by_packet:
            reason = errors.misunderstood(self._options, code, dialect=self.dialect)
        unexpected = not self._ended and self._farewell_by is None
        self._lost = self._opened and unexpected and not by_packet and errors.is_silent(code)
        if self._lost and self._lost_before + 1 >= _MANY_LOSSES and time.monotonic() - self._opened_at < _SOON:
            reason = errors.lost_again(self._lost_before + 1, client_id=self._client_id)
        self._by_broker = unexpected and errors.may_be_over_a_message(code)
        if by_packet:
            self.dialect = self.dialect.after(code.value)
        self._reason = self._reason or reason

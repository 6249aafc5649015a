"""Subscriptions to an MQTT broker for commands, and the removal of retained messages."""

import logging
import uuid
from collections.abc import Callable, Sequence
from threading import Event
from typing import Final

from beeagent.errors import InputError
from beeagent.mqtt.client import Received
from beeagent.mqtt.connection import MqttConnection
from beeagent.mqtt.errors import DialectChoice
from beeagent.mqtt.options import MqttOptions
from beeagent.outbox import Outcome, Receipt
from beeagent.threads import Backoff

_LOG: Final = logging.getLogger(__name__)

_HEALTHY_AFTER: Final = 10.0  # seconds after which a connection was stable


def reader_id(command: str, *, agent_id: str | None) -> str:
    """Return a unique client id, since a broker ends the connection of another client with the same id.

    Args:
        command: name of the command.
        agent_id: client id of the agent in the settings, used as prefix; None for the default prefix.
    """
    return f"{agent_id or 'beeagent'}-{command}-{uuid.uuid4().hex[:8]}"


def clear_retained(options: MqttOptions, topics: Sequence[str]) -> set[str]:
    """Remove the retained messages of topics; return the topics that had one.

    Raises:
        InputError: the broker cannot be reached, or refuses the connection or a message.
    """
    cleared: set[str] = set()
    refused: list[str] = []
    dialects = DialectChoice(options.version, has_will=False)

    def clear(connection: MqttConnection) -> None:
        for topic in topics:
            connection.publish(topic=topic, payload=b"", retain=True, done=note)
        connection.close(grace=options.acknowledge_timeout_s)

    def note(receipt: Receipt) -> None:
        if receipt.outcome is not Outcome.DELIVERED:
            refused.append(receipt.reason)

    while True:
        ending = MqttConnection(
            options=options,
            dialect=dialects.current,
            subscriptions=topics,
            on_open=clear,
            on_message=lambda message: cleared.add(message.topic) if message.retained else None,
        ).run()
        if ending.opened or not dialects.note(ending, healthy_after_s=_HEALTHY_AFTER):
            break
    if not ending.opened or refused:
        raise InputError(f"{refused[0] if refused else ending.reason}: check --broker, and what its user may publish")
    return cleared


class Subscription:
    """A subscription that reconnects until it is stopped."""

    def __init__(
        self,
        *,
        options: MqttOptions,
        filters: Sequence[str],
        on_open: Callable[[], None],
        on_message: Callable[[Received], None],
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare the subscription, which connects in `run`.

        Args:
            options: the broker and the credentials for it.
            filters: topic filters.
            on_open: called after each subscription.
            on_message: called for each message; not after `stop`.
            on_lost: called with the reason before a reconnection; None if a lost connection is an error. All callbacks
                run on the thread of `run`.
        """
        self._options = options
        self._filters = tuple(filters)
        self._on_open = on_open
        self._on_message = on_message
        self._on_lost = on_lost
        self._stopping = Event()
        self._connection: MqttConnection | None = None

    def run(self) -> None:
        """Receive messages until `stop` is called.

        With `on_lost`, a lost connection is reestablished. A failure of the first connection is always an error.

        Raises:
            InputError: the broker cannot be reached or refuses the connection, or it is lost without `on_lost`.
        """
        for line in self._options.warnings:
            _LOG.warning("%s", line)
        dialects, opened = DialectChoice(self._options.version, has_will=False), False
        backoff = Backoff(first=1.0, longest=30.0)
        while not self._stopping.is_set():
            self._connection = MqttConnection(
                options=self._options,
                dialect=dialects.current,
                subscriptions=self._filters,
                on_open=lambda _: self._on_open(),
                on_message=self._handle_message,
            )
            if self._stopping.is_set():
                self._connection.close(grace=0.0)
            ending = self._connection.run()
            if self._stopping.is_set():
                break
            if dialects.note(ending, healthy_after_s=_HEALTHY_AFTER):
                continue
            opened = opened or ending.opened
            if not opened or self._on_lost is None:
                raise InputError(f"{ending.reason}: check --broker, and that the broker runs")
            if ending.opened:
                backoff.reset()
            self._on_lost(ending.reason)
            self._stopping.wait(backoff.next())

    def stop(self) -> None:
        """End `run`. Thread-safe."""
        self._stopping.set()
        if self._connection is not None:
            self._connection.close(grace=0.0)

    def _handle_message(self, message: Received) -> None:
        if not self._stopping.is_set():
            self._on_message(message)

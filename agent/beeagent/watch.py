"""`beeagent watch`: what is published, readably, as it comes.

What comes in is not trusted: whoever may publish may have written it.
"""

import uuid
from collections.abc import Callable
from threading import Event
from typing import Final

from beeagent.backoff import Backoff
from beeagent.choices import chosen_mqtt_options
from beeagent.config import Settings
from beeagent.delivery.broker_url import BrokerAddress, parse_broker
from beeagent.delivery.mqtt_client import MQTT_3, MQTT_5, first_version
from beeagent.delivery.mqtt_connection import MqttConnection, Received
from beeagent.delivery.mqtt_options import MqttOptions
from beeagent.delivery.received import (
    ReceivedDetections,
    ReceivedStatus,
    UnreadableError,
    read_detections,
    read_status,
)
from beeagent.delivery.topics import detections_topic
from beeagent.errors import InputError

_ANY: Final = "+"
_SHOWN_BOXES: Final = 3
_SHOWN_LABELS: Final = 6
_MAX_TEXT: Final = 80  # characters of a name or a label
_MAX_REMEMBERED: Final = 1000  # devices, and cameras


def run_watch(
    settings: Settings, *, device: str, camera: str, messages: int | None, write: Callable[[str], None]
) -> None:
    """Watch the broker that the settings name, until `messages` have come or Ctrl-C is pressed.

    Raises:
        InputError: there is no broker to connect to, or it cannot be reached or refuses.
    """
    address = parse_broker(settings.broker)
    if not isinstance(address, BrokerAddress):
        raise InputError(f"there is nothing to watch at broker {settings.broker}: give --broker mqtt://HOST[:PORT]")
    options = chosen_mqtt_options(settings, address=address, client_id=f"beeagent-watch-{uuid.uuid4().hex[:8]}")
    watcher = Watcher(
        options=options, prefix=settings.topic_prefix, device=device, camera=camera, limit=messages, write=write
    )
    try:
        watcher.run()
    except KeyboardInterrupt:
        watcher.stop()


class Watcher:
    """Subscribes to results and states, and writes a line for each."""

    def __init__(  # noqa: PLR0913 - the choices of whoever watches
        self,
        *,
        options: MqttOptions,
        prefix: str,
        device: str = _ANY,
        camera: str = _ANY,
        limit: int | None = None,
        write: Callable[[str], None],
    ) -> None:
        """Choose what to watch; nothing happens before `run`.

        Args:
            options: the broker and how to be let in.
            prefix: of the topics.
            device: only this one; `+` for all.
            camera: only this one; `+` for all.
            limit: end after so many results; None for no end.
            write: takes each line, without line break.

        Raises:
            InputError: the prefix or a name cannot be in a topic.
            ValueError: the limit is not positive.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit {limit} is not positive")
        for name in (device, camera):  # `+` stands for a name here and in no other place
            detections_topic(prefix, "any" if name == _ANY else name, "any")
        self._options = options
        self._filters = (f"{prefix}/{device}/{camera}/detections", f"{prefix}/{device}/status")
        self._limit = limit
        self._write = write
        self._stopping = Event()
        self._connection: MqttConnection | None = None
        self._seen = 0
        self._last_seq: dict[tuple[str, str], int] = {}
        self._last_state: dict[str, tuple[str, ...]] = {}

    def run(self) -> int:
        """Watch until the limit is reached or `stop` is called, and give the number of results seen.

        A connection that ends later is made again; one that cannot be made at first is an error.

        Raises:
            InputError: the broker cannot be reached, or refuses.
        """
        version, opened = first_version(self._options), False
        backoff = Backoff(first=1.0, longest=30.0)
        while not self._stopping.is_set():
            self._connection = MqttConnection(
                options=self._options,
                version=version,
                subscriptions=self._filters,
                on_open=lambda: self._write(f"watching {', '.join(self._filters)} at {self._options.address}"),
                on_message=self._handle_message,
            )
            if self._stopping.is_set():
                self._connection.close(grace=0.0)
            ending = self._connection.run()
            if self._stopping.is_set():
                break
            if ending.other_version and version == MQTT_5:
                version = MQTT_3
                continue
            opened = opened or ending.opened
            if not opened:
                raise InputError(f"{ending.reason}: check --broker, and that the broker runs")
            if ending.opened:
                backoff.reset()
            self._write(f"{_clean(ending.reason)}; trying again")
            self._stopping.wait(backoff.next())
        return self._seen

    def stop(self) -> None:
        """Let `run` end; from any thread."""
        self._stopping.set()
        if self._connection is not None:
            self._connection.close(grace=0.0)

    def _handle_message(self, message: Received) -> None:
        if self._stopping.is_set():
            return
        try:
            if message.topic.endswith("/detections"):
                self._show_detections(read_detections(message.payload))
            else:
                self._show_status(read_status(message.payload))
        except UnreadableError as error:
            self._write(f"not a message of beeagent on {_clean(message.topic)}: {_clean(str(error))}")

    def _show_detections(self, message: ReceivedDetections) -> None:
        key = (message.device, message.camera)
        before = self._last_seq.get(key)
        if len(self._last_seq) >= _MAX_REMEMBERED:
            self._last_seq.clear()
        self._last_seq[key] = message.seq
        self._write(detections_line(message, previous_seq=before))
        self._seen += 1
        if self._limit is not None and self._seen >= self._limit:
            self.stop()

    def _show_status(self, message: ReceivedStatus) -> None:
        now = (message.state, *message.reasons)
        if self._last_state.get(message.device) == now:
            return
        if len(self._last_state) >= _MAX_REMEMBERED:
            self._last_state.clear()
        self._last_state[message.device] = now
        self._write(status_line(message))


def detections_line(message: ReceivedDetections, *, previous_seq: int | None) -> str:
    """Write a result as one line that is safe to show in a terminal.

    Args:
        message: the result.
        previous_seq: number of the result of the same camera before it, where there was one.
    """
    counts = [f"{count} {_clean(label)}" for label, count in list(message.counts.items())[:_SHOWN_LABELS]]
    if len(message.counts) > _SHOWN_LABELS:
        counts.append("…")
    boxes = [
        f"{_clean(found.label)} {found.confidence:.0%} at {found.box.left:.2f} {found.box.top:.2f} "
        f"size {found.box.width:.2f} {found.box.height:.2f}"
        for found in message.detections[:_SHOWN_BOXES]
    ]
    if len(message.detections) > _SHOWN_BOXES or message.omitted:
        boxes.append("…")
    place = f"{_clean(message.captured_at)} {_clean(message.device)}/{_clean(message.camera)} #{message.seq}"
    parts = [
        place + _gap(message.seq, previous_seq),
        ", ".join(counts) or "nothing",
        *([", ".join(boxes)] if boxes else []),
        f"{message.latency_ms.total:.0f} ms old, {message.latency_ms.inference:.1f} ms in the model",
    ]
    if message.decided_by != "edge":
        parts.append(f"decided by {message.decided_by}")
    return " | ".join(parts)


def status_line(message: ReceivedStatus) -> str:
    """Write a state as one line that is safe to show in a terminal."""
    reasons = "; ".join(_clean(reason) for reason in message.reasons[:_SHOWN_LABELS])
    return f"{_clean(message.at)} {_clean(message.device)} is {message.state}" + (f": {reasons}" if reasons else "")


def _gap(seq: int, previous: int | None) -> str:
    if previous is None or seq == previous + 1:
        return ""
    if seq > previous + 1:
        return f" ({seq - previous - 1} missing before)"
    return " (again)"


def _clean(text: str) -> str:
    """Replace what could steer a terminal (control, format and unassigned characters), and cut what is too long."""
    shown = text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)

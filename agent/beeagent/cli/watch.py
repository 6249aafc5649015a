"""`beeagent watch`: prints results, traffic, events and status messages as they arrive.

Messages are untrusted: any client of the broker may have published them.
"""

from collections.abc import Callable
from typing import Final

from beeagent.errors import InputError
from beeagent.messages import (
    Asleep,
    DetectionsMessage,
    EventMessage,
    StatusMessage,
    TrafficMessage,
    UnreadableError,
    ZoneTraffic,
    detections_topic,
)
from beeagent.mqtt import BrokerAddress, MqttOptions, Received, Subscription, mqtt_options, parse_broker, reader_id
from beeagent.output import shown
from beeagent.settings import Settings

ANY_LEVEL: Final = "+"
"""Wildcard for a level of a topic filter."""
_SHOWN_BOXES: Final = 3
_SHOWN_LABELS: Final = 6
_MAX_REMEMBERED: Final = 1000  # devices, and cameras


def run_watch(
    settings: Settings, *, device: str, camera: str, messages: int | None, write: Callable[[str], None]
) -> None:
    """Print the messages that arrive, until `messages` results have arrived or Ctrl-C is pressed.

    Raises:
        InputError: the broker has no address, is unreachable or refuses the connection.
    """
    options = reader_options(settings, "watch", problem="cannot be watched")
    prefix = settings.messages.topic_prefix
    watcher = Watcher(options=options, prefix=prefix, device=device, camera=camera, limit=messages, write=write)
    try:
        watcher.run()
    except KeyboardInterrupt:
        watcher.stop()


def reader_options(settings: Settings, command: str, *, problem: str) -> MqttOptions:
    """Return the MQTT options for a command that reads messages.

    Args:
        settings: settings with the broker and its credentials.
        command: name of the command.
        problem: problem with a broker without an address, for the error.

    Raises:
        InputError: the broker has no address, or its settings cannot be used.
    """
    address = parse_broker(settings.mqtt.broker)
    if not isinstance(address, BrokerAddress):
        raise InputError(f"broker {settings.mqtt.broker} {problem}: give --broker mqtt://HOST[:PORT]")
    client_id = reader_id(command, agent_id=settings.mqtt.client_id)
    return mqtt_options(settings.mqtt, address=address, client_id=client_id)


class Watcher:
    """Subscribes to results, traffic, events and status messages, and writes a line for each."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        options: MqttOptions,
        prefix: str,
        device: str = ANY_LEVEL,
        camera: str = ANY_LEVEL,
        limit: int | None = None,
        write: Callable[[str], None],
    ) -> None:
        """Prepare the watcher, which `run` connects.

        Args:
            options: MQTT options.
            prefix: topic prefix.
            device: name of the device; `+` for all devices.
            camera: name of the camera; `+` for all cameras.
            limit: number of results after which to stop; None for no limit.
            write: called with each line, without line break.

        Raises:
            InputError: the prefix or a name is not allowed in a topic.
            ValueError: the limit is not positive.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit {limit} is not positive")
        for name in (device, camera):  # `+` is allowed here only
            detections_topic(prefix, "any" if name == ANY_LEVEL else name, "any")
        topics = f"{prefix}/{device}/{camera}"
        self._filters = (f"{topics}/detections", f"{topics}/traffic", f"{topics}/events", f"{prefix}/{device}/status")
        self._limit = limit
        self._write = write
        self._subscription = Subscription(
            options=options,
            filters=self._filters,
            on_open=lambda: write(f"watching {', '.join(self._filters)} at {options.address}"),
            on_message=self._handle_message,
            on_lost=lambda reason: write(f"{shown(reason)}; reconnecting"),
        )
        self._seen = 0
        self._last_seq: dict[tuple[str, str], int] = {}
        self._last_state: dict[str, tuple[str, ...]] = {}

    def run(self) -> int:
        """Watch until the limit is reached or `stop` is called; return the number of results.

        A lost connection is re-established; a failure of the first connection is an error.

        Raises:
            InputError: the broker is unreachable or refuses the connection.
        """
        self._subscription.run()
        return self._seen

    def stop(self) -> None:
        """Make `run` return. Thread-safe."""
        self._subscription.stop()

    def _handle_message(self, message: Received) -> None:
        try:
            if message.topic.endswith("/detections"):
                self._show_detections(DetectionsMessage.decode(message.payload))
            elif message.topic.endswith("/traffic"):
                self._write(traffic_line(TrafficMessage.decode(message.payload)))
            elif message.topic.endswith("/events"):
                self._write(event_line(EventMessage.decode(message.payload)))
            else:
                self._show_status(StatusMessage.decode(message.payload))
        except UnreadableError as error:
            self._write(f"not a message of beeagent on {shown(message.topic)}: {shown(str(error))}")

    def _show_detections(self, message: DetectionsMessage) -> None:
        key = (message.device, message.camera)
        previous_seq = self._last_seq.get(key)
        if len(self._last_seq) >= _MAX_REMEMBERED:
            self._last_seq.clear()
        self._last_seq[key] = message.seq
        self._write(detections_line(message, previous_seq=previous_seq))
        self._seen += 1
        if self._limit is not None and self._seen >= self._limit:
            self.stop()

    def _show_status(self, message: StatusMessage) -> None:
        state = (message.state, *message.reasons, "" if message.asleep is None else _asleep(message.asleep))
        if self._last_state.get(message.device) == state:
            return
        if len(self._last_state) >= _MAX_REMEMBERED:
            self._last_state.clear()
        self._last_state[message.device] = state
        self._write(status_line(message))


def detections_line(message: DetectionsMessage, *, previous_seq: int | None) -> str:
    """Return a result as one line that is safe to print in a terminal.

    Args:
        message: the result.
        previous_seq: `seq` of the camera's previous result; None for the first.
    """
    counts = [f"{count} {shown(label)}" for label, count in list(message.counts.items())[:_SHOWN_LABELS]]
    if len(message.counts) > _SHOWN_LABELS:
        counts.append("…")
    boxes = [
        f"{shown(item.label)} {item.confidence:.0%} at {item.box.left:.2f} {item.box.top:.2f} "
        f"size {item.box.width:.2f} {item.box.height:.2f}" + ("" if item.track is None else f" track {item.track}")
        for item in message.detections[:_SHOWN_BOXES]
    ]
    if len(message.detections) > _SHOWN_BOXES or message.omitted:
        boxes.append("…")
    origin = f"{shown(message.captured_at)} {shown(message.device)}/{shown(message.camera)} #{message.seq}"
    source = message.source
    parts = [
        origin + _gap(message.seq, previous_seq),
        ", ".join(counts) or "nothing",
        *([] if source is None else [shown(source.name) + _position(source.position_s)]),
        *([", ".join(boxes)] if boxes else []),
        f"{message.latency_ms.total:.0f} ms old, {message.latency_ms.inference:.1f} ms in the model",
    ]
    if message.decided_by != "edge":
        parts.append(f"decided by {message.decided_by}")
    return " | ".join(parts)


def traffic_line(message: TrafficMessage) -> str:
    """Return the traffic of an interval as one line that is safe to print in a terminal."""
    counts = [
        f"{shown(place)}: {count.in_} {shown(label)} in, {count.out} out "
        f"(today {count.today.in_} and {count.today.out})"
        + (f", {count.inside} inside" if isinstance(count, ZoneTraffic) else "")
        for places in (message.lines, message.zones)
        for place, labels in places.items()
        for label, count in labels.items()
    ]
    if len(counts) > _SHOWN_LABELS:
        counts[_SHOWN_LABELS:] = ["…"]
    origin = f"{shown(message.to)} {shown(message.device)}/{shown(message.camera)} traffic #{message.seq}"
    asleep = () if message.asleep is None else (f"then {_asleep(message.asleep)}",)
    return " | ".join((origin, *counts, f"{message.frames_per_s:.1f} frames/s", *asleep))


def event_line(message: EventMessage) -> str:
    """Return an event as one line that is safe to print in a terminal."""
    usual, direction = message.usual, message.event_type.rpartition("_")[2]
    parts = (
        f"{shown(message.to)} {shown(message.device)}/{shown(message.camera)} event #{message.seq}",
        message.event_type.replace("_", " "),
        f"{shown(message.place)}: {message.in_} {shown(message.label)} in, {message.out} out, in ten minutes",
        f"usually {usual.low} to {usual.high} {direction} at this time of day",
    )
    return " | ".join(parts)


def status_line(message: StatusMessage) -> str:
    """Return a status as one line that is safe to print in a terminal."""
    reasons = "; ".join(shown(reason) for reason in message.reasons[:_SHOWN_LABELS])
    asleep = "" if message.asleep is None else f", {_asleep(message.asleep)}"
    state = f"{shown(message.at)} {shown(message.device)} is {message.state}{asleep}"
    return state + (f": {reasons}" if reasons else "")


def _asleep(asleep: Asleep) -> str:
    return f"asleep until {'it is bright' if asleep.until is None else shown(asleep.until)}"


def _position(seconds: float | None) -> str:
    """Return the position in a video as h:mm:ss.mmm."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f" at {minutes // 60}:{minutes % 60:02}:{rest / 1000:06.3f}"


def _gap(seq: int, previous: int | None) -> str:
    if previous is None or seq == previous + 1:
        return ""
    if seq > previous + 1:
        return f" ({seq - previous - 1} missing before)"
    return " (again)"

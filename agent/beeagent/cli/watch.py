"""`beeagent watch`: what is published, readably, as it comes.

What comes in is not trusted: whoever may publish may have written it.
"""

from collections.abc import Callable
from typing import Final

from beeagent.errors import InputError
from beeagent.messages import (
    DetectionsMessage,
    StatusMessage,
    UnreadableError,
    detections_topic,
)
from beeagent.mqtt import BrokerAddress, MqttOptions, Received, Subscription, parse_broker, reader_id
from beeagent.runtime.factory import chosen_mqtt_options
from beeagent.settings import Settings
from beeagent.shown_text import shown

_ANY: Final = "+"
_SHOWN_BOXES: Final = 3
_SHOWN_LABELS: Final = 6
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
    client_id = reader_id("watch", agent_id=settings.mqtt_client_id)
    options = chosen_mqtt_options(settings, address=address, client_id=client_id)
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
        self._filters = (f"{prefix}/{device}/{camera}/detections", f"{prefix}/{device}/status")
        self._limit = limit
        self._write = write
        self._subscription = Subscription(
            options=options,
            filters=self._filters,
            on_open=lambda: write(f"watching {', '.join(self._filters)} at {options.address}"),
            on_message=self._handle_message,
            on_lost=lambda reason: write(f"{shown(reason)}; trying again"),
        )
        self._seen = 0
        self._last_seq: dict[tuple[str, str], int] = {}
        self._last_state: dict[str, tuple[str, ...]] = {}

    def run(self) -> int:
        """Watch until the limit is reached or `stop` is called, and give the number of results seen.

        A connection that ends later is made again; one that cannot be made at first is an error.

        Raises:
            InputError: the broker cannot be reached, or refuses.
        """
        self._subscription.run()
        return self._seen

    def stop(self) -> None:
        """Let `run` end; from any thread."""
        self._subscription.stop()

    def _handle_message(self, message: Received) -> None:
        try:
            if message.topic.endswith("/detections"):
                self._show_detections(DetectionsMessage.decode(message.payload))
            else:
                self._show_status(StatusMessage.decode(message.payload))
        except UnreadableError as error:
            self._write(f"not a message of beeagent on {shown(message.topic)}: {shown(str(error))}")

    def _show_detections(self, message: DetectionsMessage) -> None:
        key = (message.device, message.camera)
        before = self._last_seq.get(key)
        if len(self._last_seq) >= _MAX_REMEMBERED:
            self._last_seq.clear()
        self._last_seq[key] = message.seq
        self._write(detections_line(message, previous_seq=before))
        self._seen += 1
        if self._limit is not None and self._seen >= self._limit:
            self.stop()

    def _show_status(self, message: StatusMessage) -> None:
        now = (message.state, *message.reasons)
        if self._last_state.get(message.device) == now:
            return
        if len(self._last_state) >= _MAX_REMEMBERED:
            self._last_state.clear()
        self._last_state[message.device] = now
        self._write(status_line(message))


def detections_line(message: DetectionsMessage, *, previous_seq: int | None) -> str:
    """Write a result as one line that is safe to show in a terminal.

    Args:
        message: the result.
        previous_seq: number of the result of the same camera before it, where there was one.
    """
    counts = [f"{count} {shown(label)}" for label, count in list(message.counts.items())[:_SHOWN_LABELS]]
    if len(message.counts) > _SHOWN_LABELS:
        counts.append("…")
    boxes = [
        f"{shown(found.label)} {found.confidence:.0%} at {found.box.left:.2f} {found.box.top:.2f} "
        f"size {found.box.width:.2f} {found.box.height:.2f}"
        for found in message.detections[:_SHOWN_BOXES]
    ]
    if len(message.detections) > _SHOWN_BOXES or message.omitted:
        boxes.append("…")
    place = f"{shown(message.captured_at)} {shown(message.device)}/{shown(message.camera)} #{message.seq}"
    source = message.source
    parts = [
        place + _gap(message.seq, previous_seq),
        ", ".join(counts) or "nothing",
        *([] if source is None else [shown(source.name) + _position(source.position_s)]),
        *([", ".join(boxes)] if boxes else []),
        f"{message.latency_ms.total:.0f} ms old, {message.latency_ms.inference:.1f} ms in the model",
    ]
    if message.decided_by != "edge":
        parts.append(f"decided by {message.decided_by}")
    return " | ".join(parts)


def status_line(message: StatusMessage) -> str:
    """Write a state as one line that is safe to show in a terminal."""
    reasons = "; ".join(shown(reason) for reason in message.reasons[:_SHOWN_LABELS])
    return f"{shown(message.at)} {shown(message.device)} is {message.state}" + (f": {reasons}" if reasons else "")


def _position(seconds: float | None) -> str:
    """Write where in a video a frame is, as players show it: to the millisecond, since frames are closer than 0.1 s."""
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

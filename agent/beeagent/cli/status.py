"""`beeagent status`: the status of devices from their retained status messages.

Messages are untrusted: any client of the broker may have published them.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Final

from beeagent.cli.watch import ANY_LEVEL, reader_options
from beeagent.messages import (
    CameraStatus,
    OutboxStatus,
    SecondOpinionStatus,
    StatusMessage,
    UnreadableError,
    status_topic,
)
from beeagent.mqtt import MqttOptions, Received, Subscription
from beeagent.output import shown
from beeagent.settings import Settings

_MAX_DEVICES: Final = 1000
_MAX_SHOWN: Final = 20  # reasons, cameras, causes of dropped results


def show_status(settings: Settings, *, device: str, wait_s: float, write: Callable[[str], None]) -> bool:
    """Print the status of each device; return True if there is at least one and all are online.

    Args:
        settings: settings with the broker, its credentials, and the topic prefix.
        device: name of the device; `+` for all devices.
        wait_s: seconds to wait for status messages after connecting; for a single device, the maximum.
        write: called with each line, without line break.

    Raises:
        InputError: the broker has no address, is unreachable or refuses the connection, or a name is not allowed in a
            topic.
    """
    options = reader_options(settings, "status", problem="has no status messages")
    status_topic(settings.messages.topic_prefix, "any" if device == ANY_LEVEL else device)
    topic_filter = f"{settings.messages.topic_prefix}/{device}/status"
    payloads = _payloads(options, topic_filter, wait_s=wait_s, single=device != ANY_LEVEL)
    if not payloads and device == ANY_LEVEL:
        write(f"no status of any device at {topic_filter}")
    elif not payloads:
        write(f"no status of device {device}: no agent of that name has connected")
    all_online = bool(payloads)
    for topic, payload in sorted(payloads.items()):
        try:
            status = StatusMessage.decode(payload)
        except UnreadableError as error:
            write(f"not a status message of beeagent on {shown(topic)}: {shown(str(error))}")
            all_online = False
            continue
        for line in status_lines(status, now=datetime.now(timezone.utc)):
            write(line)
        all_online = all_online and status.state == "online"
    return all_online


def status_lines(status: StatusMessage, *, now: datetime) -> list[str]:
    """Return a status as lines that are safe to print in a terminal.

    Args:
        status: the status message.
        now: current time, with a time zone, to show ages.
    """
    asleep = "" if status.asleep is None else " and asleep"
    lines = [f"{shown(status.device)} is {status.state}{asleep}, as of {_moment(status.at, now)}"]
    lines += [f"  reason     {shown(reason)}" for reason in status.reasons[:_MAX_SHOWN]]
    uptime = "" if status.uptime_s is None else f", up {duration(status.uptime_s)}"
    lines.append(f"  agent      beeagent {shown(status.agent)}{uptime}")
    if status.model is not None:
        lines.append(f"  model      {shown(status.model)}")
    if status.workers is not None:
        on_threads = "" if status.threads is None else f" on {status.threads} thread(s)"
        lines.append(f"  workers    {status.workers} frame(s) in parallel{on_threads}, as measured")
    lines += [f"  camera     {_camera(camera)}" for camera in (status.cameras or ())[:_MAX_SHOWN]]
    if status.asleep is not None:
        until = "it is bright" if status.asleep.until is None else _moment(status.asleep.until, now)
        lines.append(f"  asleep     since {_moment(status.asleep.since, now)}, until {until}")
    if status.outbox is not None:
        lines.append(f"  results    {_results(status.outbox)}")
        if status.outbox.last_delivery_at is not None:
            lines.append(f"  delivery   last at {_moment(status.outbox.last_delivery_at, now)}")
    if status.second_opinion is not None:
        lines += [f"  opinion    {line}" for line in _opinion(status.second_opinion)]
    return lines


def _payloads(options: MqttOptions, topic_filter: str, *, wait_s: float, single: bool) -> dict[str, bytes]:
    """Return the newest payload of each topic within `wait_s` seconds; with `single`, return with the first message."""
    payloads: dict[str, bytes] = {}

    def handle(message: Received) -> None:
        if message.topic in payloads or len(payloads) < _MAX_DEVICES:
            payloads[message.topic] = message.payload
        if single:
            subscription.stop()

    timer = threading.Timer(wait_s, lambda: subscription.stop())  # noqa: PLW0108 - assigned below
    timer.daemon = True
    subscription = Subscription(options=options, filters=(topic_filter,), on_open=timer.start, on_message=handle)
    try:
        subscription.run()
    finally:
        timer.cancel()
    return payloads


def _camera(camera: CameraStatus) -> str:
    age = "no frame yet" if camera.frame_age_s is None else f"newest frame {duration(camera.frame_age_s)} old"
    counts = (
        (camera.frames_skipped, "could not be read"),
        (camera.frames_replaced, "replaced by newer ones"),
        (camera.frames_rate_limited, "over max_rate"),
        (camera.reconnects, "reconnects"),
    )
    # The first is a count of faults and always shown; the others only if they are not 0.
    shown_counts = [f"{count} {text}" for index, (count, text) in enumerate(counts) if count or index == 0]
    return (
        f"{shown(camera.name)}: {camera.frames_per_s:.1f} frames/s, {age}; {camera.frames_read} processed, "
        f"{', '.join(shown_counts)}"
    )


def _results(outbox: OutboxStatus) -> str:
    return (
        f"{outbox.produced} produced: {outbox.delivered} delivered, {outbox.waiting} waiting, "
        f"{sum(outbox.dropped.values())} dropped{_by_reason(outbox.dropped)}"
    )


def _by_reason(counts: Mapping[str, int]) -> str:
    reasons = [f"{count} {shown(reason)}" for reason, count in sorted(counts.items())[:_MAX_SHOWN]]
    return f" ({', '.join(reasons)})" if reasons else ""


def _opinion(opinion: SecondOpinionStatus) -> list[str]:
    without = sum(opinion.degraded.values())
    lines = [
        (
            f"{opinion.asked} uncertain frames: {opinion.cloud} decided by the cloud model, {without} without it"
            f"{_by_reason(opinion.degraded)}; {opinion.calls} calls, {opinion.saved} saved"
        ),
        (
            f"the cloud model ran for at least {duration(opinion.seen_running_s)}: about "
            f"${opinion.estimated_cost_usd:.2f} or more"
        ),
    ]
    if opinion.collected is not None:
        saved = opinion.collected
        lines.append(f"{saved.pictures} frames saved as training data, {saved.megabytes:.1f} MB")
    return lines


def _moment(text: str, now: datetime) -> str:
    """Return a time with its age; without, if it is in the future by the local clock."""
    with suppress(ValueError, OverflowError):
        age = now - datetime.fromisoformat(text.replace("Z", "+00:00"))
        if age >= timedelta(0):
            return f"{shown(text)} ({duration(age.total_seconds())} ago)"
    return shown(text)


def duration(seconds: float) -> str:
    """Return a duration as readable text in suitable units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    days, hours = divmod(minutes // 60, 24)
    parts = [(days, "d"), (hours, "h"), (minutes % 60, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)

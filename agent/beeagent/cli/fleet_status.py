"""What `beeagent fleet status` prints, from the status messages of all devices.

Input is not trusted: anyone who may publish may have written it.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

from beeagent.cli.status import duration
from beeagent.cli.watch import ANY_LEVEL, reader_options
from beeagent.messages import (
    HEALTHS,
    DeviceHealth,
    StatusMessage,
    UnreadableError,
    device_health,
    outliers_first,
    rfc3339,
    status_topic,
)
from beeagent.mqtt import MqttOptions, Received, Subscription
from beeagent.output import shown
from beeagent.settings import Settings

_MAX_DEVICES: Final = 20_000
_MAX_BYTES: Final = 16_384  # of a status; those of the agent have at most half of it
_LIMIT: Final = 10  # waits in all, however often somebody publishes
_MAX_SHOWN: Final = 4  # problems of a device
_WIDTH: Final = 32  # of a column
_COLUMNS: Final = ("device", "health", "status", "last result", "version", "model", "frames/s", "waiting", "problems")


@dataclass
class _Fleet:
    """The newest status of each device."""

    prefix: str
    devices: dict[str, DeviceHealth] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: int = 0

    def take(self, message: Received, *, now: datetime) -> bool:
        """Note a message; return whether it is of a device that was not known."""
        device = message.topic.removeprefix(f"{self.prefix}/").removesuffix("/status")
        known = device in self.devices or device in self.unreadable
        if not known and len(self.devices) + len(self.unreadable) >= _MAX_DEVICES:
            self.ignored += 1
            return False
        self.devices.pop(device, None)
        self.unreadable.pop(device, None)
        if not message.payload:  # how a retained message is deleted
            return False
        if len(message.payload) > _MAX_BYTES:
            self.unreadable[device] = f"{len(message.payload)} bytes long"
            return not known
        try:
            status = StatusMessage.decode(message.payload)
        except UnreadableError as error:
            self.unreadable[device] = str(error)
        else:
            self.devices[device] = device_health(device, status, retained=message.retained, now=now)
        return not known


def show_fleet(settings: Settings, *, wait_s: float, as_json: bool, write: Callable[[str], None]) -> bool:
    """Print all devices; return whether there is at least one, and all are online.

    Args:
        settings: the broker, authentication, and the prefix of topics.
        wait_s: seconds without another device after which the list is complete; ten times that at most in all.
        as_json: print one JSON object instead of a table.
        write: called with each line, without line break.

    Raises:
        InputError: there is no broker to connect to, it cannot be reached or refuses, or the prefix is no topic.
    """
    options = reader_options(settings, "fleet", problem="has no status messages")
    prefix = settings.messages.topic_prefix
    status_topic(prefix, "any")
    fleet = _Fleet(prefix)
    _receive(options, fleet, wait_s=wait_s)
    devices = outliers_first(fleet.devices.values())
    if as_json:
        write(json.dumps(fleet_json(devices, fleet.unreadable, ignored=fleet.ignored, now=datetime.now(timezone.utc))))
    else:
        for line in fleet_table(devices, fleet.unreadable, ignored=fleet.ignored):
            write(line)
        if not devices:
            write(f"no status of any device at {prefix}/{ANY_LEVEL}/status")
    return bool(devices) and not fleet.unreadable and all(one.health == "online" for one in devices)


def fleet_json(
    devices: Sequence[DeviceHealth], unreadable: Mapping[str, str], *, ignored: int, now: datetime
) -> dict[str, Any]:
    """Return the fleet as a JSON object.

    Args:
        devices: in their order.
        unreadable: what is wrong with the status of others, by device.
        ignored: number of messages that were one device too many.
        now: the current time, with a time zone.
    """
    healths = Counter(one.health for one in devices)
    return {
        "at": rfc3339(now),
        "summary": {"devices": len(devices), **{health: healths[health] for health in HEALTHS}},
        "devices": [one.to_json() for one in devices],
        "unreadable": [{"device": device, "problem": problem} for device, problem in sorted(unreadable.items())],
        "ignored": ignored,
    }


def fleet_table(devices: Sequence[DeviceHealth], unreadable: Mapping[str, str], *, ignored: int) -> list[str]:
    """Return the fleet as lines that are safe to print in a terminal; arguments as for `fleet_json`."""
    rows = [_COLUMNS, *(_row(one) for one in devices)] if devices else []
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [
        f"not a status message of beeagent, of device {shown(device)}: {shown(problem)}"
        for device, problem in sorted(unreadable.items())
    ]
    if ignored:
        lines.append(f"{ignored} messages were of more than {_MAX_DEVICES} devices and are left out")
    if devices:
        healths = Counter(one.health for one in devices)
        lines.append(
            f"{len(devices)} devices: " + ", ".join(f"{healths[one]} {one}" for one in HEALTHS if healths[one])
        )
    return lines


def _row(one: DeviceHealth) -> tuple[str, ...]:
    problems = [shown(problem) for problem in one.problems[:_MAX_SHOWN]]
    if len(one.problems) > _MAX_SHOWN:
        problems.append("…")
    return (
        shown(one.device, most=_WIDTH),
        one.health,
        f"{duration(one.status_age_s)} ago",
        "none" if one.last_result_age_s is None else f"{duration(one.last_result_age_s)} ago",
        shown(one.status.agent, most=_WIDTH),
        "-" if one.status.model is None else shown(one.status.model, most=_WIDTH),
        _frames(one),
        "-" if one.waiting is None else str(one.waiting),
        "; ".join(problems),
    )


def _frames(one: DeviceHealth) -> str:
    if one.status.asleep is not None:
        return "asleep"
    return "-" if one.frames_per_s is None else f"{one.frames_per_s:.1f}"


def _receive(options: MqttOptions, fleet: _Fleet, *, wait_s: float) -> None:
    """Receive until no other device has come for `wait_s` seconds."""
    ended = threading.Event()
    opened_at = news_at = float("inf")

    def open_() -> None:
        nonlocal opened_at, news_at
        opened_at = news_at = time.monotonic()
        timer.start()

    def take(message: Received) -> None:
        nonlocal news_at
        if fleet.take(message, now=datetime.now(timezone.utc)):
            news_at = time.monotonic()

    def stop_in_time() -> None:
        while (left := min(news_at + wait_s, opened_at + _LIMIT * wait_s) - time.monotonic()) > 0:
            if ended.wait(left):
                return
        subscription.stop()

    timer = threading.Thread(target=stop_in_time, name="fleet-timer", daemon=True)
    subscription = Subscription(
        options=options,
        filters=(f"{fleet.prefix}/{ANY_LEVEL}/status",),
        on_open=open_,
        on_message=take,
    )
    try:
        subscription.run()
    finally:
        ended.set()

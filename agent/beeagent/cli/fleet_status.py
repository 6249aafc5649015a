"""`beeagent fleet status`: the status messages of all devices as a table or JSON.

Messages are untrusted: any client of the broker may have published them.
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
_MAX_BYTES: Final = 16_384  # of a status message; the agent's have at most half of that
_LIMIT: Final = 10  # total duration, in multiples of `wait_s`, for any number of messages
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

    def add(self, message: Received, *, now: datetime) -> bool:
        """Store a message; return True if its device is new."""
        device = message.topic.removeprefix(f"{self.prefix}/").removesuffix("/status")
        known = device in self.devices or device in self.unreadable
        if not known and len(self.devices) + len(self.unreadable) >= _MAX_DEVICES:
            self.ignored += 1
            return False
        self.devices.pop(device, None)
        self.unreadable.pop(device, None)
        if not message.payload:  # deletes a retained message
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
    """Print all devices; return True if there is at least one and all are online.

    Args:
        settings: settings with the broker, its credentials, and the topic prefix.
        wait_s: seconds without a new device after which the list is complete; the total is at most ten times as long.
        as_json: print a JSON object instead of a table.
        write: called with each line, without line break.

    Raises:
        InputError: the broker has no address, is unreachable or refuses the connection, or the prefix is not a valid
            topic.
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
    return bool(devices) and not fleet.unreadable and all(device.health == "online" for device in devices)


def fleet_json(
    devices: Sequence[DeviceHealth], unreadable: Mapping[str, str], *, ignored: int, now: datetime
) -> dict[str, Any]:
    """Return the fleet as a JSON object.

    Args:
        devices: the devices, in the order of the output.
        unreadable: problem of each unreadable status message, by device.
        ignored: number of messages ignored because of too many devices.
        now: current time, with a time zone.
    """
    healths = Counter(device.health for device in devices)
    return {
        "at": rfc3339(now),
        "summary": {"devices": len(devices), **{health: healths[health] for health in HEALTHS}},
        "devices": [device.to_json() for device in devices],
        "unreadable": [{"device": device, "problem": problem} for device, problem in sorted(unreadable.items())],
        "ignored": ignored,
    }


def fleet_table(devices: Sequence[DeviceHealth], unreadable: Mapping[str, str], *, ignored: int) -> list[str]:
    """Return the fleet as lines that are safe to print in a terminal; arguments as for `fleet_json`."""
    rows = [_COLUMNS, *(_row(device) for device in devices)] if devices else []
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [
        f"not a status message of beeagent, of device {shown(device)}: {shown(problem)}"
        for device, problem in sorted(unreadable.items())
    ]
    if ignored:
        lines.append(f"{ignored} messages were of more than {_MAX_DEVICES} devices and are left out")
    if devices:
        healths = Counter(device.health for device in devices)
        counts = ", ".join(f"{healths[health]} {health}" for health in HEALTHS if healths[health])
        lines.append(f"{len(devices)} device{'' if len(devices) == 1 else 's'}: {counts}")
    return lines


def _row(device: DeviceHealth) -> tuple[str, ...]:
    problems = [shown(problem) for problem in device.problems[:_MAX_SHOWN]]
    if len(device.problems) > _MAX_SHOWN:
        problems.append("…")
    return (
        shown(device.device, most=_WIDTH),
        device.health,
        f"{duration(device.status_age_s)} ago",
        "none" if device.last_result_age_s is None else f"{duration(device.last_result_age_s)} ago",
        shown(device.status.agent, most=_WIDTH),
        "-" if device.status.model is None else shown(device.status.model, most=_WIDTH),
        _frames(device),
        "-" if device.waiting is None else str(device.waiting),
        "; ".join(problems),
    )


def _frames(device: DeviceHealth) -> str:
    if device.status.asleep is not None:
        return "asleep"
    return "-" if device.frames_per_s is None else f"{device.frames_per_s:.1f}"


def _receive(options: MqttOptions, fleet: _Fleet, *, wait_s: float) -> None:
    """Receive until no new device has appeared for `wait_s` seconds."""
    ended = threading.Event()
    opened_at = newest_at = float("inf")

    def open_() -> None:
        nonlocal opened_at, newest_at
        opened_at = newest_at = time.monotonic()
        timer.start()

    def handle(message: Received) -> None:
        nonlocal newest_at
        if fleet.add(message, now=datetime.now(timezone.utc)):
            newest_at = time.monotonic()

    def stop_in_time() -> None:
        while (left := min(newest_at + wait_s, opened_at + _LIMIT * wait_s) - time.monotonic()) > 0:
            if ended.wait(left):
                return
        subscription.stop()

    timer = threading.Thread(target=stop_in_time, name="fleet-timer", daemon=True)
    subscription = Subscription(
        options=options,
        filters=(f"{fleet.prefix}/{ANY_LEVEL}/status",),
        on_open=open_,
        on_message=handle,
    )
    try:
        subscription.run()
    finally:
        ended.set()

"""The health of many devices, from their status messages."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal

from beeagent.messages.status import StatusMessage

Health = Literal["quiet", "offline", "degraded", "online"]

HEALTHS: Final[tuple[Health, ...]] = ("quiet", "offline", "degraded", "online")
"""All values, the worst first."""

_QUIET_AFTER_S: Final = 150.0  # an agent publishes its status every 30 s
_CLOCK_OFF_S: Final = 60.0
_MANY_WAITING: Final = 100  # results; more than after a short outage


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """The health of one device.

    Attributes:
        device: name of the device, from the topic of its status.
        health: state of the device; `quiet` if it is not offline and has published no status for minutes.
        problems: human-readable problems; they contain texts of the status, which are not safe for a terminal.
        status: the newest status.
        status_age_s: seconds since the status was written, by the device's clock; 0 if it has just arrived.
        last_result_age_s: seconds since the broker last acknowledged a result; None without one since the start.
    """

    device: str
    health: Health
    problems: tuple[str, ...]
    status: StatusMessage
    status_age_s: float
    last_result_age_s: float | None

    @property
    def waiting(self) -> int | None:
        """Number of results waiting for the broker."""
        return None if self.status.outbox is None else self.status.outbox.waiting

    @property
    def dropped(self) -> int | None:
        """Number of dropped results."""
        return None if self.status.outbox is None else sum(self.status.outbox.dropped.values())

    @property
    def frames_per_s(self) -> float | None:
        """Frames processed per second, sum of all cameras."""
        cameras = self.status.cameras
        return None if cameras is None else sum(camera.frames_per_s for camera in cameras)

    def to_json(self) -> dict[str, Any]:
        """Return the health as a JSON object. Texts of the status are not sanitised."""
        outbox = self.status.outbox
        return {
            "device": self.device,
            "health": self.health,
            "problems": list(self.problems),
            "status_at": self.status.at,
            "status_age_s": round(self.status_age_s, 1),
            "asleep": self.status.asleep is not None,
            "agent": self.status.agent,
            "model": self.status.model,
            "uptime_s": self.status.uptime_s,
            "last_result_at": None if outbox is None else outbox.last_delivery_at,
            "last_result_age_s": None if self.last_result_age_s is None else round(self.last_result_age_s, 1),
            "frames_per_s": None if self.frames_per_s is None else round(self.frames_per_s, 2),
            "waiting": self.waiting,
            "dropped": self.dropped,
        }


def device_health(device: str, status: StatusMessage, *, retained: bool, now: datetime) -> DeviceHealth:
    """Return the health of a device.

    Args:
        device: name of the device, from the topic.
        status: newest status of the device.
        retained: True for a retained message; False if the status has just been published.
        now: the current time, with a time zone.
    """
    age = _age(status.at, now)
    last = None if status.outbox is None else _age(status.outbox.last_delivery_at, now)
    quiet = retained and status.state != "offline" and age is not None and age > _QUIET_AFTER_S
    health: Health = "quiet" if quiet else status.state
    return DeviceHealth(
        device=device,
        health=health,
        problems=tuple(_problems(device, status, age=age, quiet=quiet, retained=retained)),
        status=status,
        status_age_s=max(0.0, age or 0.0) if retained else 0.0,
        last_result_age_s=None if last is None else max(0.0, last),
    )


def outliers_first(devices: Iterable[DeviceHealth]) -> list[DeviceHealth]:
    """Sort devices by health, the worst first, then by problems, then by name.

    A version or model that differs from that of most devices counts as a problem too.
    """
    known = list(devices)
    agents = Counter(device.status.agent for device in known)
    models = Counter(device.status.model for device in known if device.status.model is not None)
    marked = [
        replace(device, problems=(*device.problems, *_differences(device.status, agents=agents, models=models)))
        for device in known
    ]
    return sorted(marked, key=lambda device: (HEALTHS.index(device.health), not device.problems, device.device))


def _problems(device: str, status: StatusMessage, *, age: float | None, quiet: bool, retained: bool) -> Iterator[str]:
    if quiet:
        yield "no status for minutes"
    yield from status.reasons
    if status.device != device:
        yield f"its status is of device {status.device}"
    if age is None:
        yield "the time of its status is no time"
    elif age < -_CLOCK_OFF_S or (not retained and age > _CLOCK_OFF_S):
        yield "its clock is wrong"
    if status.outbox is not None and status.outbox.waiting >= _MANY_WAITING:
        yield f"{status.outbox.waiting} results waiting"


def _differences(status: StatusMessage, *, agents: Counter[str], models: Counter[str]) -> Iterator[str]:
    usual_agent = agents.most_common(1)[0][0]
    if agents[status.agent] < agents[usual_agent]:
        yield f"version differs from most ({usual_agent})"
    if status.model is not None:
        usual_model = models.most_common(1)[0][0]
        if models[status.model] < models[usual_model]:
            yield f"model differs from most ({usual_model})"


def _age(at: str | None, now: datetime) -> float | None:
    """Return the seconds since a time in a message; None if it is absent or invalid."""
    if at is None:
        return None
    try:
        moment = datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:  # for example the 31st of February
        return None
    return (now - moment) / timedelta(seconds=1)

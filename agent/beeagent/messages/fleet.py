"""The health of many devices, from their status messages."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal

from beeagent.messages.status import StatusMessage

Health = Literal["quiet", "offline", "degraded", "online"]

HEALTHS: Final[tuple[Health, ...]] = ("quiet", "offline", "degraded", "online")
"""The worst first."""

_QUIET_AFTER_S: Final = 150.0  # an agent publishes its status every 30 s
_CLOCK_OFF_S: Final = 60.0
_MANY_WAITING: Final = 100  # results: more than a short outage leaves


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """The health of one device.

    Attributes:
        device: its name, from the topic of its status.
        health: the state of its status; `quiet` if it is not offline and has published none for minutes.
        problems: why it is an outlier, for people; texts from its status among them are not safe for a terminal.
        status: the newest status.
        status_age_s: seconds since the status was written, by the device's clock; 0 for one that has just arrived.
        last_result_age_s: seconds since the broker last acknowledged a result; None if it has not since the start.
    """

    device: str
    health: Health
    problems: tuple[str, ...]
    status: StatusMessage
    status_age_s: float
    last_result_age_s: float | None

    @property
    def waiting(self) -> int | None:
        """Number of results that wait for the broker."""
        return None if self.status.outbox is None else self.status.outbox.waiting

    @property
    def dropped(self) -> int | None:
        """Number of results given up."""
        return None if self.status.outbox is None else sum(self.status.outbox.dropped.values())

    @property
    def frames_per_s(self) -> float | None:
        """Frames processed per second, of all cameras together."""
        cameras = self.status.cameras
        return None if cameras is None else sum(camera.frames_per_s for camera in cameras)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object. Texts of the status are as they arrived."""
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
        device: its name, from the topic.
        status: its newest status.
        retained: whether the broker had kept the status; if not, it has just arrived.
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
    """Return the devices, the unhealthiest first, then those with a problem, then by name.

    A version or a model other than that of most devices is a problem too.
    """
    known = list(devices)
    agents = Counter(one.status.agent for one in known)
    models = Counter(one.status.model for one in known if one.status.model is not None)
    marked = [
        replace(one, problems=(*one.problems, *_differences(one.status, agents=agents, models=models))) for one in known
    ]
    return sorted(marked, key=lambda one: (HEALTHS.index(one.health), not one.problems, one.device))


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
        yield f"most have version {usual_agent}"
    if status.model is not None:
        usual_model = models.most_common(1)[0][0]
        if models[status.model] < models[usual_model]:
            yield f"most have model {usual_model}"


def _age(at: str | None, now: datetime) -> float | None:
    """Return the seconds since a time of a message; None if there is none, or its pattern fits no time."""
    if at is None:
        return None
    try:
        moment = datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:  # the 31st of February
        return None
    return (now - moment) / timedelta(seconds=1)

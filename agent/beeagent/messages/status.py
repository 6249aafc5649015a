"""The message that tells how the device is, `beeagent.status/1`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from beeagent.messages.timestamps import rfc3339
from beeagent.outbox.outbox import OutboxCounts

SCHEMA: Final = "beeagent.status/1"

State = Literal["online", "degraded", "offline"]


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """How a camera is doing.

    Attributes:
        name: as in its topic.
        frames_read: looked at since the start.
        frames_skipped: could not be read since the start.
        frames_per_s: looked at per second, lately.
        frame_age_s: seconds since the newest frame was taken; None before the first.
        frames_replaced: dropped since the start because a newer one came before they were processed.
        frames_rate_limited: dropped since the start because they came sooner than `max_rate` allows.
        reconnects: how many times the camera was opened again since the start.
    """

    name: str
    frames_read: int
    frames_skipped: int
    frames_per_s: float
    frame_age_s: float | None = None
    frames_replaced: int = 0
    frames_rate_limited: int = 0
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """What was counted of a camera since the start, beside its results; see `CameraStatus`."""

    skipped: int = 0
    replaced: int = 0
    rate_limited: int = 0
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class SecondOpinionStatus:
    """What became of the frames of which the model was unsure, since the start.

    Attributes:
        asked: frames that were to be asked about.
        cloud: those that were decided by the cloud model.
        degraded: those that were not, by reason.
        calls: calls to the cloud model.
        saved: calls that were saved, since another frame showed the same.
        seen_running_s: seconds for which the cloud model was seen to run, a lower bound.
        hourly_price: of the running model, in US dollars, as the settings say.
        collected: pictures that are kept to train on, and the 10^6 bytes they take; None where none are to be kept.
    """

    asked: int
    cloud: int
    degraded: Mapping[str, int]
    calls: int
    saved: int
    seen_running_s: float
    hourly_price: float
    collected: tuple[int, float] | None = None

    @property
    def estimated_cost(self) -> float:
        """What the hours seen have cost, in US dollars."""
        return self.seen_running_s / 3600 * self.hourly_price


def status_message(  # noqa: PLR0913 - one argument for each thing a message tells
    *,
    device: str,
    state: State,
    reasons: Sequence[str],
    at: datetime,
    agent_version: str,
    uptime_s: float | None = None,
    model: str | None = None,
    cameras: Sequence[CameraStatus] = (),
    outbox: OutboxCounts | None = None,
    last_delivery: datetime | None = None,
    second_opinion: SecondOpinionStatus | None = None,
) -> dict[str, Any]:
    """Build a status message; its JSON Schema is `load_schema("status")`.

    Args:
        device: name of the device, a topic level.
        state: `online`, `degraded` or `offline`.
        reasons: why it is not online; none when it is.
        at: now, with a time zone.
        agent_version: of beeagent.
        uptime_s: seconds since the agent started.
        model: name and short hash, such as `bees-lite0@3f9c21d0`.
        cameras: how each camera is doing.
        outbox: what became of the results.
        last_delivery: when the broker last acknowledged one of them, with a time zone; told with the outbox only.
        second_opinion: what became of unsure frames; None where nobody is asked.

    Raises:
        ValueError: the state and the reasons contradict each other, or a value is out of its range.
    """
    if state not in get_args(State):
        raise ValueError(f"state {state!r} is none of {', '.join(get_args(State))}")
    if (state == "online") != (not reasons):
        raise ValueError(f"reasons go with every state but online: {state!r}, {list(reasons)!r}")
    message: dict[str, Any] = {
        "schema": SCHEMA,
        "device": device,
        "state": state,
        "reasons": list(reasons),
        "at": rfc3339(at),
        "agent": agent_version,
    }
    if uptime_s is not None:
        message["uptime_s"] = round(uptime_s, 1)
    if model is not None:
        message["model"] = model
    if cameras:
        message["cameras"] = [_camera(camera) for camera in cameras]
    if outbox is not None:
        message["outbox"] = {
            "produced": outbox.produced,
            "delivered": outbox.delivered,
            "waiting": outbox.waiting,
            "dropped": dict(outbox.dropped),
        }
        if last_delivery is not None:
            message["outbox"]["last_delivery_at"] = rfc3339(last_delivery)
    if second_opinion is not None:
        message["second_opinion"] = {
            "asked": second_opinion.asked,
            "cloud": second_opinion.cloud,
            "degraded": dict(second_opinion.degraded),
            "calls": second_opinion.calls,
            "saved": second_opinion.saved,
            "seen_running_s": round(second_opinion.seen_running_s, 1),
            "estimated_cost_usd": round(second_opinion.estimated_cost, 4),
        }
        if second_opinion.collected is not None:
            pictures, megabytes = second_opinion.collected
            message["second_opinion"]["collected"] = {"pictures": pictures, "megabytes": round(megabytes, 3)}
    return message


def _camera(camera: CameraStatus) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": camera.name,
        "frames_read": camera.frames_read,
        "frames_skipped": camera.frames_skipped,
        "frames_replaced": camera.frames_replaced,
        "frames_rate_limited": camera.frames_rate_limited,
        "reconnects": camera.reconnects,
        "frames_per_s": round(camera.frames_per_s, 2),
    }
    if camera.frame_age_s is not None:
        entry["frame_age_s"] = round(camera.frame_age_s, 3)
    return entry

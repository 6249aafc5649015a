"""The message with the status of a device, `beeagent.status/1`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, Protocol

from pydantic import ConfigDict, Field, model_validator

from beeagent.messages.message import (
    OPEN,
    Amount,
    Asleep,
    Count,
    Message,
    Name,
    Part,
    PositiveCount,
    Text,
    Timestamp,
    TopicLevel,
    rfc3339,
    rounded,
)

SCHEMA: Final = "beeagent.status/1"

State = Literal["online", "degraded", "offline"]

# The JSON Schema requires reasons that are not empty; a reader accepts empty ones.
_Reason = Annotated[str, Field(json_schema_extra={"minLength": 1})]


class CameraStatus(Part):
    """The status of a camera."""

    name: Name = Field(description="Name of the camera, as in the topic of its detections.")
    frames_read: Count = Field(description="Frames processed since the start.")
    frames_skipped: Count = Field(description="Frames that could not be read since the start.")
    frames_replaced: Count = Field(
        default=0, description="Frames dropped since the start because a newer one arrived before their processing."
    )
    frames_rate_limited: Count = Field(default=0, description="Frames dropped since the start because of max_rate.")
    reconnects: Count = Field(default=0, description="Number of times that the camera was reopened since the start.")
    frames_per_s: Annotated[Amount, rounded(2)] = Field(description="Frames processed per second, recently.")
    frame_age_s: Annotated[Amount, rounded(3)] | None = Field(
        default=None, description="Seconds since the newest frame was captured. Absent before the first."
    )


class OutboxStatus(Part):
    """The counts of the outbox."""

    produced: Count = Field(description="Results produced, over all restarts.")
    delivered: Count = Field(description="Results acknowledged by the broker.")
    waiting: Count = Field(description="Results not yet acknowledged.")
    dropped: dict[str, PositiveCount] = Field(description="Dropped results, by reason.")
    last_delivery_at: Timestamp | None = Field(
        default=None,
        description="Time of the broker's last acknowledgement of a result: UTC by the device's clock. Absent before "
        "the first since the start of the agent.",
    )


class CollectionStatus(Part):
    """The frames collected for training."""

    pictures: Count = Field(description="Number of frames.")
    megabytes: Annotated[Amount, rounded(3)] = Field(description="Size on disk, in 10^6 bytes.")


class SecondOpinionStatus(Part):
    """Counts of unsure frames."""

    asked: Count = Field(description="Frames for which a second opinion was requested.")
    cloud: Count = Field(description="Frames with a result of the cloud model.")
    degraded: dict[str, PositiveCount] = Field(
        description="Frames without a second opinion, by reason, as in fallback.reason of beeagent.detections/1."
    )
    calls: Count = Field(description="Calls of the cloud model.")
    saved: Count = Field(description="Calls saved by reusing the result of a recent frame with the same scene.")
    seen_running_s: Annotated[Amount, rounded(1)] = Field(
        description="Observed running time of the cloud model in seconds: the time between results at most an hour "
        "apart, without a report in between that it is not running. A lower bound: AWS bills it from start to stop, "
        "called or not."
    )
    estimated_cost_usd: Annotated[Amount, rounded(4)] = Field(
        description="Estimated cost of that time in US dollars, at the hourly price in the device's settings."
    )
    collected: CollectionStatus | None = Field(
        default=None,
        description="Frames collected on the device for training. Absent without collection.",
    )


class StatusMessage(Message):
    """The status of a device.

    Published retained on <prefix>/<device>/status, QoS 1, UTF-8; the broker publishes the last will there when the
    connection is lost. Later releases may add fields where additional properties are allowed: a reader must ignore
    those it does not know.
    """

    model_config = ConfigDict(
        title=SCHEMA,
        json_schema_extra={
            "if": {"properties": {"state": {"const": "online"}}, "required": ["state"]},
            "then": {"properties": {"reasons": {"maxItems": 0}}},
            "else": {"properties": {"reasons": {"minItems": 1}}},
            **OPEN,
        },
    )

    schema_: Literal["beeagent.status/1"] = Field(
        alias="schema",
        description="Name and major version of this message. Fields keep their meaning within the version.",
    )
    device: TopicLevel = Field(description="Name of the device, as in the topic.")
    state: State = Field(
        description="online: no problems. degraded: it continues despite the reasons, and recovers automatically. "
        "offline: it was stopped, or its connection was lost."
    )
    reasons: list[_Reason] = Field(description="Human-readable reasons for a state other than online; empty if online.")
    at: Timestamp = Field(
        description="Time of this message: UTC by the device's clock, RFC 3339 with microseconds. For a last will, the "
        "time of the connection."
    )
    agent: Name = Field(description="Version of beeagent.")
    uptime_s: Annotated[Amount, rounded(1)] | None = Field(default=None, description="Seconds since the agent started.")
    model: Text | None = Field(
        default=None,
        description="Model in use: its name, '@', and the first eight hexadecimal digits of its SHA-256.",
    )
    workers: PositiveCount | None = Field(
        default=None,
        description="Number of frames processed in parallel, if it was chosen by a measurement on the device.",
    )
    threads: PositiveCount | None = Field(
        default=None,
        description="Number of CPU threads for inference, which the workers share, if it or workers was chosen by a "
        "measurement on the device.",
    )
    cameras: list[CameraStatus] | None = Field(default=None, description="The cameras of the device.")
    asleep: Asleep | None = Field(
        default=None,
        description="Present while the camera sleeps: it is closed and no frames are processed, which does not count "
        "as degraded.",
    )
    outbox: OutboxStatus | None = Field(
        default=None,
        description="Counts of results: produced = delivered + waiting + the sum of dropped.",
    )
    second_opinion: SecondOpinionStatus | None = Field(
        default=None,
        description="Counts of unsure frames since the start of the agent: asked = cloud + the sum of degraded + "
        "frames still waiting for a result. Absent without a cloud model.",
    )

    @model_validator(mode="after")
    def _check_reasons(self) -> "StatusMessage":
        if (self.state == "online") != (not self.reasons):
            raise ValueError(f"only the state online has no reasons: {self.state!r}, {self.reasons!r}")
        return self


class ResultCounts(Protocol):
    """Counts of results, such as `beeagent.outbox.OutboxCounts`; see `OutboxStatus`."""

    @property
    def produced(self) -> int: ...  # noqa: D102
    @property
    def delivered(self) -> int: ...  # noqa: D102
    @property
    def waiting(self) -> int: ...  # noqa: D102
    @property
    def dropped(self) -> Mapping[str, int]: ...  # noqa: D102


def status_message(  # noqa: PLR0913 - the fields of the message
    *,
    device: str,
    state: State,
    reasons: Sequence[str],
    at: datetime,
    agent_version: str,
    uptime_s: float | None = None,
    model: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    cameras: Sequence[CameraStatus] = (),
    asleep: Asleep | None = None,
    outbox: ResultCounts | None = None,
    last_delivery: datetime | None = None,
    second_opinion: SecondOpinionStatus | None = None,
) -> StatusMessage:
    """Build a status message.

    Args:
        device: name of the device, a topic level.
        state: `online`, `degraded` or `offline`.
        reasons: reasons for a state other than `online`; empty if it is.
        at: the current time, with a time zone.
        agent_version: version of beeagent.
        uptime_s: seconds since the start of the agent.
        model: name and short hash of the model, such as `bees-lite0@3f9c21d0`.
        workers: number of frames processed in parallel, if it was measured.
        threads: number of CPU threads that the workers share, if workers or threads were measured.
        cameras: status of each camera.
        asleep: current period of sleep; None while the camera is active.
        outbox: counts of results.
        last_delivery: time of the broker's last acknowledgement, with a time zone; used only with `outbox`.
        second_opinion: counts of unsure frames; None without a cloud model.

    Raises:
        ValueError: the state and the reasons contradict each other, or a value is out of its range.
    """
    return StatusMessage(
        schema=SCHEMA,
        device=device,
        state=state,
        reasons=list(reasons),
        at=rfc3339(at),
        agent=agent_version,
        uptime_s=uptime_s,
        model=model,
        workers=workers,
        threads=threads,
        cameras=list(cameras) or None,
        asleep=asleep,
        outbox=None if outbox is None else _outbox(outbox, last_delivery),
        second_opinion=second_opinion,
    )


def _outbox(counts: ResultCounts, last_delivery: datetime | None) -> OutboxStatus:
    return OutboxStatus(
        produced=counts.produced,
        delivered=counts.delivered,
        waiting=counts.waiting,
        dropped=dict(counts.dropped),
        last_delivery_at=None if last_delivery is None else rfc3339(last_delivery),
    )

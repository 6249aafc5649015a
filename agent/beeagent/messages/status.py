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

# No reason is empty by the JSON Schema; a reader accepts an empty one.
_Reason = Annotated[str, Field(json_schema_extra={"minLength": 1})]


class CameraStatus(Part):
    """The status of a camera."""

    name: Name = Field(description="As in the topic of its detections.")
    frames_read: Count = Field(description="Frames processed since the start.")
    frames_skipped: Count = Field(description="Frames that could not be read since the start.")
    frames_replaced: Count = Field(
        default=0, description="Frames dropped since the start because a newer one came before they were processed."
    )
    frames_rate_limited: Count = Field(
        default=0, description="Frames dropped since the start because they came sooner than max_rate allows."
    )
    reconnects: Count = Field(default=0, description="How often the camera was opened again since the start.")
    frames_per_s: Annotated[Amount, rounded(2)] = Field(description="Frames processed per second, recently.")
    frame_age_s: Annotated[Amount, rounded(3)] | None = Field(
        default=None, description="Seconds since the newest frame was captured. Absent before the first."
    )


class OutboxStatus(Part):
    """The counts of the outbox."""

    produced: Count = Field(description="Results produced, over all restarts.")
    delivered: Count = Field(description="Results the broker has acknowledged.")
    waiting: Count = Field(description="Results not yet acknowledged.")
    dropped: dict[str, PositiveCount] = Field(description="Results given up, by reason.")
    last_delivery_at: Timestamp | None = Field(
        default=None,
        description="When the broker last acknowledged a result: UTC by the device's clock, as in at. Absent until it "
        "has done so since the agent started.",
    )


class CollectionStatus(Part):
    """The frames that are kept for training."""

    pictures: Count = Field(description="Number of frames.")
    megabytes: Annotated[Amount, rounded(3)] = Field(description="Their size on disk, in 10^6 bytes.")


class SecondOpinionStatus(Part):
    """Counts of uncertain frames."""

    asked: Count = Field(description="All of them.")
    cloud: Count = Field(description="Those that the cloud model decided on.")
    degraded: dict[str, PositiveCount] = Field(
        description="Those without a second opinion, by reason; the reasons are those of fallback.reason in "
        "beeagent.detections/1."
    )
    calls: Count = Field(description="Calls to the cloud model.")
    saved: Count = Field(description="Calls saved, since another frame a moment ago showed the same.")
    seen_running_s: Annotated[Amount, rounded(1)] = Field(
        description="Seconds for which the cloud model was seen to run: between its answers, where they are at most an "
        "hour apart and it did not say in between that it does not run. A lower bound: AWS bills it from start to "
        "stop, asked or not."
    )
    estimated_cost_usd: Annotated[Amount, rounded(4)] = Field(
        description="US dollars for that time, at the hourly price of the device's settings. An estimate, no bill."
    )
    collected: CollectionStatus | None = Field(
        default=None,
        description="Frames that are kept on the device for training; absent where none are to be kept.",
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
        description="Name and major version of this message. What is said here of a field stays true within the "
        "version.",
    )
    device: TopicLevel = Field(description="Name of the device, as in the topic.")
    state: State = Field(
        description="online: all is well. degraded: it continues in spite of the reasons given, and recovers by "
        "itself. offline: it was stopped, or its connection was lost."
    )
    reasons: list[_Reason] = Field(description="Why it is not online, for people; empty when it is.")
    at: Timestamp = Field(
        description="When this was written: UTC by the device's clock, RFC 3339 with microseconds. A last will is "
        "written when the connection is made, so there this is the time of connecting."
    )
    agent: Name = Field(description="Version of beeagent.")
    uptime_s: Annotated[Amount, rounded(1)] | None = Field(default=None, description="Seconds since the agent started.")
    model: Text | None = Field(
        default=None,
        description="The model in use: its name, '@', and the first eight hexadecimal digits of its SHA-256.",
    )
    workers: PositiveCount | None = Field(
        default=None,
        description="Frames processed in parallel, as measured on the device. Absent where nothing was measured.",
    )
    threads: PositiveCount | None = Field(
        default=None,
        description="CPU threads for inference that these share, as measured on the device. Absent where nothing was "
        "measured.",
    )
    cameras: list[CameraStatus] | None = Field(default=None, description="The cameras of the device.")
    asleep: Asleep | None = Field(
        default=None,
        description="Set while the camera sleeps: it is closed and nothing is processed, which is no reason to be "
        "degraded. Absent while it is active.",
    )
    outbox: OutboxStatus | None = Field(
        default=None,
        description="The counts of the results: produced = delivered + waiting + the sum of dropped.",
    )
    second_opinion: SecondOpinionStatus | None = Field(
        default=None,
        description="Counts of uncertain frames since the agent started: asked = cloud + the sum of degraded + those "
        "that still wait for an answer. Absent where no cloud model is asked.",
    )

    @model_validator(mode="after")
    def _check_reasons(self) -> "StatusMessage":
        if (self.state == "online") != (not self.reasons):
            raise ValueError(f"reasons go with every state but online: {self.state!r}, {self.reasons!r}")
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
        reasons: why it is not online; none when it is.
        at: now, with a time zone.
        agent_version: of beeagent.
        uptime_s: seconds since the agent started.
        model: name and short hash, such as `bees-lite0@3f9c21d0`.
        workers: number of frames processed in parallel, if it was measured.
        threads: number of CPU threads that these share, if workers or threads were measured.
        cameras: the status of each camera.
        asleep: since when and until when the camera sleeps; None while it is active.
        outbox: the counts of the results.
        last_delivery: when the broker last acknowledged one of them, with a time zone; counts with `outbox` only.
        second_opinion: the counts of unsure frames; None where no cloud model is asked.

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

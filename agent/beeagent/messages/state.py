"""The message with the live values of a camera, `beeagent.state/1`."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from beeagent.messages.message import (
    OPEN,
    Amount,
    Count,
    Message,
    Part,
    Text,
    Timestamp,
    TopicLevel,
    rfc3339,
    rounded,
)
from beeagent.messages.traffic import InOut

SCHEMA: Final = "beeagent.state/1"
_MAX_AWAY: Final = 2**53

# The JSON Schema requires problems that are not empty; a reader accepts empty ones.
_Problem = Annotated[str, Field(json_schema_extra={"minLength": 1})]


class LineState(Part):
    """The counts of one class at a line."""

    per_minute: InOut = Field(description="Number of crossings in the last 60 seconds, in each direction.")
    today: InOut = Field(description="The same since day_began_at.")
    away: Annotated[int, Field(ge=-_MAX_AWAY, le=_MAX_AWAY)] = Field(
        description="today.out minus today.in. Negative if more came in than went out."
    )
    total: InOut = Field(
        description="The same since counting began, over all restarts. Never decreases: counts are added when they are "
        "stored on the device, within a minute."
    )


class ZoneState(LineState):
    """The counts of one class in a zone; in and out as in beeagent.traffic/1."""

    inside: Count = Field(description="Number in the zone now.")


class OutboxState(Part):
    """The results waiting for the broker."""

    waiting: Count = Field(description="Results not yet acknowledged.")
    dropped: Count = Field(description="Dropped results, over all restarts.")
    last_delivery_at: Timestamp | None = Field(
        default=None, description="Time of the broker's last acknowledgement of a result. Absent before the first."
    )


class StateMessage(Message):
    """The live values of a camera, for Home Assistant and dashboards.

    Published retained on <prefix>/<device>/<camera>/state, QoS 1 (0 through Greengrass), UTF-8, when a value changes
    and at least every state_interval seconds. It is not stored in the outbox: values are current when published, and a
    message that cannot be published is dropped. Later releases may add fields where additional properties are allowed:
    a reader must ignore those it does not know.
    """

    model_config = ConfigDict(title=SCHEMA, json_schema_extra=OPEN)

    schema_: Literal["beeagent.state/1"] = Field(alias="schema", description="Name and major version of this message.")
    device: TopicLevel = Field(description="Name of the device, as in the topic.")
    camera: TopicLevel = Field(description="Name of the camera on the device, as in the topic.")
    at: Timestamp = Field(description="Time of this message: UTC by the device's clock.")
    model: Text = Field(description="The model in use, as in beeagent.detections/1.")
    watching: bool = Field(
        description="True while frames are processed. If false, objects is empty, and per_minute and inside are not "
        "meaningful."
    )
    objects: dict[str, Count] = Field(
        description="Number of detections of the model on the device in the newest frame, by label. For a model with "
        "few labels, all labels, with 0 for none; for others, the labels detected since the start."
    )
    frames_per_s: Annotated[Amount, rounded(2)] = Field(description="Frames processed per second, recently.")
    asleep: bool = Field(default=False, description="True while the camera sleeps, by its schedule or in the dark.")
    camera_problem: bool = Field(description="True if the camera has a problem.")
    problems: list[_Problem] = Field(description="Human-readable problems of the agent; empty if there are none.")
    temperature_c: Annotated[float, Field(ge=-273.15, le=1000, allow_inf_nan=False), rounded(1)] | None = Field(
        default=None, description="Temperature of the processor in degrees Celsius. Absent if it is unknown."
    )
    outbox: OutboxState = Field(description="State of the outbox.")
    day: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"})] | None = (
        Field(
            default=None,
            description="The day of the counts of today, by the device's time zone. This and the following fields are "
            "absent without counting.",
        )
    )
    day_began_at: Timestamp | None = Field(default=None, description="Beginning of that day.")
    first_flight_at: Timestamp | None = Field(
        default=None, description="Time of the first bee counted on that day, in or out. Absent before that."
    )
    last_flight_at: Timestamp | None = Field(
        default=None, description="Time of the last bee counted on that day, in or out. Absent before the first."
    )
    lines: dict[str, dict[str, LineState]] | None = Field(
        default=None, description="The counts at each line, by its name and by label."
    )
    zones: dict[str, dict[str, ZoneState]] | None = Field(
        default=None, description="The counts in each zone, by its name and by label."
    )


def state_message(  # noqa: PLR0913 - the fields of the message
    *,
    device: str,
    camera: str,
    at: datetime,
    model: str,
    watching: bool,
    objects: Mapping[str, int],
    frames_per_s: float,
    asleep: bool,
    camera_problem: bool,
    problems: Sequence[str],
    waiting: int,
    dropped: int,
    last_delivery: datetime | None,
    temperature_c: float | None = None,
    day: date | None = None,
    day_began: datetime | None = None,
    first_flight: datetime | None = None,
    last_flight: datetime | None = None,
    lines: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    zones: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> StateMessage:
    """Build the message. Arguments have the names of its fields; times have a time zone.

    Raises:
        ValueError: a value is out of its range.
    """
    return StateMessage.model_validate(
        {
            "schema": SCHEMA,
            "device": device,
            "camera": camera,
            "at": rfc3339(at),
            "model": model,
            "watching": watching,
            "objects": objects,
            "frames_per_s": frames_per_s,
            "asleep": asleep,
            "camera_problem": camera_problem,
            "problems": list(problems),
            "temperature_c": temperature_c,
            "outbox": {"waiting": waiting, "dropped": dropped, "last_delivery_at": _time(last_delivery)},
            "day": None if day is None else day.isoformat(),
            "day_began_at": _time(day_began),
            "first_flight_at": _time(first_flight),
            "last_flight_at": _time(last_flight),
            "lines": lines,
            "zones": zones,
        }
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)

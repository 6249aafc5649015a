"""The message with the traffic of a camera over an interval, `beeagent.traffic/1`."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from beeagent.messages.message import (
    CLOSED,
    OPEN,
    Amount,
    Asleep,
    Count,
    EventId,
    Message,
    Part,
    PositiveCount,
    Timestamp,
    TopicLevel,
    rfc3339,
    rounded,
)

SCHEMA: Final = "beeagent.traffic/1"


class InOut(Part):
    """Counts in both directions."""

    model_config = ConfigDict(json_schema_extra=CLOSED, populate_by_name=True)

    in_: Count = Field(alias="in", description="Number that came in.")
    out: Count = Field(description="Number that went out.")


class LineTraffic(Part):
    """The counts of one class at a line."""

    model_config = ConfigDict(populate_by_name=True)

    in_: Count = Field(alias="in", description="Number of inward crossings in this interval.")
    out: Count = Field(description="Number of outward crossings in this interval.")
    today: InOut = Field(description="The same since the beginning of day.")
    total: InOut = Field(description="The same since counting began, over all restarts. Never decreases.")


class ZoneTraffic(Part):
    """The counts of one class in a zone."""

    model_config = ConfigDict(populate_by_name=True)

    in_: Count = Field(
        alias="in", description="Number that appeared outside and disappeared inside the zone in this interval."
    )
    out: Count = Field(description="Number that appeared inside and disappeared outside the zone in this interval.")
    inside: Count = Field(description="Number in the zone at the end of the interval.")
    today: InOut = Field(description="In and out since the beginning of day.")
    total: InOut = Field(description="In and out since counting began, over all restarts. Never decreases.")


class TrafficMessage(Message):
    """The counts of bees that flew in and out in an interval.

    Published on <prefix>/<device>/<camera>/traffic, QoS 1, UTF-8. A message may arrive more than once; copies share
    their event_id. Later releases may add fields where additional properties are allowed: a reader must ignore those it
    does not know.
    """

    model_config = ConfigDict(title=SCHEMA, json_schema_extra=OPEN, populate_by_name=True)

    schema_: Literal["beeagent.traffic/1"] = Field(
        alias="schema", description="Name and major version of this message."
    )
    event_id: EventId = Field(description="UUID of this message, the same in every copy of it.")
    device: TopicLevel = Field(description="Name of the device, as in the topic.")
    camera: TopicLevel = Field(description="Name of the camera on the device, as in the topic.")
    seq: PositiveCount = Field(
        description="Number of this message among those of its schema, device and camera, from 1, also across "
        "restarts. A gap means a lost message."
    )
    from_: Timestamp = Field(alias="from", description="Beginning of the interval: UTC by the device's clock.")
    to: Timestamp = Field(description="End of the interval.")
    day: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"})] = Field(
        description="The day of the counts of today, by the device's time zone: that of the end of the interval."
    )
    frames_per_s: Annotated[Amount, rounded(2)] = Field(
        description="Frames per second processed by the tracker in the interval. At a low rate, it misses more bees."
    )
    lines: dict[str, dict[str, LineTraffic]] = Field(
        description="The counts at each line, by its name and by label. Classes that were never detected are absent."
    )
    zones: dict[str, dict[str, ZoneTraffic]] = Field(
        description="The counts in each zone, by its name and by label. Classes that were never detected are absent."
    )
    asleep: Asleep | None = Field(
        default=None,
        description="Present in the last message before the camera sleeps: counting stops until it wakes, when the "
        "next interval begins.",
    )


def traffic_message(  # noqa: PLR0913 - the fields of the message
    *,
    event_id: UUID,
    device: str,
    camera: str,
    seq: int,
    begin: datetime,
    end: datetime,
    day: date,
    frames_per_s: float,
    lines: Mapping[str, Mapping[str, Mapping[str, Any]]],
    zones: Mapping[str, Mapping[str, Mapping[str, Any]]],
    asleep: Asleep | None = None,
) -> TrafficMessage:
    """Build the message of one interval.

    Args:
        event_id: UUID of this message, the same in every copy of it.
        device: name of the device, a topic level.
        camera: name of the camera, a topic level.
        seq: number of this message, from 1.
        begin: beginning of the interval, with a time zone.
        end: end of the interval, with a time zone.
        day: day of the counts of today.
        frames_per_s: frames per second processed by the tracker.
        lines: fields of `LineTraffic`, by name and label.
        zones: fields of `ZoneTraffic`, by name and label.
        asleep: period of sleep that begins after the interval; None if there is none.

    Raises:
        ValueError: a value is out of its range.
    """
    return TrafficMessage.model_validate(
        {
            "schema": SCHEMA,
            "event_id": str(event_id),
            "device": device,
            "camera": camera,
            "seq": seq,
            "from": rfc3339(begin),
            "to": rfc3339(end),
            "day": day.isoformat(),
            "frames_per_s": frames_per_s,
            "lines": lines,
            "zones": zones,
            "asleep": asleep,
        }
    )

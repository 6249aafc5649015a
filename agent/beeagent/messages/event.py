"""The message of unusual traffic, `beeagent.event/1`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal, get_args
from uuid import UUID

from pydantic import ConfigDict, Field

from beeagent.messages.message import (
    OPEN,
    Amount,
    Count,
    EventId,
    Message,
    Part,
    PositiveCount,
    Text,
    Timestamp,
    TopicLevel,
    rfc3339,
    rounded,
)

SCHEMA: Final = "beeagent.event/1"

EventType = Literal["unusually_many_in", "unusually_many_out", "unusually_few_in", "unusually_few_out"]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
"""What an event can be; its first part says what was counted, not why."""


class UsualCounts(Part):
    """What was counted at that time of earlier days, in the direction of the event."""

    median: Annotated[Amount, rounded(1)] = Field(description="Median of the counts.")
    low: Count = Field(description="A count below it is unusual; 0 where none is.")
    high: Count = Field(description="A count above it is unusual.")
    days: PositiveCount = Field(description="Number of earlier days that were compared.")


class EventMessage(Message):
    """Many more or far fewer bees came in or went out than at the same time of earlier days.

    Published on <prefix>/<device>/<camera>/events, QoS 1, UTF-8, once when it begins, and again after an hour without
    it. A message may arrive more than once, and after an outage late; copies share their event_id. Later releases may
    add event types, and fields where additional properties are allowed: a reader must ignore those it does not know.
    """

    model_config = ConfigDict(title=SCHEMA, json_schema_extra=OPEN, populate_by_name=True)

    schema_: Literal["beeagent.event/1"] = Field(alias="schema", description="Name and major version of this message.")
    event_id: EventId = Field(description="UUID of this message. The same in every copy of it.")
    device: TopicLevel = Field(description="Name of the device, as in the topic.")
    camera: TopicLevel = Field(description="Name of the camera on the device, as in the topic.")
    seq: PositiveCount = Field(
        description="Number of this message among those of its schema, device and camera, counted from 1, across "
        "restarts. A gap is a lost message."
    )
    event_type: EventType = Field(
        description="What was counted: many more or far fewer than usual, in or out. Why, the device does not know."
    )
    place: Text = Field(description="Name of the line or zone.")
    label: Text = Field(description="Class that was counted.")
    from_: Timestamp = Field(alias="from", description="Beginning of the ten minutes: UTC by the device's clock.")
    to: Timestamp = Field(description="End of the ten minutes.")
    in_: Count = Field(alias="in", description="How many came in, in these ten minutes.")
    out: Count = Field(description="How many went out, in these ten minutes.")
    usual: UsualCounts = Field(description="What is usual in ten minutes at that time of day.")


def event_message(  # noqa: PLR0913 - the fields of the message
    *,
    event_id: UUID,
    device: str,
    camera: str,
    seq: int,
    event_type: str,
    place: str,
    label: str,
    begin: datetime,
    end: datetime,
    counts: Mapping[str, int],
    usual: UsualCounts,
) -> EventMessage:
    """Build the message; each argument is the field of that name.

    Args:
        event_id: UUID of this message, the same in every copy.
        device: name of the device, a topic level.
        camera: name of the camera, a topic level.
        seq: number of this message, from 1.
        event_type: one of `EVENT_TYPES`.
        place: name of the line or zone.
        label: class.
        begin: begin of the counted time, with a time zone.
        end: end of the counted time, with a time zone.
        counts: number of passages, by the direction `in` or `out`.
        usual: usual counts at that time of day.

    Raises:
        ValueError: a value is out of its range.
    """
    return EventMessage.model_validate(
        {
            "schema": SCHEMA,
            "event_id": str(event_id),
            "device": device,
            "camera": camera,
            "seq": seq,
            "event_type": event_type,
            "place": place,
            "label": label,
            "from": rfc3339(begin),
            "to": rfc3339(end),
            "in": counts["in"],
            "out": counts["out"],
            "usual": usual,
        }
    )

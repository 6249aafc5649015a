"""What the messages have in common: how they are written, read back and checked."""

from codecs import BOM_UTF8
from datetime import datetime, timezone
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from beeagent.errors import BeeagentError

_MAX_BYTES: Final = 512 * 1024  # of a message to read: four times the most that AWS IoT carries
_MAX_INT: Final = 2**63 - 1
_MAX_AMOUNT: Final = 1e15

OPEN: Final[dict[str, Any]] = {"additionalProperties": True}
"""In the JSON Schema of a part: later releases may add fields."""
CLOSED: Final[dict[str, Any]] = {"additionalProperties": False}
"""In the JSON Schema of a part: it has these fields for good. A reader ignores others all the same."""

Name = Annotated[str, Field(min_length=1, max_length=256)]
TopicLevel = Annotated[str, Field(min_length=1, max_length=256, pattern="^[^/+#]+$")]
Text = Annotated[str, Field(min_length=1)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=_MAX_AMOUNT, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=_MAX_INT)]
PositiveCount = Annotated[int, Field(ge=1, le=_MAX_INT)]
EventId = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", json_schema_extra={"format": "uuid"}
    ),
]
Timestamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]


_Message = TypeVar("_Message", bound="Message")


class MessageTooLargeError(BeeagentError):
    """A message does not fit into its size limit, not even without detections."""


class UnreadableError(Exception):
    """The payload is not one of our messages; the text says why, in a few words."""


class Part(BaseModel):
    """A part of a message. Types are not converted, and a reader ignores fields that it does not know."""

    model_config = ConfigDict(strict=True, frozen=True, json_schema_extra=OPEN)


class Asleep(Part):
    """A time in which a camera is closed, since the settings say so."""

    since: Timestamp = Field(description="When the camera fell asleep: UTC by the device's clock.")
    until: Timestamp | None = Field(default=None, description="When it wakes. Absent where that depends on the light.")

    @classmethod
    def between(cls, since: datetime, until: datetime | None) -> "Asleep":
        """Build it from times with a time zone."""
        return cls(since=rfc3339(since), until=None if until is None else rfc3339(until))


class Message(Part):
    """A message, which is one JSON object; its model is also its JSON Schema."""

    def encode(self, *, limit: int) -> bytes:
        """Return the message as compact UTF-8 JSON of at most `limit` bytes.

        Raises:
            MessageTooLargeError: it does not fit.
            ValueError: a text in it is not Unicode.
        """
        payload = self.to_json()
        if len(payload) > limit:
            raise MessageTooLargeError(
                f"a message of {len(payload)} bytes cannot be brought within the limit of {limit} bytes: raise the "
                "limit, or shorten the names of device, camera, model and labels"
            )
        return payload

    @classmethod
    def decode(cls: type[_Message], payload: bytes) -> _Message:  # noqa: PYI019 - `Self` is of Python 3.11
        """Decode a message from an untrusted publisher.

        Raises:
            UnreadableError: it is no such message.
        """
        if len(payload) > _MAX_BYTES:
            raise UnreadableError(f"{len(payload)} bytes long")
        try:
            return cls.model_validate_json(payload.removeprefix(BOM_UTF8))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UnreadableError(f"{place}: {first['msg']}" if place else first["msg"]) from error

    def to_json(self) -> bytes:
        """Return the message as compact UTF-8 JSON, however long.

        Raises:
            ValueError: a text in it is not Unicode.
        """
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


def rounded(digits: int) -> PlainSerializer:
    """Return the annotation of a number that is written with at most so many decimals."""
    return PlainSerializer(lambda value: round(value, digits), return_type=float)


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC with six decimals of a second, such as `2026-05-04T10:21:07.123456Z`.

    Raises:
        ValueError: the time has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

"""The common part of messages: encoding, decoding and validation."""

from codecs import BOM_UTF8
from datetime import datetime, timezone
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from beeagent.errors import BeeagentError

_MAX_BYTES: Final = 512 * 1024  # of a message to decode: four times the limit of AWS IoT
_MAX_INT: Final = 2**63 - 1
_MAX_AMOUNT: Final = 1e15

OPEN: Final[dict[str, Any]] = {"additionalProperties": True}
"""JSON Schema of a part to which later releases may add fields."""
CLOSED: Final[dict[str, Any]] = {"additionalProperties": False}
"""JSON Schema of a part without later additions. A reader ignores unknown fields nevertheless."""

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
    """A message exceeds its size limit, even without detections."""


class UnreadableError(Exception):
    """The payload is not a valid message; the text is the reason."""


class Part(BaseModel):
    """A part of a message. Types are not converted, and unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, json_schema_extra=OPEN)


class Asleep(Part):
    """A period in which a camera is closed according to the settings."""

    since: Timestamp = Field(description="Beginning of the sleep: UTC by the device's clock.")
    until: Timestamp | None = Field(default=None, description="End of the sleep. Absent if it depends on the light.")

    @classmethod
    def between(cls, since: datetime, until: datetime | None) -> "Asleep":
        """Create a period from times with a time zone."""
        return cls(since=rfc3339(since), until=None if until is None else rfc3339(until))


class Message(Part):
    """A message, which is one JSON object. Its JSON Schema is generated from the model."""

    def encode(self, *, limit: int) -> bytes:
        """Return the message as compact UTF-8 JSON of at most `limit` bytes.

        Raises:
            MessageTooLargeError: the message exceeds the limit.
            ValueError: a text in it is not valid Unicode.
        """
        payload = self.to_json()
        if len(payload) > limit:
            raise MessageTooLargeError(
                f"a message of {len(payload)} bytes cannot be reduced to the limit of {limit} bytes: raise the "
                "limit, or shorten the names of device, camera, model and labels"
            )
        return payload

    @classmethod
    def decode(cls: type[_Message], payload: bytes) -> _Message:  # noqa: PYI019 - `Self` is of Python 3.11
        """Decode a message from an untrusted publisher.

        Raises:
            UnreadableError: the payload is not a valid message of this class.
        """
        if len(payload) > _MAX_BYTES:
            raise UnreadableError(f"{len(payload)} bytes long")
        try:
            return cls.model_validate_json(payload.removeprefix(BOM_UTF8))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise UnreadableError(f"{path}: {first['msg']}" if path else first["msg"]) from error

    def to_json(self) -> bytes:
        """Return the message as compact UTF-8 JSON, without a limit.

        Raises:
            ValueError: a text in it is not valid Unicode.
        """
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


def rounded(digits: int) -> PlainSerializer:
    """Return the annotation of a number that is rounded to this number of decimals."""
    return PlainSerializer(lambda value: round(value, digits), return_type=float)


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC with six decimals of a second, such as `2026-05-04T10:21:07.123456Z`.

    Raises:
        ValueError: the time has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

"""Messages read back, by a program that has not made them and does not trust who has."""

from codecs import BOM_UTF8
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

_MAX_BYTES: Final = 512 * 1024  # four times the most that AWS IoT carries

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Time = Annotated[str, StringConstraints(max_length=40)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class UnreadableError(Exception):
    """What came in is not one of our messages; the text says why, in a few words."""


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Box(_Model):
    """Where a detection is, in ratios of the frame."""

    left: Ratio
    top: Ratio
    width: Ratio
    height: Ratio


class Detection(_Model):
    """One thing that was found."""

    label: str
    confidence: Ratio
    box: Box


class Latency(_Model):
    """Where the time went, in milliseconds."""

    inference: Amount
    total: Amount


class Source(_Model):
    """The file that a frame is from."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    position_s: Amount | None = None


class ReceivedDetections(_Model):
    """What a reader needs of `beeagent.detections/1`; see its JSON Schema for what the fields mean."""

    schema_: Literal["beeagent.detections/1"] = Field(alias="schema")
    device: Name
    camera: Name
    seq: Annotated[int, Field(ge=1, lt=2**63)]
    captured_at: Time
    source: Source | None = None
    decided_by: Literal["edge", "cloud", "edge-degraded"]
    detections: list[Detection]
    omitted: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    counts: dict[str, Count]
    latency_ms: Latency


class ReceivedCamera(_Model):
    """How a camera is doing."""

    name: Name
    frames_read: Count
    frames_skipped: Count
    frames_per_s: Amount
    frame_age_s: Amount | None = None
    frames_replaced: Count = 0
    frames_rate_limited: Count = 0
    reconnects: Count = 0


class ReceivedOutbox(_Model):
    """What became of the results."""

    produced: Count
    delivered: Count
    waiting: Count
    dropped: dict[str, Count]
    last_delivery_at: Time | None = None


class ReceivedCollection(_Model):
    """The frames that are kept to train on."""

    pictures: Count
    megabytes: Amount


class ReceivedSecondOpinion(_Model):
    """What became of the frames of which the model was unsure."""

    asked: Count
    cloud: Count
    degraded: dict[str, Count]
    calls: Count
    saved: Count
    seen_running_s: Amount
    estimated_cost_usd: Amount
    collected: ReceivedCollection | None = None


class ReceivedStatus(_Model):
    """What a reader needs of `beeagent.status/1`; see its JSON Schema for what the fields mean."""

    schema_: Literal["beeagent.status/1"] = Field(alias="schema")
    device: Name
    state: Literal["online", "degraded", "offline"]
    reasons: list[str]
    at: Time
    agent: Name
    uptime_s: Amount | None = None
    model: Name | None = None
    cameras: list[ReceivedCamera] = []
    outbox: ReceivedOutbox | None = None
    second_opinion: ReceivedSecondOpinion | None = None


def read_detections(payload: bytes) -> ReceivedDetections:
    """Read the message of one frame.

    Raises:
        UnreadableError: it is none.
    """
    return _read(ReceivedDetections, payload)


def read_status(payload: bytes) -> ReceivedStatus:
    """Read a status message.

    Raises:
        UnreadableError: it is none.
    """
    return _read(ReceivedStatus, payload)


_Message = TypeVar("_Message", ReceivedDetections, ReceivedStatus)


def _read(form: type[_Message], payload: bytes) -> _Message:
    if len(payload) > _MAX_BYTES:
        raise UnreadableError(f"{len(payload)} bytes long")
    try:
        return form.model_validate_json(payload.removeprefix(BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableError(f"{place}: {first['msg']}" if place else first["msg"]) from error

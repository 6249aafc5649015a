"""The message with the detections of a frame, `beeagent.detections/1`."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from beeagent.detection import Detections
from beeagent.messages.message import (
    CLOSED,
    OPEN,
    Amount,
    EventId,
    Message,
    Part,
    PositiveCount,
    Ratio,
    Text,
    Timestamp,
    TopicLevel,
    rfc3339,
)

SCHEMA: Final = "beeagent.detections/1"

DecidedBy = Literal["edge", "cloud", "edge-degraded"]

_DECIMALS: Final = 4
_STEPS: Final = 10**_DECIMALS


class FrameSize(Part):
    """The size of a frame."""

    model_config = ConfigDict(json_schema_extra=CLOSED)

    width: PositiveCount = Field(description="In pixels.")
    height: PositiveCount = Field(description="In pixels.")


class Box(Part):
    """Where a detection is, in ratios of the frame's width and height."""

    model_config = ConfigDict(json_schema_extra=CLOSED)

    left: Ratio = Field(description="Left edge, ratio of the frame's width.")
    top: Ratio = Field(description="Top edge, ratio of the frame's height.")
    width: Ratio = Field(description="Ratio of the frame's width.")
    height: Ratio = Field(description="Ratio of the frame's height.")


class Detection(Part):
    """One detected object."""

    label: str = Field(description="Name of the class.")
    confidence: Ratio = Field(description="0 to 1, to four decimals.")
    track: PositiveCount | None = Field(
        default=None,
        description="Number of its track: the same for the same bee in successive frames of a camera, since the agent "
        "started. Absent without tracking, and of a detection without a confirmed track.",
    )
    box: Box = Field(
        description="Where it is, in ratios of the frame's width and height to four decimals, in the form of Amazon "
        "Rekognition's BoundingBox. left + width and top + height are 1 at most."
    )


class Source(Part):
    """The file that a frame is from."""

    name: Text = Field(
        description="Name of the file; of a pattern such as night/**/*.jpg, its path below the folder before the first "
        "wildcard, with /. What is not UTF-8 in it is replaced by U+FFFD."
    )
    position_s: Amount | None = Field(default=None, description="In a video: seconds from its beginning to the frame.")


class Fallback(Part):
    """Why there is no second opinion."""

    reason: Text = Field(description="A short word for machines, such as timeout or budget.")


class Latency(Part):
    """Durations in milliseconds."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": {"type": "number", "minimum": 0}})

    inference: Amount = Field(description="In the model.")
    total: Amount = Field(description="From the capture of the frame to this message.")


class DetectionsMessage(Message):
    """The detections of one frame.

    Published on <prefix>/<device>/<camera>/detections, QoS 1, UTF-8. A message may arrive more than once; copies share
    their event_id. Later releases may add fields where additional properties are allowed: a reader must ignore those it
    does not know.
    """

    model_config = ConfigDict(
        title=SCHEMA,
        json_schema_extra={
            "if": {"properties": {"decided_by": {"const": "edge-degraded"}}, "required": ["decided_by"]},
            "then": {"required": ["fallback"]},
            "else": {"not": {"required": ["fallback"]}},
            **OPEN,
        },
    )

    schema_: Literal["beeagent.detections/1"] = Field(
        alias="schema",
        description="Name and major version of this message. What is said here of a field stays true within the "
        "version.",
    )
    event_id: EventId = Field(description="UUID of this result. The same in every copy of the message.")
    device: TopicLevel = Field(description="Name of the device, as in the topic.")
    camera: TopicLevel = Field(description="Name of the camera on the device, as in the topic.")
    seq: PositiveCount = Field(
        description="Number of this result, counted from 1 for each device and camera, rising by one, across restarts. "
        "A gap is a lost result, and nothing else makes one."
    )
    captured_at: Timestamp = Field(
        description="When the frame was captured: UTC by the device's clock, RFC 3339 with microseconds."
    )
    frame: FrameSize = Field(description="Size of the frame.")
    model: Text = Field(
        description="The model that was used: its name, '@', and the first eight hexadecimal digits of its SHA-256."
    )
    decided_by: DecidedBy = Field(
        description="Where the detections are from: the device (edge), the second opinion (cloud), or the device "
        "because a second opinion was wanted and could not be had (edge-degraded)."
    )
    source: Source | None = Field(
        default=None,
        description="What the frame is from, where that is a file, a folder or a video. Absent for a camera.",
    )
    fallback: Fallback | None = Field(
        default=None, description="Why a second opinion could not be had. With edge-degraded, and only then."
    )
    detections: list[Detection] = Field(description="What was detected, the most confident first.")
    counts: dict[str, PositiveCount] = Field(
        description="Number of detections by label, of the labels that were detected, omitted ones included."
    )
    latency_ms: Latency = Field(description="How long it took, in milliseconds.")
    omitted: PositiveCount | None = Field(
        default=None,
        description="How many of the least confident detections were left out because the message would have exceeded "
        "its size limit. Absent when all are there. counts includes them.",
    )

    @model_validator(mode="after")
    def _check_fallback(self) -> "DetectionsMessage":
        if (self.decided_by == "edge-degraded") != (self.fallback is not None):
            raise ValueError(f"a fallback goes with edge-degraded and nothing else, not with {self.decided_by!r}")
        return self

    def encode(self, *, limit: int) -> bytes:
        """Return the message as compact UTF-8 JSON of at most `limit` bytes.

        A message that would be longer keeps its counts and as many of its strongest detections as fit, and says in
        `omitted` how many are left out.

        Raises:
            MessageTooLargeError: it does not fit even without detections.
            ValueError: a text in it is not Unicode.
        """
        payload = self.to_json()
        if len(payload) <= limit:
            return payload
        fitting, fits, too_many = None, -1, len(self.detections)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            payload = self._keeping(middle).to_json()
            if len(payload) <= limit:
                fitting, fits = payload, middle
            else:
                too_many = middle
        return super().encode(limit=limit) if fitting is None else fitting

    def updated(self, *, seq: int, total_ms: float) -> "DetectionsMessage":
        """Return the message with another number and another time from the capture of the frame."""
        latency = self.latency_ms.model_copy(update={"total": total_ms})
        return self.model_copy(update={"seq": seq, "latency_ms": latency})

    def _keeping(self, count: int) -> "DetectionsMessage":
        omitted = len(self.detections) - count + (self.omitted or 0)
        return self.model_copy(update={"detections": self.detections[:count], "omitted": omitted})


def detections_message(  # noqa: PLR0913 - the fields of the message
    *,
    event_id: UUID,
    device: str,
    camera: str,
    seq: int,
    captured_at: datetime,
    frame_width: int,
    frame_height: int,
    model: str,
    decided_by: DecidedBy,
    detections: Detections,
    inference_ms: float,
    total_ms: float,
    fallback: str | None = None,
    source: str | None = None,
    position_s: float | None = None,
    tracks: Sequence[int] | None = None,
) -> DetectionsMessage:
    """Build the message of one frame.

    Args:
        event_id: of this result; the same in every copy of the message.
        device: name of the device, a topic level.
        camera: name of the camera, a topic level.
        seq: number of this result for the device and camera, from 1.
        captured_at: when the frame was captured, with a time zone.
        frame_width: in pixels.
        frame_height: in pixels.
        model: name and short hash, such as `bees-lite0@3f9c21d0`.
        decided_by: `edge`, `cloud` or `edge-degraded`.
        detections: of the frame. Confidences and ratios are rounded to four decimals.
        inference_ms: time in the model, in milliseconds.
        total_ms: time from capture to this message, in milliseconds.
        fallback: with `edge-degraded` only: a word for why there was no second opinion.
        source: name of the file that the frame is from; None for a camera.
        position_s: with `source` only, and in a video: seconds from its beginning.
        tracks: number of the track of each detection, from 1; 0 for none. None without tracking.

    Raises:
        ValueError: a value is out of its range, or has no JSON form.
    """
    if source is None and position_s is not None:
        raise ValueError(f"position_s {position_s} is given without a source")
    # One validation of all of it costs less than the construction of each part.
    return DetectionsMessage.model_validate(
        {
            "schema": SCHEMA,
            "event_id": str(event_id),
            "device": device,
            "camera": camera,
            "seq": seq,
            "captured_at": rfc3339(captured_at),
            "frame": {"width": frame_width, "height": frame_height},
            "model": model,
            "decided_by": decided_by,
            "source": None if source is None else _source(source, position_s),
            "fallback": {"reason": fallback} if fallback else None,
            "detections": detections_json(detections, tracks),
            "counts": detections.counts(),
            "latency_ms": {"inference": round(inference_ms, 1), "total": round(total_ms, 1)},
        }
    )


class PublishRule:
    """Decides which frames make a message.

    Args:
        mode: `detections`: frames with detections; `always`: every frame; `changes`: frames whose counts differ from
            those of the message before, the first frame among them.
    """

    def __init__(self, mode: Literal["detections", "always", "changes"]) -> None:
        self._mode = mode
        self._before: dict[str, int] | None = None

    def admits(self, counts: Mapping[str, int]) -> bool:
        """Return whether a frame with these counts by label makes a message; to be called for each frame, in order."""
        if self._mode == "always":
            return True
        if self._mode == "detections":
            return sum(counts.values()) > 0
        changed = counts != self._before
        self._before = dict(counts)
        return changed


def _source(name: str, position_s: float | None) -> dict[str, Any]:
    # A name that is not UTF-8, which Python keeps in lone surrogates, has no JSON form.
    readable = os.fsencode(name).decode("utf-8", "replace")
    return {"name": readable, "position_s": None if position_s is None else round(position_s, 3)}


def detections_json(found: Detections, tracks: Sequence[int] | None) -> list[dict[str, Any]]:
    """Return detections as in a message; `track` is None for one without a track.

    Args:
        found: the detections.
        tracks: number of each one's track, 0 for none; None without tracking.
    """
    # Both edges are rounded, and the size is the difference in whole steps: left + width can then never exceed the
    # frame, which rounding left and width each on its own would allow.
    edges = np.rint(found.boxes.astype(np.float64) * _STEPS).astype(np.int64)
    corners, sizes = (edges[:, :2] / _STEPS).tolist(), ((edges[:, 2:] - edges[:, :2]) / _STEPS).tolist()
    numbers = [0] * len(found) if tracks is None else tracks
    return [
        {
            "label": found.labels[class_id],
            "confidence": round(confidence, _DECIMALS),
            "track": track or None,
            "box": {"left": left, "top": top, "width": width, "height": height},
        }
        for class_id, confidence, track, (left, top), (width, height) in zip(
            found.class_ids.tolist(), found.confidences.tolist(), numbers, corners, sizes, strict=True
        )
    ]

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

    width: PositiveCount = Field(description="Width in pixels.")
    height: PositiveCount = Field(description="Height in pixels.")


class Box(Part):
    """The bounding box of a detection, in ratios of the frame's width and height."""

    model_config = ConfigDict(json_schema_extra=CLOSED)

    left: Ratio = Field(description="Left edge, ratio of the frame's width.")
    top: Ratio = Field(description="Top edge, ratio of the frame's height.")
    width: Ratio = Field(description="Width, ratio of the frame's width.")
    height: Ratio = Field(description="Height, ratio of the frame's height.")


class Detection(Part):
    """One detected object."""

    label: str = Field(description="Name of the class.")
    confidence: Ratio = Field(description="0 to 1, to four decimals.")
    track: PositiveCount | None = Field(
        default=None,
        description="Number of the track: the same for the same bee in successive frames of a camera, since the start "
        "of the agent. Absent without tracking, and for a detection without a confirmed track.",
    )
    box: Box = Field(
        description="Bounding box in ratios of the frame's width and height to four decimals, in the format of Amazon "
        "Rekognition's BoundingBox. left + width and top + height are at most 1."
    )


class Source(Part):
    """The file of a frame."""

    name: Text = Field(
        description="Name of the file; for a pattern such as night/**/*.jpg, its path below the folder before the "
        "first wildcard, with /. Invalid UTF-8 is replaced by U+FFFD."
    )
    position_s: Amount | None = Field(
        default=None, description="Seconds from the beginning of a video to the frame. Absent for images."
    )


class Fallback(Part):
    """The reason for a missing second opinion."""

    reason: Text = Field(description="Machine-readable reason, such as timeout or budget.")


class Latency(Part):
    """Durations in milliseconds."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": {"type": "number", "minimum": 0}})

    inference: Amount = Field(description="Duration of the inference.")
    total: Amount = Field(description="Time from the capture of the frame to this message.")


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
        description="Name and major version of this message. Fields keep their meaning within the version.",
    )
    event_id: EventId = Field(description="UUID of this result, the same in every copy of the message.")
    device: TopicLevel = Field(description="Name of the device, as in the topic.")
    camera: TopicLevel = Field(description="Name of the camera on the device, as in the topic.")
    seq: PositiveCount = Field(
        description="Number of this result, from 1 for each device and camera, increasing by one, also across "
        "restarts. A gap always means a lost result."
    )
    captured_at: Timestamp = Field(
        description="Time of capture of the frame: UTC by the device's clock, RFC 3339 with microseconds."
    )
    frame: FrameSize = Field(description="Size of the frame.")
    model: Text = Field(description="Model: its name, '@', and the first eight hexadecimal digits of its SHA-256.")
    decided_by: DecidedBy = Field(
        description="Origin of the detections: the device (edge), the second opinion (cloud), or the device because "
        "the requested second opinion was not available (edge-degraded)."
    )
    source: Source | None = Field(
        default=None,
        description="Image or video file of the frame. Absent for a camera.",
    )
    fallback: Fallback | None = Field(
        default=None, description="Reason for the missing second opinion. Present only with edge-degraded."
    )
    detections: list[Detection] = Field(description="Detections, by descending confidence.")
    counts: dict[str, PositiveCount] = Field(
        description="Number of detections by label, including omitted ones; labels without detections are absent."
    )
    latency_ms: Latency = Field(description="Durations of the processing, in milliseconds.")
    omitted: PositiveCount | None = Field(
        default=None,
        description="Number of detections with the lowest confidence that were omitted because the message would have "
        "exceeded its size limit. Absent if there are none. counts includes them.",
    )

    @model_validator(mode="after")
    def _check_fallback(self) -> "DetectionsMessage":
        if (self.decided_by == "edge-degraded") != (self.fallback is not None):
            raise ValueError(f"a fallback and edge-degraded require each other: decided_by is {self.decided_by!r}")
        return self

    def encode(self, *, limit: int) -> bytes:
        """Return the message as compact UTF-8 JSON of at most `limit` bytes.

        A longer message keeps its counts and as many detections of the highest confidence as fit; `omitted` is the
        number of the others.

        Raises:
            MessageTooLargeError: the message does not fit even without detections.
            ValueError: a text in it is not valid Unicode.
        """
        payload = self.to_json()
        if len(payload) <= limit:
            return payload
        fitting, low, high = None, -1, len(self.detections)
        while high - low > 1:
            middle = (low + high) // 2
            payload = self._keeping(middle).to_json()
            if len(payload) <= limit:
                fitting, low = payload, middle
            else:
                high = middle
        return super().encode(limit=limit) if fitting is None else fitting

    def updated(self, *, seq: int, total_ms: float) -> "DetectionsMessage":
        """Return a copy with another number and another total latency."""
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
        event_id: UUID of this result, the same in every copy of the message.
        device: name of the device, a topic level.
        camera: name of the camera, a topic level.
        seq: number of this result for the device and camera, from 1.
        captured_at: time of capture of the frame, with a time zone.
        frame_width: width of the frame in pixels.
        frame_height: height of the frame in pixels.
        model: name and short hash of the model, such as `bees-lite0@3f9c21d0`.
        decided_by: `edge`, `cloud` or `edge-degraded`.
        detections: detections in the frame; confidences and ratios are rounded to four decimals.
        inference_ms: duration of the inference in milliseconds.
        total_ms: time from capture to this message in milliseconds.
        fallback: reason for the missing second opinion, only with `edge-degraded`.
        source: name of the file of the frame; None for a camera.
        position_s: seconds from the beginning of a video, only with `source`; None for images.
        tracks: track number of each detection, from 1; 0 for none. None without tracking.

    Raises:
        ValueError: a value is out of its range, or has no JSON form.
    """
    if source is None and position_s is not None:
        raise ValueError(f"position_s {position_s} is given without a source")
    # One validation of the whole message is faster than the construction of each part.
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
    """Decides which frames are published.

    Args:
        mode: `detections` for frames with detections, `always` for all frames, `changes` for the first frame and frames
            whose counts differ from those of the previous message.
    """

    def __init__(self, mode: Literal["detections", "always", "changes"]) -> None:
        self._mode = mode
        self._before: dict[str, int] | None = None

    def admits(self, counts: Mapping[str, int]) -> bool:
        """Return True if a frame with these counts by label is to be published; call it for each frame in order."""
        if self._mode == "always":
            return True
        if self._mode == "detections":
            return sum(counts.values()) > 0
        changed = counts != self._before
        self._before = dict(counts)
        return changed


def _source(name: str, position_s: float | None) -> dict[str, Any]:
    # Python represents invalid UTF-8 in file names by lone surrogates, which cannot be encoded as JSON.
    readable = os.fsencode(name).decode("utf-8", "replace")
    return {"name": readable, "position_s": None if position_s is None else round(position_s, 3)}


def detections_json(detections: Detections, tracks: Sequence[int] | None) -> list[dict[str, Any]]:
    """Return detections in the format of a message; `track` is None for a detection without a track.

    Args:
        detections: the detections.
        tracks: track number of each detection, 0 for none; None without tracking.
    """
    # Round both edges, and compute the size as their difference in whole steps: if left and width were rounded
    # separately, left + width could exceed the frame.
    edges = np.rint(detections.boxes.astype(np.float64) * _STEPS).astype(np.int64)
    corners, sizes = (edges[:, :2] / _STEPS).tolist(), ((edges[:, 2:] - edges[:, :2]) / _STEPS).tolist()
    numbers = [0] * len(detections) if tracks is None else tracks
    return [
        {
            "label": detections.labels[class_id],
            "confidence": round(confidence, _DECIMALS),
            "track": track or None,
            "box": {"left": left, "top": top, "width": width, "height": height},
        }
        for class_id, confidence, track, (left, top), (width, height) in zip(
            detections.class_ids.tolist(), detections.confidences.tolist(), numbers, corners, sizes, strict=True
        )
    ]

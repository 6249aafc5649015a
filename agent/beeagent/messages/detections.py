"""The message that tells what was found in a frame, `beeagent.detections/1`."""

import json
import math
import os
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

from beeagent.detection import Detections
from beeagent.errors import BeeagentError
from beeagent.messages.timestamps import rfc3339

SCHEMA: Final = "beeagent.detections/1"

DecidedBy = Literal["edge", "cloud", "edge-degraded"]

_DECIMALS: Final = 4
_STEPS: Final = 10**_DECIMALS


class MessageTooLargeError(BeeagentError):
    """Not even without a single detection does a message keep within its size limit."""


def detections_message(  # noqa: PLR0913 - one argument for each thing a message tells
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
) -> dict[str, Any]:
    """Build the message of one frame; its JSON Schema is `load_schema("detections")`.

    Args:
        event_id: of this result; the same in every copy of the message.
        device: name of the device, a topic level.
        camera: name of the camera, a topic level.
        seq: number of this result for the device and camera, from 1.
        captured_at: when the frame was taken, with a time zone.
        frame_width: in pixels.
        frame_height: in pixels.
        model: name and short hash, such as `bees-lite0@3f9c21d0`.
        decided_by: `edge`, `cloud` or `edge-degraded`.
        detections: what was found. Confidences and ratios are rounded to four decimals.
        inference_ms: time in the model, in milliseconds.
        total_ms: time from capture to this message, in milliseconds.
        fallback: with `edge-degraded` only: a word for why there was no second opinion.
        source: name of the file that the frame is from; None for a camera.
        position_s: with `source` only, and in a video: seconds from its beginning.

    Raises:
        ValueError: a value is out of its range; a defect of the caller, not of what was seen.
    """
    if seq < 1 or frame_width < 1 or frame_height < 1:
        raise ValueError(f"seq {seq}, frame width {frame_width} and height {frame_height} must all be at least 1")
    if decided_by not in get_args(DecidedBy):
        raise ValueError(f"decided_by {decided_by!r} is none of {', '.join(get_args(DecidedBy))}")
    if (decided_by == "edge-degraded") != bool(fallback):
        raise ValueError(f"a reason for the fallback goes with edge-degraded alone: {decided_by!r}, {fallback!r}")
    for name, value in (("inference_ms", inference_ms), ("total_ms", total_ms)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} {value} is not a time in milliseconds")
    if source is None and position_s is not None:
        raise ValueError(f"position_s {position_s} is that of no source")
    message: dict[str, Any] = {
        "schema": SCHEMA,
        "event_id": str(event_id),
        "device": device,
        "camera": camera,
        "seq": seq,
        "captured_at": rfc3339(captured_at),
        "frame": {"width": frame_width, "height": frame_height},
        "model": model,
        "decided_by": decided_by,
    }
    if source is not None:
        # A name that is not UTF-8, which Python keeps in lone surrogates, has no JSON form.
        message["source"] = {"name": os.fsencode(source).decode("utf-8", "replace")}
        if position_s is not None:
            message["source"]["position_s"] = round(position_s, 3)
    if fallback:
        message["fallback"] = {"reason": fallback}
    message["detections"] = [_detection(detections, index) for index in range(len(detections))]
    message["counts"] = detections.counts()
    message["latency_ms"] = {"inference": round(inference_ms, 1), "total": round(total_ms, 1)}
    return message


def encode(message: dict[str, Any], *, limit: int) -> bytes:
    """Write a message as compact UTF-8 JSON of at most `limit` bytes.

    A detections message that would be longer keeps its counts and as many of its strongest detections as fit,
    and says in `omitted` how many it left out.

    Raises:
        MessageTooLargeError: it does not fit even so.
        ValueError: something in it has no JSON form.
    """
    whole = _dump(message)
    if len(whole) <= limit:
        return whole
    detections = message.get("detections", [])

    def keeping(count: int) -> bytes:
        kept = {**message, "detections": detections[:count]}
        return _dump({**kept, "omitted": len(detections) - count} if count < len(detections) else kept)

    fits, too_many = -1, len(detections)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if len(keeping(middle)) <= limit:
            fits = middle
        else:
            too_many = middle
    if fits < 0:
        raise MessageTooLargeError(
            f"a message of {len(whole)} bytes cannot be brought within the limit of {limit} bytes: raise the limit, "
            "or shorten the names of device, camera, model and labels"
        )
    return keeping(fits)


def _detection(detections: Detections, index: int) -> dict[str, Any]:
    # Both edges are rounded, and the size is taken between them in whole steps: left + width can then never
    # come out beyond the frame, which rounding left and width each on its own would allow.
    left, top, right, bottom = (round(float(edge) * _STEPS) for edge in detections.boxes[index])
    return {
        "label": detections.label(index),
        "confidence": round(float(detections.confidences[index]), _DECIMALS),
        "box": {
            "left": left / _STEPS,
            "top": top / _STEPS,
            "width": (right - left) / _STEPS,
            "height": (bottom - top) / _STEPS,
        },
    }


def _dump(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

"""Reads detection results from files: messages of the agent, Rekognition responses, plain lists of boxes.

Rekognition's format: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectCustomLabels.html.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from beeagent.detection import Detections
from beeagent.errors import InputError, validation_problems
from beeagent.messages import Detection, FrameSize, Latency, Part, Source, TrafficMessage, UnreadableError
from beeagent.output import shown
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

NO_LABEL = "object"
"""Label of boxes without one in a list of boxes."""


class _Edges(Protocol):
    left: float
    top: float
    width: float
    height: float


class _BoundingBox(BaseModel):
    # Ratios of the image, not limited to 0 to 1, because boxes of the service may extend beyond the image.
    left: FiniteFloat = Field(alias="Left")
    top: FiniteFloat = Field(alias="Top")
    width: FiniteFloat = Field(alias="Width", ge=0)
    height: FiniteFloat = Field(alias="Height", ge=0)


class _Geometry(BaseModel):
    box: _BoundingBox = Field(alias="BoundingBox")


class _CustomLabel(BaseModel):
    name: str = Field(alias="Name")
    confidence: float = Field(alias="Confidence", ge=0, le=100)
    # None for a label of the whole image.
    geometry: _Geometry | None = Field(alias="Geometry", default=None)


class _RekognitionResponse(BaseModel):
    """A response of `DetectCustomLabels`; boxes in ratios of the image, confidences in percent.

    `beeagent compare` adds the ARN of the model and the duration of the call.
    """

    custom_labels: list[_CustomLabel] = Field(alias="CustomLabels")
    model: str | None = Field(alias="ProjectVersionArn", default=None)
    milliseconds: FiniteFloat | None = Field(alias="Milliseconds", default=None, ge=0)


class _PixelBox(BaseModel):
    """One entry of a list of boxes in pixels; confidence in percent."""

    left: FiniteFloat
    top: FiniteFloat
    width: FiniteFloat = Field(ge=0)
    height: FiniteFloat = Field(ge=0)
    confidence: float = Field(ge=0, le=100)
    label: str = NO_LABEL


_PIXEL_BOXES = TypeAdapter(list[_PixelBox])


def _sorted_detections(entries: Sequence[tuple[str, float, _Edges]], size: tuple[int, int] = (1, 1)) -> Detections:
    """Return detections by descending confidence; entries: label, confidence (0 to 1), and box in units of 1/size."""
    labels = tuple(dict.fromkeys(label for label, _, _ in entries))
    ordered = sorted(entries, key=lambda entry: -entry[1])
    edges = [(box.left, box.top, box.left + box.width, box.top + box.height) for _, _, box in ordered]
    ratios = np.array(edges, np.float64).reshape(-1, 4) / np.array([*size, *size], np.float64)
    return Detections(
        boxes=np.clip(ratios, 0, 1).astype(np.float32),
        confidences=np.array([confidence for _, confidence, _ in ordered], np.float32),
        class_ids=np.array([labels.index(label) for label, _, _ in ordered], np.int64),
        labels=labels,
    )


ResultKind = Literal["message", "answer", "boxes"]
"""A message of the agent, a response of Rekognition, a list of boxes in pixels."""

_ASPECT_TOLERANCE = 0.02

_EDGE_TOLERANCE = 1.0
"""Pixels that a box may extend beyond its image, because edges may be rounded to whole pixels."""


class _Message(Part):
    """The required fields of a `DetectionsMessage`."""

    schema_: Literal["beeagent.detections/1"] = Field(alias="schema")
    frame: FrameSize
    detections: list[Detection]
    source: Source | None = None
    model: str | None = None
    latency_ms: Latency | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A detection result of one image.

    Attributes:
        size: width and height of the frame in pixels; None if unknown.
        detections: detections by descending confidence.
        kind: kind of the result.
        model: identity or ARN of the model; None if unknown.
        milliseconds: duration of the inference or the call; None if unknown.
        source: name of the source file; None if unknown.
        position_s: position in the video in seconds; None if unknown.
        tracks: track number of each detection, 0 for none; empty without tracking.
    """

    size: tuple[int, int] | None
    detections: Detections
    kind: ResultKind
    model: str | None = None
    milliseconds: float | None = None
    source: str | None = None
    position_s: float | None = None
    tracks: tuple[int, ...] = ()


def read_sources(path: Path) -> Iterator[tuple[int, str, float | None]]:
    """Yield line (from 1), name of the source, and position in the video of each message with a source.

    Other content is skipped; `read_result` raises an error for it.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        texts = [text] if _is_one_document(path) else text.split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the result {path} cannot be read: {error}") from None
    for line, text in enumerate(texts, 1):
        if '"source"' not in text:
            continue
        with suppress(json.JSONDecodeError, RecursionError, ValidationError, KeyError, TypeError):
            source = Source.model_validate(json.loads(text)["source"])
            yield line, source.name, source.position_s


def is_source(name: str, image: Path) -> bool:
    """Return True if a source's name is the file name or the end of the path: `a/1.jpg` for `set/a/1.jpg`."""
    parts = Path(name).parts
    return bool(parts) and image.absolute().parts[-len(parts) :] == parts


def result_bytes(path: Path, line: int) -> int:
    """Return the size of one result in bytes, without surrounding white space."""
    return len(_text(path, line).strip().encode())


def read_result(path: Path, *, line: int = 1, image_size: tuple[int, int] | None = None) -> Result:
    """Read one result of any of three kinds.

    A message of the agent; a response of Rekognition's `DetectCustomLabels`; or a list of boxes in pixels with
    `confidence` in percent, `left`, `top`, `width`, `height` and optionally `label`, as written by the reference
    article's function.

    Args:
        path: file with one result, or one result per line.
        line: number of the line, from 1.
        image_size: width and height of the image in pixels; required for a list of boxes.

    Raises:
        InputError: the file cannot be read, has no such line or no result; or a box is outside of the image, or the
            image size is missing.
    """
    where = f"{path}:{line}"
    try:
        text = _text(path, line).removeprefix("\ufeff")
        content = json.loads(text)
    except OSError as error:
        raise InputError(f"the result {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"the result {path} is not UTF-8 text") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: no result: Invalid JSON: {error}") from None
    form = "message beeagent.detections/1"
    try:
        if isinstance(content, dict) and isinstance(content.get("Error"), dict):
            # Written by the function of deploy/cloud for images that Rekognition refuses.
            reason = " ".join(shown(str(content["Error"].get(key, "")), most=300) for key in ("Code", "Message"))
            raise InputError(f"{where}: no result: Rekognition refused the image: {reason.strip()}")
        if isinstance(content, dict) and "CustomLabels" in content:
            form = "response of Rekognition"
            response = _RekognitionResponse.model_validate(content)
            boxes = [
                (one.name, one.confidence / 100, one.geometry.box) for one in response.custom_labels if one.geometry
            ]
            detections = _sorted_detections(boxes)
            return Result(None, detections, "answer", model=response.model, milliseconds=response.milliseconds)
        if isinstance(content, list):
            form = "list of boxes in pixels"
            return Result(None, _in_pixels(content, image_size, where), "boxes")
        message = _Message.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{where}: no {form}: {validation_problems(error)[0]}") from None
    return Result(
        size=(message.frame.width, message.frame.height),
        detections=_sorted_detections([(one.label, one.confidence, one.box) for one in message.detections]),
        kind="message",
        model=message.model,
        milliseconds=None if message.latency_ms is None else message.latency_ms.inference,
        source=None if message.source is None else message.source.name,
        position_s=None if message.source is None else message.source.position_s,
        tracks=tuple(one.track or 0 for one in sorted(message.detections, key=lambda one: -one.confidence)),
    )


def read_traffic(path: Path, *, before: int) -> TrafficMessage | None:
    """Return the last traffic message before a line, or None.

    Args:
        path: file with one message per line.
        before: number of the line, from 1.

    Raises:
        InputError: the file cannot be read.
    """
    last = None
    try:
        with path.open("rb") as file:
            for text in islice(file, before - 1):
                if b'"beeagent.traffic/1"' in text:
                    with suppress(UnreadableError):
                        last = TrafficMessage.decode(text.strip())
    except OSError as error:
        raise InputError(f"the result {path} cannot be read: {error.strerror}") from None
    return last


def refuse_other_image(result: Result, *, where: str, image: Path, size: tuple[int, int], by_name: bool = True) -> None:
    """Refuse a result with another source, or of an image with another aspect ratio.

    Args:
        result: the result.
        where: file and line of the result.
        image: the image.
        size: width and height of the image in pixels.
        by_name: compare the names too.

    Raises:
        InputError: the names or the aspect ratios differ.
    """
    # Without the suffix, because the image may have been converted. The name of a video is not that of an image.
    if by_name and result.source is not None and result.position_s is None and Path(result.source).stem != image.stem:
        raise InputError(f"the result {where} is of {shown(result.source, most=300)}, not of {image}")
    if result.size is None:
        return
    width, height = size
    if abs(width / height * result.size[1] / result.size[0] - 1) > _ASPECT_TOLERANCE:
        raise InputError(
            f"{image} is {width}x{height}, but the result {where} is of a frame of "
            f"{result.size[0]}x{result.size[1]}: give the image of the result"
        )


def _is_one_document(path: Path) -> bool:
    """Return True for one indented result, whose first line is incomplete, and False for a result per line."""
    with path.open(encoding="utf-8") as file:
        return not file.readline().rstrip().endswith("}")


def _text(path: Path, line: int) -> str:
    if line == 1 and _is_one_document(path):
        return path.read_text(encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        for text in islice(file, line - 1, line):
            return text
    raise InputError(f"the result {path} has no line {line}")


def _in_pixels(content: list[object], image_size: tuple[int, int] | None, where: str) -> Detections:
    boxes = _PIXEL_BOXES.validate_python(content)
    if image_size is None:
        raise InputError(f"{where}: its boxes are in pixels, but the image size is unknown: give the image")
    width, height = image_size
    for box in boxes:
        right, bottom = box.left + box.width, box.top + box.height
        if (
            min(box.left, box.top) < -_EDGE_TOLERANCE
            or right > width + _EDGE_TOLERANCE
            or bottom > height + _EDGE_TOLERANCE
        ):
            raise InputError(
                f"{where}: the box from ({box.left:g}, {box.top:g}) to ({right:g}, {bottom:g}) is outside of the "
                f"image of {width}x{height}: give the image of the result"
            )
    return _sorted_detections([(box.label, box.confidence / 100, box) for box in boxes], image_size)

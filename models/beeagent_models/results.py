"""Reads detection results from files: messages of the agent, Rekognition responses, plain lists of boxes.

Rekognition's format: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectCustomLabels.html.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.messages import Detection, FrameSize, Latency, Part, Source
from beeagent.output import shown
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

NO_LABEL = "object"
"""What is written beside a box of a list that says where things are, but not what they are."""


class _BoundingBox(BaseModel):
    # Ratios of the image. The service lets a box reach beyond the image, so nothing holds them to 0 and 1.
    left: FiniteFloat = Field(alias="Left")
    top: FiniteFloat = Field(alias="Top")
    width: FiniteFloat = Field(alias="Width", ge=0)
    height: FiniteFloat = Field(alias="Height", ge=0)


class _Geometry(BaseModel):
    box: _BoundingBox = Field(alias="BoundingBox")


class _CustomLabel(BaseModel):
    name: str = Field(alias="Name")
    confidence: float = Field(alias="Confidence", ge=0, le=100)
    # A label of the whole image has none.
    geometry: _Geometry | None = Field(alias="Geometry", default=None)


class RekognitionResponse(BaseModel):
    """A response of `DetectCustomLabels`; boxes in ratios of the image, confidences in percent.

    `beeagent compare` keeps with it which model was asked and how long the call took.
    """

    custom_labels: list[_CustomLabel] = Field(alias="CustomLabels")
    model: str | None = Field(alias="ProjectVersionArn", default=None)
    milliseconds: FiniteFloat | None = Field(alias="Milliseconds", default=None, ge=0)

    def detections(self) -> Detections:
        """Return the labels that have a box; those of the whole image have none and are left out."""
        rows = [
            (label.name, label.confidence / 100, label.geometry.box)
            for label in self.custom_labels
            if label.geometry is not None
        ]
        return strongest_first(
            [
                (name, confidence, (box.left, box.top, box.left + box.width, box.top + box.height))
                for name, confidence, box in rows
            ]
        )


class PixelBox(BaseModel):
    """One entry of a list of boxes in pixels; confidence in percent."""

    left: FiniteFloat
    top: FiniteFloat
    width: FiniteFloat = Field(ge=0)
    height: FiniteFloat = Field(ge=0)
    confidence: float = Field(ge=0, le=100)
    label: str = NO_LABEL


PIXEL_BOXES = TypeAdapter(list[PixelBox])


def pixel_detections(boxes: list[PixelBox], *, width: int, height: int) -> Detections:
    """Turn boxes in pixels into detections.

    Args:
        boxes: in pixels of the image.
        width: of the image in pixels.
        height: likewise.
    """
    return strongest_first(
        [
            (
                box.label,
                box.confidence / 100,
                (
                    box.left / width,
                    box.top / height,
                    (box.left + box.width) / width,
                    (box.top + box.height) / height,
                ),
            )
            for box in boxes
        ]
    )


def strongest_first(rows: list[tuple[str, float, tuple[float, float, float, float]]]) -> Detections:
    """Put detections together.

    Args:
        rows: label, confidence from 0 to 1, and left, top, right, bottom in ratios; boxes are clipped to 0 and 1.
    """
    labels = tuple(dict.fromkeys(label for label, _, _ in rows))
    ordered = sorted(rows, key=lambda row: -row[1])
    return Detections(
        boxes=np.clip(np.array([box for _, _, box in ordered], np.float32).reshape(-1, 4), 0, 1),
        confidences=np.array([confidence for _, confidence, _ in ordered], np.float32),
        class_ids=np.array([labels.index(label) for label, _, _ in ordered], np.int64),
        labels=labels,
    )


ResultKind = Literal["message", "answer", "boxes"]
"""A message of the agent, an answer of Rekognition, a list of boxes in pixels."""

_ASPECT_TOLERANCE = 0.02

_BEYOND = 1.0
"""Pixels by which a box may reach beyond its image: both edges may have been rounded to whole pixels."""


class _Message(Part):
    """What a result must have of a `DetectionsMessage`."""

    schema_: Literal["beeagent.detections/1"] = Field(alias="schema")
    frame: FrameSize
    detections: list[Detection]
    source: Source | None = None
    model: str | None = None
    latency_ms: Latency | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What one result says about its image.

    Attributes:
        size: width and height in pixels of the frame that the result is about; None if it does not say.
        detections: what was found, strongest first.
        kind: which of the three it is.
        model: whose result it is, an identity or an ARN; None if it does not say.
        milliseconds: what the model or the call took; None if it does not say.
        source: name of the file that the frame is from; None if it does not say.
        position_s: where in a video the frame is, in seconds from its beginning; None if it does not say.
    """

    size: tuple[int, int] | None
    detections: Detections
    kind: ResultKind
    model: str | None = None
    milliseconds: float | None = None
    source: str | None = None
    position_s: float | None = None


def read_sources(path: Path) -> Iterator[tuple[int, str, float | None]]:
    """Yield the line from 1, the source's name and the position in it, of each message in a file that names its source.

    What is no such message is passed over: `read_result` says what is wrong with it.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if _is_one_document(path):
            texts = [path.read_text(encoding="utf-8")]
        else:
            with path.open(encoding="utf-8") as file:
                texts = list(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the result {path} cannot be read: {error}") from None
    for line, text in enumerate(texts, 1):
        if '"source"' not in text:
            continue
        with suppress(json.JSONDecodeError, RecursionError, ValidationError, KeyError, TypeError):
            source = Source.model_validate(json.loads(text)["source"])
            yield line, source.name, source.position_s


def is_source(name: str, image: Path) -> bool:
    """Return whether a source's name is that of a file, or the end of its path: `a/1.jpg` is `set/a/1.jpg`."""
    parts = Path(name).parts
    return bool(parts) and image.absolute().parts[-len(parts) :] == parts


def result_bytes(path: Path, line: int) -> int:
    """Return the length of one result, without the white space around it."""
    text = path.read_text(encoding="utf-8") if _is_one_document(path) else _line(path, line)
    return len(text.strip().encode())


def read_result(path: Path, *, line: int = 1, image_size: tuple[int, int] | None = None) -> Result:
    """Read one result, whichever of three it is.

    A message of the agent; the response of Rekognition's `DetectCustomLabels`; or a list of boxes in pixels with
    `confidence` in percent, `left`, `top`, `width`, `height` and perhaps `label`, as the reference article's function
    leaves it beside an image.

    Args:
        path: a file with a result, or with one in each line.
        line: which line, from 1, of a file with several.
        image_size: width and height in pixels of the image, without which a list of boxes in pixels means nothing.

    Raises:
        InputError: the file cannot be read, has no such line, or there is no result in it; or a box in pixels is
            outside of the image, or there is no image to measure it by.
    """
    where = f"{path}:{line}"
    try:
        text = path.read_text(encoding="utf-8") if line == 1 and _is_one_document(path) else _line(path, line)
        content = json.loads(text.removeprefix("\ufeff"))
    except OSError as error:
        raise InputError(f"the result {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"the result {path} is not UTF-8 text") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: no result: Invalid JSON: {error}") from None
    form = "message beeagent.detections/1"
    try:
        if isinstance(content, dict) and isinstance(content.get("Error"), dict):
            # As the function of deploy/cloud leaves it for an image that Rekognition cannot read.
            said = " ".join(shown(str(content["Error"].get(key, "")), most=300) for key in ("Code", "Message"))
            raise InputError(f"{where}: no result: Rekognition refused the image: {said.strip()}")
        if isinstance(content, dict) and "CustomLabels" in content:
            form = "response of Rekognition"
            answer = RekognitionResponse.model_validate(content)
            return Result(
                size=None,
                detections=answer.detections(),
                kind="answer",
                model=answer.model,
                milliseconds=answer.milliseconds,
            )
        if isinstance(content, list):
            form = "list of boxes in pixels"
            return Result(size=None, detections=_in_pixels(content, image_size, where), kind="boxes")
        message = _Message.model_validate_json(text.removeprefix("\ufeff"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}: no {form}: {key + ': ' if key else ''}{first['msg']}") from None
    return Result(
        size=(message.frame.width, message.frame.height),
        detections=_detections(message),
        kind="message",
        model=message.model,
        milliseconds=None if message.latency_ms is None else message.latency_ms.inference,
        source=None if message.source is None else message.source.name,
        position_s=None if message.source is None else message.source.position_s,
    )


def refuse_other_image(found: Result, *, where: str, image: Path, size: tuple[int, int], by_name: bool = True) -> None:
    """Refuse a result that names another source, or is about an image of another shape; another size will do.

    Args:
        found: the result.
        where: its file and line.
        image: the image.
        size: width and height of the image in pixels.
        by_name: whether the name counts.

    Raises:
        InputError: the names or the shapes differ.
    """
    # Without the suffix, as the image may have been converted; of a frame of a video, the name says nothing.
    if by_name and found.source is not None and found.position_s is None and Path(found.source).stem != image.stem:
        raise InputError(f"the result {where} is about {shown(found.source, most=300)}, not about {image}")
    if found.size is None:
        return
    width, height = size
    if abs(width / height * found.size[1] / found.size[0] - 1) > _ASPECT_TOLERANCE:
        raise InputError(
            f"{image} is {width}x{height}, but the result {where} is about a frame of "
            f"{found.size[0]}x{found.size[1]}: it belongs to another image"
        )


def _is_one_document(path: Path) -> bool:
    """Return whether a file is one indented result, whose first line is incomplete, not a result per line."""
    with path.open(encoding="utf-8") as file:
        return not file.readline().rstrip().endswith("}")


def _line(path: Path, number: int) -> str:
    with path.open(encoding="utf-8") as file:
        for text in islice(file, number - 1, number):
            return text
    raise InputError(f"the result {path} has no line {number}")


def _in_pixels(content: list[object], image_size: tuple[int, int] | None, where: str) -> Detections:
    boxes = PIXEL_BOXES.validate_python(content)
    if image_size is None:
        raise InputError(f"{where}: its boxes are in pixels, which cannot be used without the image's size")
    width, height = image_size
    for box in boxes:
        right, bottom = box.left + box.width, box.top + box.height
        if min(box.left, box.top) < -_BEYOND or right > width + _BEYOND or bottom > height + _BEYOND:
            raise InputError(
                f"{where}: the box from ({box.left:g}, {box.top:g}) to ({right:g}, {bottom:g}) is outside of the "
                f"image of {width}x{height}: it belongs to another image"
            )
    return pixel_detections(boxes, width=width, height=height)


def _detections(message: _Message) -> Detections:
    return strongest_first(
        [
            (
                found.label,
                found.confidence,
                (
                    found.box.left,
                    found.box.top,
                    found.box.left + found.box.width,
                    found.box.top + found.box.height,
                ),
            )
            for found in message.detections
        ]
    )

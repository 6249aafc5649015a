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
"""What is written beside a box of a list that says where things are, but not what they are."""


class _Edges(Protocol):
    left: float
    top: float
    width: float
    height: float


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


class _RekognitionResponse(BaseModel):
    """A response of `DetectCustomLabels`; boxes in ratios of the image, confidences in percent.

    `beeagent compare` keeps with it which model was asked and how long the call took.
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


def _strongest_first(found: Sequence[tuple[str, float, _Edges]], size: tuple[int, int] = (1, 1)) -> Detections:
    """Put detections together: label, confidence from 0 to 1, and box, whose unit is the size of the image."""
    labels = tuple(dict.fromkeys(label for label, _, _ in found))
    ordered = sorted(found, key=lambda one: -one[1])
    edges = [(box.left, box.top, box.left + box.width, box.top + box.height) for _, _, box in ordered]
    ratios = np.array(edges, np.float64).reshape(-1, 4) / np.array([*size, *size], np.float64)
    return Detections(
        boxes=np.clip(ratios, 0, 1).astype(np.float32),
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
        tracks: number of the track of each detection; 0 where it has none. Empty if it does not say.
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
    """Yield the line from 1, the source's name and the position in it, of each message in a file that names its source.

    What is no such message is passed over: `read_result` says what is wrong with it.

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
    """Return whether a source's name is that of a file, or the end of its path: `a/1.jpg` is `set/a/1.jpg`."""
    parts = Path(name).parts
    return bool(parts) and image.absolute().parts[-len(parts) :] == parts


def result_bytes(path: Path, line: int) -> int:
    """Return the length of one result, without the white space around it."""
    return len(_text(path, line).strip().encode())


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
            # As the function of deploy/cloud leaves it for an image that Rekognition cannot read.
            said = " ".join(shown(str(content["Error"].get(key, "")), most=300) for key in ("Code", "Message"))
            raise InputError(f"{where}: no result: Rekognition refused the image: {said.strip()}")
        if isinstance(content, dict) and "CustomLabels" in content:
            form = "response of Rekognition"
            answer = _RekognitionResponse.model_validate(content)
            boxed = [(one.name, one.confidence / 100, one.geometry.box) for one in answer.custom_labels if one.geometry]
            detections = _strongest_first(boxed)
            return Result(None, detections, "answer", model=answer.model, milliseconds=answer.milliseconds)
        if isinstance(content, list):
            form = "list of boxes in pixels"
            return Result(None, _in_pixels(content, image_size, where), "boxes")
        message = _Message.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{where}: no {form}: {validation_problems(error)[0]}") from None
    return Result(
        size=(message.frame.width, message.frame.height),
        detections=_strongest_first([(found.label, found.confidence, found.box) for found in message.detections]),
        kind="message",
        model=message.model,
        milliseconds=None if message.latency_ms is None else message.latency_ms.inference,
        source=None if message.source is None else message.source.name,
        position_s=None if message.source is None else message.source.position_s,
        tracks=tuple(found.track or 0 for found in sorted(message.detections, key=lambda one: -one.confidence)),
    )


def read_traffic(path: Path, *, before: int) -> TrafficMessage | None:
    """Return the last traffic message in the lines before another line; None if there is none.

    Args:
        path: a file with one message per line.
        before: number of that line, from 1.

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
        raise InputError(f"{where}: its boxes are in pixels, which cannot be used without the image's size")
    width, height = image_size
    for box in boxes:
        right, bottom = box.left + box.width, box.top + box.height
        if min(box.left, box.top) < -_BEYOND or right > width + _BEYOND or bottom > height + _BEYOND:
            raise InputError(
                f"{where}: the box from ({box.left:g}, {box.top:g}) to ({right:g}, {bottom:g}) is outside of the "
                f"image of {width}x{height}: it belongs to another image"
            )
    return _strongest_first([(box.label, box.confidence / 100, box) for box in boxes], image_size)

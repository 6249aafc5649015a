"""Reads results back: the messages `beeagent.detections/1` as the agent publishes them, and Rekognition's answers."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.messages import Detection, FrameSize, Latency, Part, Source
from beeagent.shown_text import shown
from pydantic import Field, ValidationError

from beeagent_models.rekognition_result import (
    PIXEL_BOXES,
    RekognitionResponse,
    pixel_detections,
    strongest_first,
)

Form = Literal["message", "answer", "boxes"]
"""A message of the agent, an answer of Rekognition, a list of boxes in pixels."""

_ASPECT_TOLERANCE = 0.02

_BEYOND = 1.0
"""Pixels by which a box may reach beyond its picture: whoever made whole pixels of it may have rounded both edges."""


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
    """What one result says about its picture.

    Attributes:
        size: width and height in pixels of the frame that the result is about; None if it does not say.
        detections: what was found, strongest first.
        form: which of the three it is.
        model: whose result it is, an identity or an ARN; None if it does not say.
        milliseconds: what the model or the call took; None if it does not say.
        source: name of the file that the frame is from; None if it does not say.
        position_s: where in a video the frame is, in seconds from its beginning; None if it does not say.
    """

    size: tuple[int, int] | None
    detections: Detections
    form: Form
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


def read_result(path: Path, *, line: int = 1, picture: tuple[int, int] | None = None) -> Result:
    """Read one result, whichever of three it is.

    A message of the agent; the response of Rekognition's `DetectCustomLabels`; or a list of boxes in pixels with
    `confidence` in percent, `left`, `top`, `width`, `height` and perhaps `label`, as the reference article's function
    leaves it beside a picture.

    Args:
        path: a file with a result, or with one in each line.
        line: which line, from 1, of a file with several.
        picture: width and height in pixels of the picture, without which a list of boxes in pixels means nothing.

    Raises:
        InputError: the file cannot be read, has no such line, or there is no result in it; or a box in pixels is
            outside of the picture, or there is no picture to measure it by.
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
            # As the function of deploy/cloud leaves it for a picture that Rekognition cannot read.
            said = " ".join(shown(str(content["Error"].get(key, "")), most=300) for key in ("Code", "Message"))
            raise InputError(f"{where}: no result: Rekognition refused the picture: {said.strip()}")
        if isinstance(content, dict) and "CustomLabels" in content:
            form = "response of Rekognition"
            answer = RekognitionResponse.model_validate(content)
            return Result(
                size=None,
                detections=answer.detections(),
                form="answer",
                model=answer.model,
                milliseconds=answer.milliseconds,
            )
        if isinstance(content, list):
            form = "list of boxes in pixels"
            return Result(size=None, detections=_in_pixels(content, picture, where), form="boxes")
        message = _Message.model_validate_json(text.removeprefix("\ufeff"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}: no {form}: {key + ': ' if key else ''}{first['msg']}") from None
    return Result(
        size=(message.frame.width, message.frame.height),
        detections=_detections(message),
        form="message",
        model=message.model,
        milliseconds=None if message.latency_ms is None else message.latency_ms.inference,
        source=None if message.source is None else message.source.name,
        position_s=None if message.source is None else message.source.position_s,
    )


def refuse_other_picture(
    found: Result, *, where: str, image: Path, size: tuple[int, int], by_name: bool = True
) -> None:
    """Refuse a result that names another source, or is about a picture of another shape; another size will do.

    Args:
        found: the result.
        where: its file and line.
        image: the picture.
        size: width and height of the picture in pixels.
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
            f"{found.size[0]}x{found.size[1]}: it belongs to another picture"
        )


def _is_one_document(path: Path) -> bool:
    """Tell an indented result from a line of many: its first line is not all of it."""
    with path.open(encoding="utf-8") as file:
        return not file.readline().rstrip().endswith("}")


def _line(path: Path, number: int) -> str:
    with path.open(encoding="utf-8") as file:
        for text in islice(file, number - 1, number):
            return text
    raise InputError(f"the result {path} has no line {number}")


def _in_pixels(content: list[object], picture: tuple[int, int] | None, where: str) -> Detections:
    boxes = PIXEL_BOXES.validate_python(content)
    if picture is None:
        raise InputError(f"{where}: its boxes are in pixels, which says nothing without the picture's size")
    width, height = picture
    for box in boxes:
        right, bottom = box.left + box.width, box.top + box.height
        if min(box.left, box.top) < -_BEYOND or right > width + _BEYOND or bottom > height + _BEYOND:
            raise InputError(
                f"{where}: the box from ({box.left:g}, {box.top:g}) to ({right:g}, {bottom:g}) is outside of the "
                f"picture of {width}x{height}: it belongs to another picture"
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

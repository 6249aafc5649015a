"""Reads results back: the messages `beeagent.detections/1` as the agent publishes them."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from beeagent.detection.detections import Detections
from beeagent.errors import InputError
from pydantic import BaseModel, Field, ValidationError

_Ratio = Annotated[float, Field(ge=0, le=1)]


class _Box(BaseModel):
    left: _Ratio
    top: _Ratio
    width: _Ratio
    height: _Ratio


class _Detection(BaseModel):
    label: str
    confidence: _Ratio
    box: _Box


class _Frame(BaseModel):
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class _Message(BaseModel):
    schema_: Literal["beeagent.detections/1"] = Field(alias="schema")
    frame: _Frame
    detections: list[_Detection]


@dataclass(frozen=True, slots=True)
class Result:
    """What one message says about its frame.

    Attributes:
        width: of the frame in pixels.
        height: likewise.
        detections: what was found.
    """

    width: int
    height: int
    detections: Detections


def read_result(path: Path, *, line: int = 1) -> Result:
    """Read one message.

    Args:
        path: a file with a message, or with one in each line.
        line: which line, from 1, of a file with several.

    Raises:
        InputError: the file cannot be read, has no such line, or there is no message in it.
    """
    try:
        text = path.read_text(encoding="utf-8") if line == 1 and _is_one_document(path) else _line(path, line)
        message = _Message.model_validate_json(text)
    except OSError as error:
        raise InputError(f"the result {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"the result {path} is not UTF-8 text") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}:{line}: no message beeagent.detections/1: {key + ': ' if key else ''}{first['msg']}"
        ) from None
    return Result(width=message.frame.width, height=message.frame.height, detections=_detections(message))


def _is_one_document(path: Path) -> bool:
    """Tell an indented message from a line of many: its first line is not all of it."""
    with path.open(encoding="utf-8") as file:
        return not file.readline().rstrip().endswith("}")


def _line(path: Path, number: int) -> str:
    with path.open(encoding="utf-8") as file:
        for text in islice(file, number - 1, number):
            return text
    raise InputError(f"the result {path} has no line {number}")


def _detections(message: _Message) -> Detections:
    labels = tuple(dict.fromkeys(detection.label for detection in message.detections))
    ordered = sorted(message.detections, key=lambda detection: -detection.confidence)
    boxes = [[d.box.left, d.box.top, d.box.left + d.box.width, d.box.top + d.box.height] for d in ordered]
    return Detections(
        boxes=np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, 1),
        confidences=np.array([d.confidence for d in ordered], np.float32),
        class_ids=np.array([labels.index(d.label) for d in ordered], np.int64),
        labels=labels,
    )

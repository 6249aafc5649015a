"""Reads what `beeagent --collect` kept: frames with the cloud model's boxes as labels, the edge model's beside them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.detection.detections import Detections
from beeagent.errors import InputError
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.coco_metrics import ImageMatches, coco_metrics
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.ground_truth import manifest_lines, read_ground_truth

_MANIFEST = "output.manifest"


class _Box(BaseModel):
    label: str
    confidence: float = Field(ge=0, le=1)
    left: int = Field(ge=0)
    top: int = Field(ge=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class _Kept(BaseModel):
    captured_at: str
    edge: list[_Box]


@dataclass(frozen=True, slots=True)
class Collected:
    """Frames on which both models were heard.

    Attributes:
        dataset: the frames, with what the cloud model saw as their labels.
        edge: what the edge model saw in each, down to the low end of its band.
        captured_at: when each was taken, RFC 3339.
        matches: what the edge model's detections are by the cloud model's: hits, or seen by the edge model alone.
    """

    dataset: Dataset
    edge: tuple[Detections, ...]
    captured_at: tuple[str, ...]
    matches: tuple[ImageMatches, ...]


def read_collected(folder: Path) -> Collected:
    """Read a folder that `beeagent --collect` filled.

    Raises:
        InputError: it is none, a line or a picture is defective, or nothing was kept yet.
    """
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        raise InputError(f"{folder}: has no {_MANIFEST}, so nothing was collected there; see beeagent --collect")
    dataset = read_ground_truth(manifest, name=folder.absolute().name)
    kept = [_read(where, text) for where, text in manifest_lines(manifest)]
    labels = tuple(sorted({box.label for one in kept for box in one.edge} | set(dataset.labels)))
    edge = tuple(
        _detections(one.edge, labels, size=(image.width, image.height))
        for one, image in zip(kept, dataset.images, strict=True)
    )
    return Collected(dataset, edge, tuple(one.captured_at for one in kept), _matched(dataset, edge))


def _read(where: str, text: bytes) -> _Kept:
    row: dict[str, Any] = json.loads(text)
    try:
        return _Kept.model_validate(row.get("beeagent"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["beeagent", *map(str, first["loc"])])
        raise InputError(f"{where}: {key}: {first['msg']}; is this a folder of beeagent --collect?") from None


def _detections(boxes: list[_Box], labels: tuple[str, ...], *, size: tuple[int, int]) -> Detections:
    strongest = sorted(boxes, key=lambda box: -box.confidence)
    corners = np.array(
        [[box.left, box.top, box.left + box.width, box.top + box.height] for box in strongest], np.float64
    ).reshape(-1, 4)
    return Detections(
        np.clip(corners / np.array([*size, *size], np.float64), 0, 1).astype(np.float32),
        np.array([box.confidence for box in strongest], np.float32),
        np.array([labels.index(box.label) for box in strongest], np.int64),
        labels,
    )


def _matched(dataset: Dataset, edge: tuple[Detections, ...]) -> tuple[ImageMatches, ...]:
    if any(len(image.boxes) for image in dataset.images):
        return coco_metrics(dataset, edge).matches
    # Where the cloud model never saw anything, the edge model saw all alone.
    return tuple(
        ImageMatches(
            scored=np.ones(len(found), np.bool_), hits=np.zeros(len(found), np.bool_), found_at=np.zeros(0, np.float64)
        )
        for found in edge
    )

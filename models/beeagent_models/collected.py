"""Reads what `beeagent --collect` kept: frames with the cloud model's boxes as labels, the edge model's beside them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from beeagent.cloud import CLOUD_ATTRIBUTE, EDGE_ATTRIBUTE, MANIFEST
from beeagent.detection import Detections
from beeagent.errors import InputError
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.coco_metrics import ImageMatches, coco_metrics
from beeagent_models.datasets.builder import DatasetBuilder
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.defect import strict
from beeagent_models.datasets.ground_truth import ClassMaps, ManifestLine, manifest_lines, parse_line, parse_row
from beeagent_models.datasets.ground_truth_source import stated_line
from beeagent_models.datasets.image_files import find_image
from beeagent_models.datasets.on_disk import first_seen
from beeagent_models.datasets.reference import find_picture
from beeagent_models.datasets.stated import StatedPicture


class _Seen(BaseModel):
    confidence: float = Field(ge=0, le=1)
    told: bool


class _Metadata(BaseModel):
    objects: list[_Seen]
    captured_at: str = Field(alias="creation-date")


@dataclass(frozen=True, slots=True)
class Collected:
    """Frames on which both models were heard.

    Attributes:
        dataset: the frames, with what the cloud model saw as their labels.
        edge: what the edge model saw in each, as far as it counts.
        captured_at: when each was taken, RFC 3339.
        matches: what the edge model's detections are by the cloud model's: hits, or seen by the edge model alone.
        left_out: frames whose picture is gone or whose line is not whole, as while an agent is collecting.
    """

    dataset: Dataset
    edge: tuple[Detections, ...]
    captured_at: tuple[str, ...]
    matches: tuple[ImageMatches, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Kept:
    picture: Path
    cloud: ManifestLine
    edge: ManifestLine
    metadata: _Metadata

    def find(self, _: StatedPicture) -> Path:
        return self.picture


def read_collected(folder: Path, *, threshold: float | None = None) -> Collected:
    """Read a folder that `beeagent --collect` fills; it may do so meanwhile.

    Args:
        folder: with `output.manifest`.
        threshold: confidence from which a detection of the edge model counts, 0 to 1; None for those that counted
            on the device.

    Raises:
        InputError: it is none, a line or a picture is defective, or nothing was kept yet.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(f"{folder}: has no {MANIFEST}, so nothing was collected there; see beeagent --collect")
    rows = [_read(text, where, beside=folder) for where, text in manifest_lines(manifest)]
    kept = [row for row in rows if row is not None]
    if not kept:
        raise InputError(f"{manifest}: there is no frame in it, or none whose picture is still there")
    classes = ClassMaps()
    for one in kept:
        strict(classes.join(one.cloud))
    strict(classes.refuse_none(manifest))
    builder = DatasetBuilder(name=folder.absolute().name, labels=classes.labels)
    with first_seen() as seen:
        for one in kept:
            picture = strict(find_image(stated_line(one.cloud), one.find, seen)).picture
            builder.add(
                one.picture,
                size=picture.known_size,
                boxes=np.array(picture.boxes, np.float64),
                labels=picture.labels,
                where=picture.where,
            )
    dataset = builder.build()
    edge = tuple(
        _detections(one, (image.width, image.height), classes.labels, threshold)
        for one, image in zip(kept, dataset.images, strict=True)
    )
    captured_at = tuple(one.metadata.captured_at for one in kept)
    return Collected(dataset, edge, captured_at, _matched(dataset, edge), len(rows) - len(kept))


def _read(text: bytes, where: str, *, beside: Path) -> _Kept | None:
    if not text.endswith(b"\n"):
        return None  # just being written, or cut off by a crash
    cloud = parse_line(text, where=where, attribute=CLOUD_ATTRIBUTE)
    edge = parse_line(text, where=where, attribute=EDGE_ATTRIBUTE)
    key = f"{EDGE_ATTRIBUTE}-metadata"
    try:
        metadata = _Metadata.model_validate(parse_row(text, where=where).get(key))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([key, *map(str, first["loc"])])
        raise InputError(f"{where}: {place}: {first['msg']}; is this a folder of beeagent --collect?") from None
    if len(metadata.objects) != len(edge.boxes):
        raise InputError(f"{where}: {key}.objects: has {len(metadata.objects)} for {len(edge.boxes)} boxes")
    try:
        picture = find_picture(cloud.source_ref, beside=beside, where=where)
    except InputError:
        return None  # the oldest go when there is no room
    return _Kept(picture, cloud, edge, metadata)


def _detections(kept: _Kept, size: tuple[int, int], labels: tuple[str, ...], threshold: float | None) -> Detections:
    line, seen = kept.edge, kept.metadata.objects
    counted = [
        index for index, one in enumerate(seen) if (one.told if threshold is None else one.confidence >= threshold)
    ]
    counted.sort(key=lambda index: -seen[index].confidence)
    corners = np.array([line.boxes[index] for index in counted], np.float64).reshape(-1, 4)
    known = tuple(dict.fromkeys([*labels, *line.class_map.values()]))
    return Detections(
        np.clip(corners / np.array([*size, *size], np.float64), 0, 1).astype(np.float32),
        np.array([seen[index].confidence for index in counted], np.float32),
        np.array([known.index(line.class_map[line.class_ids[index]]) for index in counted], np.int64),
        known,
    )


def _matched(dataset: Dataset, edge: tuple[Detections, ...]) -> tuple[ImageMatches, ...]:
    if any(len(image.boxes) for image in dataset.images):
        return coco_metrics(dataset, edge).matches
    # Where the cloud model never saw anything, the edge model saw all alone.
    return tuple(
        ImageMatches(
            scored=np.ones(len(found), np.bool_),
            hits=np.zeros(len(found), np.bool_),
            found_at=np.zeros(0, np.float64),
            ignored=np.zeros(0, np.bool_),
        )
        for found in edge
    )

"""Reads and reviews the frames of `beeagent --collect` with the boxes of cloud model and edge model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from beeagent.cloud import CLOUD_ATTRIBUTE, EDGE_ATTRIBUTE, MANIFEST
from beeagent.detection import Detections
from beeagent.errors import InputError, validation_problems
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.datasets import (
    ClassMaps,
    Dataset,
    DatasetBuilder,
    ImageRecord,
    ManifestLine,
    find_image,
    find_image_file,
    first_seen,
    line_record,
    load_image,
    manifest_lines,
    parse_line,
    parse_row,
    strict,
)
from beeagent_models.drawing import ContactSheet, draw_truth, fit_square, prepare_output, write_image
from beeagent_models.evaluation.coco_metrics import ImageMatches, coco_metrics


class _EdgeObject(BaseModel):
    confidence: float = Field(ge=0, le=1)
    above_threshold: bool = Field(alias="told")


class _Metadata(BaseModel):
    objects: list[_EdgeObject]
    captured_at: str = Field(alias="creation-date")


@dataclass(frozen=True, slots=True)
class Collected:
    """Frames with the results of both models.

    Attributes:
        dataset: the frames, with the cloud model's detections as labels.
        edge: detections of the edge model in each frame at the threshold.
        captured_at: capture time of each frame, RFC 3339.
        matches: matches of the edge model's detections with the cloud model's.
        left_out: number of frames with a missing image or an incomplete line, as while an agent is collecting.
    """

    dataset: Dataset
    edge: tuple[Detections, ...]
    captured_at: tuple[str, ...]
    matches: tuple[ImageMatches, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    cloud: ManifestLine
    edge: ManifestLine
    metadata: _Metadata

    def find(self, _: ImageRecord) -> Path:
        return self.path


def read_collected(folder: Path, *, threshold: float | None = None) -> Collected:
    """Read a folder of `beeagent --collect`, which may still be running.

    Args:
        folder: folder with `output.manifest`.
        threshold: minimum confidence of the edge model's detections, 0 to 1; None for the threshold on the device.

    Raises:
        InputError: the folder has no manifest or no frame, or a line or an image is defective.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(f"{folder}: has no {MANIFEST}, so nothing was collected there; see beeagent --collect")
    rows = [_read(text, where, beside=folder) for where, text in manifest_lines(manifest)]
    kept = [row for row in rows if row is not None]
    if not kept:
        raise InputError(f"{manifest}: there is no frame, or none whose image still exists")
    classes = ClassMaps()
    for one in kept:
        strict(classes.join(one.cloud))
    strict(classes.refuse_none(manifest))
    builder = DatasetBuilder(name=folder.absolute().name, labels=classes.labels)
    with first_seen() as seen:
        for one in kept:
            strict(find_image(line_record(one.cloud), one.find, seen)).add_to(builder)
    dataset = builder.build()
    edge = tuple(
        _detections(one, (image.width, image.height), classes.labels, threshold)
        for one, image in zip(kept, dataset.images, strict=True)
    )
    captured_at = tuple(one.metadata.captured_at for one in kept)
    return Collected(dataset, edge, captured_at, coco_metrics(dataset, edge).matches, len(rows) - len(kept))


def _read(text: bytes, where: str, *, beside: Path) -> _Kept | None:
    if not text.endswith(b"\n"):
        return None  # incomplete: being written, or truncated by a crash
    cloud = parse_line(text, where=where, attribute=CLOUD_ATTRIBUTE)
    edge = parse_line(text, where=where, attribute=EDGE_ATTRIBUTE)
    key = f"{EDGE_ATTRIBUTE}-metadata"
    try:
        metadata = _Metadata.model_validate(parse_row(text, where=where).get(key))
    except ValidationError as error:
        problem = validation_problems(error, within=key)[0]
        raise InputError(f"{where}: {problem}; is this a folder of beeagent --collect?") from None
    if len(metadata.objects) != len(edge.boxes):
        raise InputError(f"{where}: {key}.objects: has {len(metadata.objects)} for {len(edge.boxes)} boxes")
    try:
        path = find_image_file(cloud.source_ref, beside=beside, where=where)
    except InputError:
        return None  # the agent removes the oldest images when the limit is reached
    return _Kept(path, cloud, edge, metadata)


def _detections(kept: _Kept, size: tuple[int, int], labels: tuple[str, ...], threshold: float | None) -> Detections:
    line, objects = kept.edge, kept.metadata.objects
    selected = [
        index
        for index, one in enumerate(objects)
        if (one.above_threshold if threshold is None else one.confidence >= threshold)
    ]
    selected.sort(key=lambda index: -objects[index].confidence)
    corners = np.array([line.boxes[index] for index in selected], np.float64).reshape(-1, 4)
    known = tuple(dict.fromkeys([*labels, *line.class_map.values()]))
    return Detections(
        np.clip(corners / np.array([*size, *size], np.float64), 0, 1).astype(np.float32),
        np.array([objects[index].confidence for index in selected], np.float32),
        np.array([known.index(line.class_map[line.class_ids[index]]) for index in selected], np.int64),
        known,
    )


_SIDE = 480  # side of an image on the contact sheet in pixels
_NAMES = ("both", "cloud alone", "edge alone")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Agreement of the two models in one frame at IoU 0.5.

    Attributes:
        index: index of the frame in the collection.
        both: number of boxes of both models.
        cloud_alone: number of boxes of the cloud model alone.
        edge_alone: number of boxes of the edge model alone.
    """

    index: int
    both: int
    cloud_alone: int
    edge_alone: int


def disagreements(collected: Collected) -> list[Disagreement]:
    """Return the disagreements of all frames, the largest first."""
    counts = [_count(index, matches) for index, matches in enumerate(collected.matches)]
    return sorted(counts, key=lambda one: (-(one.cloud_alone + one.edge_alone), one.index))


def review(collected: Collected, *, folder: Path | None, sheet: Path | None, limit: int) -> list[str]:
    """Draw the frames with the largest disagreement: boxes of both green, cloud alone orange, edge alone red.

    Args:
        collected: the frames.
        folder: folder for the drawn frames, with their rank before the name; None for none.
        sheet: file for a contact sheet; None for none.
        limit: maximum number of frames to draw.

    Returns:
        Lines of a summary.

    Raises:
        InputError: a path or an image cannot be used.
    """
    where = prepare_output(folder, sheet)
    ranked = disagreements(collected)
    shown = ranked[:limit]
    lines = _summary(ranked)
    if collected.left_out:
        lines.append(f"{collected.left_out} frames left out: their image is missing or their line is incomplete")
    if where:
        _draw(collected, shown, folder=folder, sheet=sheet)
        lines.append(f"{where}: {len(shown)} of {len(ranked)} frames")
    return lines


def _draw(collected: Collected, shown: Sequence[Disagreement], *, folder: Path | None, sheet: Path | None) -> None:
    grid = ContactSheet(len(shown), columns=0, side=_SIDE) if sheet is not None and shown else None
    digits = len(str(len(shown)))
    for rank, one in enumerate(shown, start=1):
        image = collected.dataset.images[one.index]
        edge, matches, names = collected.edge[one.index], collected.matches[one.index], _NAMES
        drawn = draw_truth(load_image(image), image, edge, matches, threshold=0.0, names=names)
        if folder is not None:
            write_image(folder / f"{rank:0{digits}}-{image.path.stem}.jpg", drawn)
        if grid is not None:
            grid.add(fit_square(drawn, _SIDE), collected.captured_at[one.index])
    if sheet is not None and grid is not None:
        write_image(sheet, grid.pixels)


def _count(index: int, matches: ImageMatches) -> Disagreement:
    both, edge_alone = matches.scored & matches.hits, matches.scored & ~matches.hits
    return Disagreement(index, int(both.sum()), int((matches.matched_confidence < 0).sum()), int(edge_alone.sum()))


def _summary(frames: Sequence[Disagreement]) -> list[str]:
    both, cloud, edge = (sum(getattr(one, name) for one in frames) for name in ("both", "cloud_alone", "edge_alone"))
    disputed = sum(bool(one.cloud_alone or one.edge_alone) for one in frames)
    return [
        f"{len(frames)} frames with results of both models; they disagree on {disputed}",
        f"{both} boxes found by both, {cloud} by the cloud model alone, {edge} by the edge model alone",
    ]

"""SageMaker Ground Truth manifests (also what Rekognition Custom Labels reads): one JSON object a line.

The form: https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html, "Bounding box job output".
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from beeagent.errors import InputError
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.datasets.builder import DatasetBuilder
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.reference import find_picture

_TYPE = "groundtruth/object-detection"


class ImageSize(BaseModel):
    """The size of a picture in pixels, as a line states it."""

    width: int
    height: int
    depth: int = 3


class Annotation(BaseModel):
    """One box in pixels, as a line states it."""

    class_id: int
    left: float
    top: float
    width: float
    height: float


class _Annotations(BaseModel):
    image_size: list[ImageSize] = Field(min_length=1, max_length=1)
    annotations: list[Annotation]


class Metadata(BaseModel):
    """What a line says about its boxes, as far as it is needed to understand them."""

    class_map: dict[int, str] = Field(alias="class-map")


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """What one line of a manifest says.

    Attributes:
        where: file and line, for errors.
        source_ref: the picture, usually an `s3://` address.
        size: width and height in pixels.
        boxes: left, top, right, bottom in pixels, as stated.
        class_ids: of each box.
        class_map: names of the classes that this line knows.
    """

    where: str
    source_ref: str
    size: tuple[int, int]
    boxes: tuple[tuple[float, float, float, float], ...]
    class_ids: tuple[int, ...]
    class_map: dict[int, str]


@dataclass(frozen=True, slots=True)
class Labelling:
    """Where the labels of a manifest come from.

    Attributes:
        attribute: the label attribute, such as `bees`.
        job_name: what made the labels.
        created_at: when.
        human: whether a person drew the boxes.
    """

    attribute: str
    job_name: str
    created_at: datetime
    human: bool


def read_ground_truth(
    manifest: Path, *, name: str, labels: tuple[str, ...] | None = None, attribute: str | None = None
) -> Dataset:
    """Read a manifest and find its pictures beside it.

    Of `s3://bucket/a/b.jpg` the first that exists is taken: `a/b.jpg`, `b.jpg`, `images/b.jpg` beside the
    manifest. Boxes are clipped to the picture.

    Args:
        manifest: the file.
        name: of the data set.
        labels: the classes, in order; by default those of the manifest's class maps, in the order of their ids.
        attribute: the label attribute; by default the only one of type `groundtruth/object-detection`.

    Raises:
        InputError: the manifest or a picture is defective; names file and line.
    """
    lines = list(parse_manifest(manifest, attribute=attribute))
    builder = DatasetBuilder(name=name, labels=labels or join_class_maps(lines, manifest))
    for line in lines:
        builder.add(
            find_picture(line.source_ref, beside=manifest.parent, where=line.where),
            boxes=np.array(line.boxes, np.float64),
            labels=[line.class_map[class_id] for class_id in line.class_ids],
            where=line.where,
            stated_size=line.size,
        )
    return builder.build()


def parse_manifest(manifest: Path, *, attribute: str | None = None) -> Iterator[ManifestLine]:
    """Give the lines of a manifest one by one, without looking at the pictures. Blank lines are passed over.

    Raises:
        InputError: the file cannot be read, or a line is defective; names file and line.
    """
    for where, text in manifest_lines(manifest):
        yield parse_line(text, where=where, attribute=attribute)


def manifest_lines(manifest: Path) -> Iterator[tuple[str, bytes]]:
    """Give the lines of a manifest as they are, each with its place. Blank lines are passed over.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with manifest.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield f"{manifest}:{number}", text
    except OSError as error:
        raise InputError(f"{manifest}: cannot be read: {error.strerror}") from None


def parse_row(text: str | bytes, *, where: str) -> dict[str, Any]:
    """Take apart one line of a manifest, and leave its label attributes as they are.

    Args:
        text: the line.
        where: file and line, for errors.

    Raises:
        InputError: the line is no JSON object with a `source-ref`.
    """
    try:
        row = json.loads(text)
    except UnicodeDecodeError:
        raise InputError(f"{where}: is not UTF-8 text, so no line of a Ground Truth manifest") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get("source-ref"), str):
        raise InputError(f"{where}: has no 'source-ref', so it is no line of a Ground Truth manifest")
    return row


def parse_line(text: str | bytes, *, where: str, attribute: str | None = None) -> ManifestLine:
    """Understand one line of a manifest.

    Args:
        text: the line.
        where: file and line, for errors.
        attribute: the label attribute; by default the only one of type `groundtruth/object-detection`.

    Raises:
        InputError: the line is not JSON, lacks something, or has a box of a class not in its class map.
    """
    row = parse_row(text, where=where)
    attribute = attribute or only_attribute(row, where)
    section = attribute
    try:
        content = _Annotations.model_validate(row.get(attribute))
        section = f"{attribute}-metadata"
        class_map = Metadata.model_validate(row.get(section)).class_map
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([section, *map(str, first["loc"])])
        raise InputError(f"{where}: {key}: {first['msg']}") from None
    for box in content.annotations:
        if box.class_id not in class_map:
            known = ", ".join(map(str, class_map)) or "none"
            raise InputError(f"{where}: class_id {box.class_id} is not in the class-map (known: {known})")
    return ManifestLine(
        where=where,
        source_ref=row["source-ref"],
        size=(content.image_size[0].width, content.image_size[0].height),
        boxes=tuple((a.left, a.top, a.left + a.width, a.top + a.height) for a in content.annotations),
        class_ids=tuple(a.class_id for a in content.annotations),
        class_map=class_map,
    )


def manifest_line(image: LabelledImage, *, source_ref: str, labels: Sequence[str], labelling: Labelling) -> str:
    """Write one line of a manifest, without the line's end. Boxes are rounded to whole pixels, as the form has it.

    Args:
        image: the picture and its boxes.
        source_ref: the picture's address: `s3://…`, or a path relative to the manifest.
        labels: the names of the classes.
        labelling: what the line says about its origin.
    """
    annotations = []
    for class_id, box in zip(image.class_ids, image.boxes, strict=True):
        left, top, right, bottom = (round(float(value)) for value in box)
        left, top = min(left, image.width - 1), min(top, image.height - 1)
        annotations.append(
            {
                "class_id": int(class_id),
                "left": left,
                "top": top,
                "width": max(right - left, 1),
                "height": max(bottom - top, 1),
            }
        )
    return json.dumps(
        {
            "source-ref": source_ref,
            labelling.attribute: {
                "image_size": [{"width": image.width, "height": image.height, "depth": 3}],
                "annotations": annotations,
            },
            f"{labelling.attribute}-metadata": {
                "objects": [{"confidence": 1} for _ in annotations],
                "class-map": {str(index): label for index, label in enumerate(labels)},
                "type": _TYPE,
                "human-annotated": "yes" if labelling.human else "no",
                "creation-date": labelling.created_at.isoformat(),
                "job-name": labelling.job_name,
            },
        },
        ensure_ascii=False,
    )


def only_attribute(row: Mapping[str, object], where: str) -> str:
    """Find the label attribute of a line that has one of type `groundtruth/object-detection`.

    Raises:
        InputError: it has none, or several.
    """
    suffix = "-metadata"
    found = [
        key.removesuffix(suffix)
        for key, value in row.items()
        if key.endswith(suffix) and isinstance(value, dict) and value.get("type") == _TYPE
    ]
    if not found:
        raise InputError(f"{where}: has no label attribute of type {_TYPE}; label the picture or remove the line")
    if len(found) > 1:
        raise InputError(f"{where}: has several label attributes ({', '.join(found)}); say which one to read")
    return found[0]


def join_class_maps(lines: Iterable[ManifestLine], manifest: Path) -> tuple[str, ...]:
    """Join the class maps: each line need only know the classes it uses.

    Args:
        lines: of the manifest.
        manifest: the file, for errors.

    Raises:
        InputError: two lines call a class by different names, or none names any.
    """
    names: dict[int, str] = {}
    for line in lines:
        for class_id, label in line.class_map.items():
            if names.setdefault(class_id, label) != label:
                raise InputError(f"{line.where}: class_id {class_id} is '{label}' here and '{names[class_id]}' before")
    if not names:
        raise InputError(f"{manifest}: no line has a class-map that names a class; name the labels")
    return tuple(names[class_id] for class_id in sorted(names))

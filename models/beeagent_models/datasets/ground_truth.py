"""Reads and writes SageMaker Ground Truth manifests, also used by Rekognition Custom Labels: one JSON object per line.

Format: https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html, "Bounding box job output".
"""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from beeagent.errors import InputError, validation_problems
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.defects import Box, Defect, DefectKind, Findings, class_name_defects, strict
from beeagent_models.datasets.image_files import find_image_file, is_s3, reference_path
from beeagent_models.datasets.records import ImageRecord, Reader, name_within

_TYPE = "groundtruth/object-detection"
_NO_LINE = "so it is not a line of a Ground Truth manifest"


class ImageSize(BaseModel):
    """The size of an image in pixels in a manifest line."""

    width: int
    height: int
    depth: int = 3


class Annotation(BaseModel):
    """One box in pixels in a manifest line."""

    class_id: int
    left: float
    top: float
    width: float
    height: float


class Metadata(BaseModel):
    """The metadata of a label attribute that the reader needs."""

    class_map: dict[int, str] = Field(alias="class-map")


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """One line of a manifest.

    Attributes:
        where: file and line, for errors.
        source_ref: reference of the image, usually an `s3://` URI; empty if missing.
        size: width and height in pixels; None if missing.
        boxes: left, top, right, bottom in pixels, not clipped.
        class_ids: class id of each box.
        class_map: class names of this line by id.
    """

    where: str
    source_ref: str
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    class_ids: tuple[int, ...]
    class_map: dict[int, str]


@dataclass(frozen=True, slots=True)
class Labelling:
    """Label attribute of a manifest and its metadata.

    Attributes:
        attribute: name of the label attribute, such as `bees`.
        job_name: name of the labelling job.
        created_at: creation date of the labels.
        human: True if a person drew the boxes.
    """

    attribute: str
    job_name: str
    created_at: datetime
    human: bool


def manifest_lines(manifest: Path) -> Iterator[tuple[str, bytes]]:
    """Yield location and content of the lines of a manifest, without blank lines and byte order marks.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with manifest.open("rb") as file:
            for number, text in enumerate(file, start=1):
                # In concatenated manifests, any line may begin with a byte order mark.
                content = text.removeprefix(codecs.BOM_UTF8)
                if content.strip():
                    yield f"{manifest}:{number}", content
    except OSError as error:
        raise InputError(f"{manifest}: cannot be read: {error.strerror}") from None


def parse_row(text: str | bytes, *, where: str) -> dict[str, Any]:
    """Parse one line of a manifest without its label attributes.

    Args:
        text: the line.
        where: file and line, for errors.

    Raises:
        InputError: the line is not a JSON object with a `source-ref`.
    """
    return strict(read_row(text, where=where)) or {}


def parse_line(text: str | bytes, *, where: str, attribute: str | None = None) -> ManifestLine:
    """Parse one line of a manifest with a label attribute.

    Args:
        text: the line.
        where: file and line, for errors.
        attribute: the label attribute; by default the only one of type `groundtruth/object-detection`.

    Raises:
        InputError: the line is not JSON, lacks a value, or has a class id that is not in its class map.
    """
    return strict(read_line(text, where=where, attribute=attribute))


def read_row(text: str | bytes, *, where: str) -> Findings[dict[str, Any] | None]:
    """Parse a line as `parse_row`, but yield its defects."""
    try:
        row = json.loads(text)
    except UnicodeDecodeError:
        yield Defect(where, DefectKind.BROKEN_JSON, f"is not UTF-8 text, {_NO_LINE}")
        return None
    except (ValueError, RecursionError) as error:
        yield Defect(where, DefectKind.BROKEN_JSON, f"broken JSON: {error}")
        return None
    if not isinstance(row, dict):
        yield Defect(where, DefectKind.BROKEN_LINE, f"is not a JSON object with a 'source-ref', {_NO_LINE}")
        return None
    if not isinstance(row.get("source-ref"), str) or not row["source-ref"]:
        yield Defect(where, DefectKind.BROKEN_LINE, f"has no 'source-ref' that names an image, {_NO_LINE}")
    return row


def read_line(text: str | bytes, *, where: str, attribute: str | None = None) -> Findings[ManifestLine]:
    """Parse a line as `parse_line`, but yield its defects and return the usable values."""
    row = (yield from read_row(text, where=where)) or {}
    reference = row.get("source-ref")
    line = ManifestLine(where, reference if isinstance(reference, str) else "", None, (), (), {})
    if not row:
        return line
    try:
        attribute = attribute or only_attribute(row, where)
    except InputError as error:
        yield Defect.of(where, DefectKind.BROKEN_LINE, error)
        return line
    content = row.get(attribute)
    if not isinstance(content, dict):
        yield Defect(where, DefectKind.BROKEN_LINE, f"{attribute}: is missing, or not a JSON object")
        return line
    size = yield from _read_size(content, f"{attribute}.image_size", where)
    key = f"{attribute}-metadata"
    class_map: dict[int, str] | None = None
    try:
        class_map = Metadata.model_validate(row.get(key)).class_map
    except ValidationError as error:
        yield from _broken(where, key, error)
    annotations = yield from _read_boxes(content.get("annotations"), f"{attribute}.annotations", where, class_map)
    return replace(
        line,
        size=size,
        boxes=tuple((a.left, a.top, a.left + a.width, a.top + a.height) for a in annotations),
        class_ids=tuple(a.class_id for a in annotations),
        class_map=class_map or {},
    )


def _read_size(content: dict[str, Any], key: str, where: str) -> Findings[tuple[int, int] | None]:
    sizes = content.get("image_size")
    if not isinstance(sizes, list) or len(sizes) != 1:
        yield Defect(where, DefectKind.BROKEN_LINE, f"{key}: must be a list of one size")
        return None
    try:
        size = ImageSize.model_validate(sizes[0])
    except ValidationError as error:
        yield from _broken(where, key, error)
        return None
    if size.width < 1 or size.height < 1:
        yield Defect(where, DefectKind.SIZE_WRONG, f"the size of the image is {size.width}x{size.height}")
        return None
    return size.width, size.height


def _read_boxes(entries: object, key: str, where: str, class_map: dict[int, str] | None) -> Findings[list[Annotation]]:
    boxes: list[Annotation] = []
    if not isinstance(entries, list):
        yield Defect(where, DefectKind.BROKEN_LINE, f"{key}: must be a list")
        return boxes
    for number, entry in enumerate(entries):
        try:
            box = Annotation.model_validate(entry)
        except ValidationError as error:
            yield from _broken(where, f"{key}.{number}", error)
            continue
        if class_map is not None and box.class_id not in class_map:
            known = ", ".join(map(str, class_map)) or "none"
            what = f"class_id {box.class_id} of box {number + 1} is not in the class-map (known: {known})"
            yield Defect(where, DefectKind.LABEL_UNKNOWN, what)
        boxes.append(box)
    return boxes


def _broken(where: str, key: str, error: ValidationError) -> Findings[None]:
    for problem in validation_problems(error, within=key):
        yield Defect(where, DefectKind.BROKEN_LINE, problem)


def manifest_line(image: LabelledImage, *, source_ref: str, labels: Sequence[str], labelling: Labelling) -> str:
    """Return one line of a manifest without a line break; boxes are rounded to whole pixels.

    Args:
        image: image with its boxes.
        source_ref: reference of the image: `s3://…`, or a path relative to the manifest.
        labels: class names.
        labelling: label attribute with its metadata.
    """
    annotations = []
    for class_id, edges in zip(image.class_ids, image.boxes, strict=True):
        left, top, right, bottom = (round(float(value)) for value in edges)
        left, top = min(left, image.width - 1), min(top, image.height - 1)
        box = {"left": left, "top": top, "width": max(right - left, 1), "height": max(bottom - top, 1)}
        annotations.append({"class_id": int(class_id), **box})
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
    """Return the only label attribute of type `groundtruth/object-detection` of a line.

    Raises:
        InputError: the line has none, or several.
    """
    suffix = "-metadata"
    attributes = [
        key.removesuffix(suffix)
        for key, value in row.items()
        if key.endswith(suffix) and isinstance(value, dict) and value.get("type") == _TYPE
    ]
    if not attributes:
        raise InputError(f"{where}: has no label attribute of type {_TYPE}; label the image or remove the line")
    if len(attributes) > 1:
        raise InputError(
            f"{where}: has several label attributes ({', '.join(attributes)}); choose one with --attribute, or write a "
            "manifest that has only one: beeagent dataset convert --attribute"
        )
    return attributes[0]


class ClassMaps:
    """Merges the class maps of lines; a line may contain only the classes it uses."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, str]] = {}
        """Name and first line of each class id."""
        self._ids: dict[str, int] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names so far, in the order of their ids."""
        return tuple(self._names[class_id][0] for class_id in sorted(self._names))

    def join(self, line: ManifestLine) -> Findings[None]:
        """Add the class map of a line, and yield conflicts with earlier lines."""
        for class_id, name in line.class_map.items():
            first, location = self._names.get(class_id, (None, ""))
            if first is None:
                self._names[class_id] = (name, line.where)
                yield from class_name_defects("class_id", [(line.where, class_id, name)], self._ids)
            elif first != name:
                what = f"class_id {class_id} is '{name}' here and '{first}' at {location}"
                yield Defect(line.where, DefectKind.LABEL_UNKNOWN, what)

    def refuse_none(self, manifest: Path) -> Findings[None]:
        """Yield a defect if there is no class name."""
        if not self._names:
            what = f"no line has a class-map with a class; give the labels: {manifest}=bee"
            yield Defect(str(manifest), DefectKind.LABEL_UNKNOWN, what)


class GroundTruthReader(Reader):
    """Reads a Ground Truth manifest.

    Args:
        manifest: the file; `labels` reads it once more.
        labels: class names in order; by default those of the manifest in the order of their ids.
        attribute: the label attribute; by default the only one of type `groundtruth/object-detection`.
        allowed: allowed class names, including classes without a box; None for any.
    """

    def __init__(
        self,
        manifest: Path,
        *,
        labels: tuple[str, ...] | None,
        attribute: str | None,
        allowed: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(str(manifest), labels=labels, allowed=allowed)
        self._manifest = manifest
        self._attribute = attribute

    def _read_labels(self) -> tuple[str, ...]:
        classes = ClassMaps()
        for findings in self._lines():
            strict(classes.join(strict(findings)))
        strict(classes.refuse_none(self._manifest))
        return classes.labels

    def entries(self) -> Iterator[ImageRecord | Defect]:
        """See `Reader`."""
        classes = ClassMaps()
        empty = True
        for findings in self._lines():
            empty = False
            line = yield from findings
            if self._explicit_labels is None:
                yield from classes.join(line)
            for name in line.class_map.values():
                yield from self._refuse_unlisted(line.where, name)
            yield line_record(line)
        if empty:
            raise InputError(f"{self._manifest}: the manifest is empty")
        if self._explicit_labels is None:
            yield from classes.refuse_none(self._manifest)

    def find(self, record: ImageRecord) -> Path:
        """Find the file of an image in or below the manifest's folder."""
        return find_image_file(record.reference, beside=self._manifest.parent, where=record.where)

    def _lines(self) -> Iterator[Findings[ManifestLine]]:
        for where, text in manifest_lines(self._manifest):
            yield read_line(text, where=where, attribute=self._attribute)


def line_record(line: ManifestLine) -> ImageRecord:
    """Convert a manifest line to a record."""
    path = reference_path(line.source_ref)
    return ImageRecord(
        where=line.where,
        reference=line.source_ref,
        name=name_within(path.lstrip("/") if is_s3(line.source_ref) else path),
        size=line.size,
        boxes=line.boxes,
        # For a class id without a name, which is a defect of the line, the id is the label.
        labels=tuple(line.class_map.get(class_id, str(class_id)) for class_id in line.class_ids),
    )

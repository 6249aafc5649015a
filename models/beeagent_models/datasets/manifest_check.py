"""Finds every defect of a Ground Truth manifest, where reading stops at the first."""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from beeagent.errors import InputError
from pydantic import ValidationError

from beeagent_models.datasets.box_check import Box, box_defects
from beeagent_models.datasets.builder import picture_size
from beeagent_models.datasets.defect import Defect, DefectKind
from beeagent_models.datasets.ground_truth import (
    Annotation,
    ImageSize,
    Metadata,
    manifest_lines,
    only_attribute,
)
from beeagent_models.datasets.on_disk import FirstSeen, first_seen
from beeagent_models.datasets.reference import find_picture

Row = dict[str, object]
Size = tuple[int, int]


def check_manifest(
    manifest: Path, *, labels: tuple[str, ...] | None = None, attribute: str | None = None, pictures: bool = True
) -> Iterator[Defect]:
    """Go through a manifest and its pictures, in flat memory. Of a picture only the header is read.

    Args:
        manifest: the file.
        labels: the classes that may occur; None for any.
        attribute: the label attribute; by default, in each line, the only one of type
            `groundtruth/object-detection`.
        pictures: whether to look for the pictures and at their sizes.

    Yields:
        The defects, in the order of the lines.

    Raises:
        InputError: the file cannot be read, or has no line.
    """
    empty = True
    with first_seen() as seen:
        check = _Check(
            beside=manifest.parent if pictures else None, labels=labels, attribute=attribute, references=seen
        )
        for where, text in manifest_lines(manifest):
            empty = False
            yield from check.line(text, where)
    if empty:
        raise InputError(f"{manifest}: there is no line in it")


@dataclass(slots=True)
class _Check:
    beside: Path | None
    labels: tuple[str, ...] | None
    attribute: str | None
    references: FirstSeen
    names: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Of each class id, its name and the line that gave it first."""

    def line(self, text: bytes, where: str) -> Iterator[Defect]:
        try:
            row = json.loads(text)
        except UnicodeDecodeError:
            yield Defect(where, DefectKind.BROKEN_JSON, "is not UTF-8 text")
            return
        except (ValueError, RecursionError) as error:
            yield Defect(where, DefectKind.BROKEN_JSON, str(error))
            return
        if not isinstance(row, dict):
            yield Defect(where, DefectKind.BROKEN_LINE, "is no JSON object")
            return
        actual = yield from self._source(row, where)
        yield from self._labelling(row, where, actual)

    def _source(self, row: Row, where: str) -> Generator[Defect, None, Size | None]:
        """Look at the reference and its picture; gives the picture's size, if it has one."""
        reference = row.get("source-ref")
        if not isinstance(reference, str) or not reference:
            yield Defect(where, DefectKind.BROKEN_LINE, "has no 'source-ref' that names a picture")
            return None
        before = self.references.at(f"reference {reference}", where)
        if before is not None:
            yield Defect(where, DefectKind.DUPLICATE, f"the picture {reference} was given before, at {before}")
        if self.beside is None:
            return None
        try:
            path = find_picture(reference, beside=self.beside, where=where)
        except InputError as error:
            yield _defect(where, DefectKind.MISSING_IMAGE, error)
            return None
        other = self.references.at(f"picture {path.resolve()}", where)
        if before is None and other is not None:
            yield Defect(where, DefectKind.DUPLICATE, f"{reference} is the picture {path}, given before, at {other}")
        try:
            return picture_size(path, where=where)
        except InputError as error:
            yield _defect(where, DefectKind.BAD_IMAGE, error)
            return None

    def _labelling(self, row: Row, where: str, actual: Size | None) -> Iterator[Defect]:
        try:
            attribute = self.attribute or only_attribute(row, where)
        except InputError as error:
            yield _defect(where, DefectKind.BROKEN_LINE, error)
            return
        content = row.get(attribute)
        if not isinstance(content, dict):
            yield Defect(where, DefectKind.BROKEN_LINE, f"{attribute}: is not there, or no JSON object")
            return
        stated = yield from self._size(content, f"{attribute}.image_size", where)
        if stated is not None and actual is not None and stated != actual:
            what = f"the picture is {actual[0]}x{actual[1]}, not {stated[0]}x{stated[1]} as stated"
            yield Defect(where, DefectKind.SIZE_WRONG, what)
        names = yield from self._class_map(row.get(f"{attribute}-metadata"), f"{attribute}-metadata", where)
        boxes = yield from self._boxes(content.get("annotations"), f"{attribute}.annotations", where, names)
        yield from box_defects(boxes, size=stated or actual)

    def _size(self, content: Row, key: str, where: str) -> Generator[Defect, None, Size | None]:
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
            yield Defect(where, DefectKind.SIZE_WRONG, f"the picture is stated to be {size.width}x{size.height}")
            return None
        return size.width, size.height

    def _class_map(self, metadata: object, key: str, where: str) -> Generator[Defect, None, dict[int, str] | None]:
        try:
            names = Metadata.model_validate(metadata).class_map
        except ValidationError as error:
            yield from _broken(where, key, error)
            return None
        for class_id, name in names.items():
            first, at = self.names.setdefault(class_id, (name, where))
            if first != name:
                what = f"class_id {class_id} is '{name}' here and '{first}' at {at}"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, what)
            if self.labels is not None and name not in self.labels:
                what = f"label '{name}' is not one of {', '.join(self.labels)}"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, what)
        return names

    def _boxes(
        self, entries: object, key: str, where: str, names: dict[int, str] | None
    ) -> Generator[Defect, None, list[tuple[str, str, Box]]]:
        boxes: list[tuple[str, str, Box]] = []
        if not isinstance(entries, list):
            yield Defect(where, DefectKind.BROKEN_LINE, f"{key}: must be a list")
            return boxes
        for number, entry in enumerate(entries):
            try:
                box = Annotation.model_validate(entry)
            except ValidationError as error:
                yield from _broken(where, f"{key}.{number}", error)
                continue
            if names is not None and box.class_id not in names:
                known = ", ".join(map(str, names)) or "none"
                what = f"class_id {box.class_id} of box {number + 1} is not in the class-map (known: {known})"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, what)
            edges = (box.left, box.top, box.left + box.width, box.top + box.height)
            boxes.append((where, str(box.class_id), edges))
        return boxes


def _defect(where: str, kind: DefectKind, error: InputError) -> Defect:
    return Defect(where, kind, str(error).removeprefix(f"{where}: "))


def _broken(where: str, key: str, error: ValidationError) -> Iterator[Defect]:
    for found in error.errors():
        yield Defect(where, DefectKind.BROKEN_LINE, f"{'.'.join([key, *map(str, found['loc'])])}: {found['msg']}")

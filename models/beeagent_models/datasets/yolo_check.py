"""Finds every defect of a YOLO folder, where reading stops at the first."""

import os
from collections.abc import Iterator
from pathlib import Path

from beeagent.errors import InputError

from beeagent_models.datasets.box_check import Box, box_defects
from beeagent_models.datasets.builder import picture_size
from beeagent_models.datasets.defect import Defect, DefectKind
from beeagent_models.datasets.on_disk import FirstSeen, first_seen
from beeagent_models.datasets.yolo import label_file, yolo_names, yolo_row
from beeagent_models.datasets.yolo_source import yolo_lines, yolo_pictures

_UNIT = (1, 1)
"""Without the picture, ratios are all there is."""


def check_yolo(folder: Path, *, labels: tuple[str, ...] | None = None, pictures: bool = True) -> Iterator[Defect]:
    """Go through a YOLO folder. Of a picture only the header is read.

    Args:
        folder: as for `read_yolo`.
        labels: the classes; by default the `names` of `data.yaml`.
        pictures: whether to look at the pictures.

    Yields:
        The defects, in the order of the pictures; then the label files that have no picture.

    Raises:
        InputError: the classes are not known, or there is no picture.
    """
    labels = labels or yolo_names(folder)
    empty = True
    with first_seen() as files:
        for picture in yolo_pictures(folder):
            empty = False
            file = label_file(picture)
            other = files.at(str(file), str(picture))
            if other is not None:
                what = f"has the same label file as {other}: {file}"
                yield Defect(str(picture), DefectKind.DUPLICATE, what)
                continue
            size: tuple[int, int] | None = None
            if pictures:
                try:
                    size = picture_size(picture, where=str(picture))
                except InputError as error:
                    yield _defect(str(picture), DefectKind.BAD_IMAGE, error)
            yield from _label_file(file, labels, size)
        yield from _orphans(folder, files)
    if empty:
        raise InputError(f"{folder}: there is no picture in a folder called 'images', so this is no YOLO folder")


def _label_file(file: Path, labels: tuple[str, ...], size: tuple[int, int] | None) -> Iterator[Defect]:
    boxes: list[tuple[str, str, Box]] = []
    try:
        for where, line in yolo_lines(file):
            try:
                row = yolo_row(line, where, labels)
            except InputError as error:
                kind = DefectKind.LABEL_UNKNOWN if "is unknown" in str(error) else DefectKind.BROKEN_LINE
                yield _defect(where, kind, error)
                continue
            width, height = size or _UNIT
            left, top, right, bottom = (float(ratio) for ratio in row.box)
            boxes.append((where, str(row.class_id), (left * width, top * height, right * width, bottom * height)))
    except InputError as error:
        yield _defect(str(file), DefectKind.BROKEN_LINE, error)
    yield from box_defects(boxes, size=size)


def _orphans(folder: Path, files: FirstSeen) -> Iterator[Defect]:
    for root, folders, names in os.walk(folder.absolute()):
        folders.sort()
        if "labels" not in Path(root).relative_to(folder.absolute()).parts:
            continue
        for name in sorted(names):
            file = Path(root, name)
            if file.suffix == ".txt" and name != "classes.txt" and files.at(str(file), str(file)) is None:
                yield Defect(str(file), DefectKind.MISSING_IMAGE, "has no picture in the folder 'images' beside")


def _defect(where: str, kind: DefectKind, error: InputError) -> Defect:
    return Defect(where, kind, str(error).removeprefix(f"{where}: "))

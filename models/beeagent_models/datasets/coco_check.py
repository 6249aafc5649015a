"""Finds every defect of a COCO file, where reading stops at the first. Entries take the place of lines."""

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from beeagent.errors import InputError
from pydantic import BaseModel, ValidationError

from beeagent_models.datasets.box_check import Box, box_defects
from beeagent_models.datasets.builder import picture_size
from beeagent_models.datasets.coco import CocoAnnotation, CocoCategory, CocoImage, find_coco_picture
from beeagent_models.datasets.coco_source import FORMS, MOST_PIXELS
from beeagent_models.datasets.defect import Defect, DefectKind
from beeagent_models.datasets.json_stream import members
from beeagent_models.datasets.on_disk import FirstSeen, temporary_database

_LISTS = ", ".join(FORMS)


def check_coco(file: Path, *, labels: tuple[str, ...] | None = None, pictures: bool = True) -> Iterator[Defect]:
    """Go through a COCO file and its pictures, in flat memory. Of a picture only the header is read.

    Args:
        file: the JSON.
        labels: the classes that may occur; None for any.
        pictures: whether to look for the pictures and at their sizes.

    Yields:
        The defects: first those of single entries, then those of pictures and their boxes, in the order of the images.

    Raises:
        InputError: the file cannot be read, or has no image.
    """
    with temporary_database() as database:
        check = _Check(file, labels, pictures, database, FirstSeen(database))
        yield from check.entries()
        yield from check.boxes()


@dataclass(slots=True)
class _Check:
    file: Path
    labels: tuple[str, ...] | None
    pictures: bool
    database: sqlite3.Connection
    seen: FirstSeen
    names: dict[int, str] = field(default_factory=dict)

    def entries(self) -> Iterator[Defect]:
        # Ids are text here: JSON has integers of any size, and SQLite has not.
        self.database.execute("CREATE TABLE image (place INTEGER, id TEXT PRIMARY KEY, width REAL, height REAL)")
        self.database.execute(
            "CREATE TABLE box (place INTEGER, image TEXT, category TEXT, x REAL, y REAL, width REAL, height REAL)"
        )
        empty = True
        try:
            for key, place, value in members(self.file):
                empty = empty and (key != "images" or value == [])
                if key in FORMS and place is not None:
                    yield from self._entry(key, f"{self.file}: {key}.{place}", place, value)
                elif key in FORMS and value != []:
                    yield Defect(f"{self.file}: {key}", DefectKind.BROKEN_LINE, "must be a list")
        except InputError as error:
            if "Invalid JSON" not in str(error):
                raise
            empty = False
            yield Defect(str(self.file), DefectKind.BROKEN_JSON, str(error).removeprefix(f"{self.file}: "))
        if empty:
            raise InputError(f"{self.file}: there is no image in it; a COCO file has {_LISTS}")

    def _entry(self, key: str, where: str, place: int, value: object) -> Iterator[Defect]:
        try:
            entry: BaseModel = FORMS[key].model_validate(value)
        except ValidationError as error:
            for found in error.errors():
                what = f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
                yield Defect(where, DefectKind.BROKEN_LINE, what)
            return
        if isinstance(entry, CocoImage):
            yield from self._image(entry, where, place)
        elif isinstance(entry, CocoCategory):
            if entry.id in self.names:
                yield Defect(where, DefectKind.DUPLICATE, f"category id {entry.id} is '{self.names[entry.id]}' already")
            self.names.setdefault(entry.id, entry.name)
            if self.labels is not None and entry.name not in self.labels:
                what = f"label '{entry.name}' is not one of {', '.join(self.labels)}"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, what)
        elif isinstance(entry, CocoAnnotation):
            if not all(map(math.isfinite, entry.bbox)):
                yield Defect(where, DefectKind.BOX_EMPTY, f"bbox {entry.bbox} is not all numbers")
                return
            row = (place, str(entry.image_id), str(entry.category_id), *entry.bbox)
            self.database.execute("INSERT INTO box VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def _image(self, entry: CocoImage, where: str, place: int) -> Iterator[Defect]:
        if not (0 < entry.width < MOST_PIXELS and 0 < entry.height < MOST_PIXELS):
            what = f"the picture is stated to be {entry.width}x{entry.height}"
            yield Defect(where, DefectKind.SIZE_WRONG, what)
            return
        row = (place, str(entry.id), float(entry.width), float(entry.height))
        if not self.database.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?)", row).rowcount:
            yield Defect(where, DefectKind.DUPLICATE, f"image id {entry.id} was there before")
        before = self.seen.at(entry.file_name, where)
        if before is not None:
            yield Defect(where, DefectKind.DUPLICATE, f"the picture {entry.file_name} was given before, at {before}")
        if not self.pictures:
            return
        try:
            path = find_coco_picture(entry.file_name, file=self.file, where=where)
        except InputError as error:
            yield Defect(where, DefectKind.MISSING_IMAGE, str(error).removeprefix(f"{where}: "))
            return
        try:
            width, height = picture_size(path, where=where)
        except InputError as error:
            yield Defect(where, DefectKind.BAD_IMAGE, str(error).removeprefix(f"{where}: "))
            return
        if (width, height) != (entry.width, entry.height):
            what = f"the picture is {width}x{height}, not {entry.width}x{entry.height} as stated"
            yield Defect(where, DefectKind.SIZE_WRONG, what)

    def boxes(self) -> Iterator[Defect]:
        self.database.execute("CREATE INDEX box_image ON box (image, place)")
        for place, image, category in self.database.execute(
            "SELECT place, image, category FROM box WHERE image NOT IN (SELECT id FROM image) ORDER BY place"
        ):
            yield Defect(self._at(place), DefectKind.MISSING_IMAGE, f"there is no image with id {image}")
            yield from self._category(place, category)
        images = self.database.execute("SELECT id, width, height FROM image ORDER BY place")
        for image, width, height in images:
            boxes: list[tuple[str, str, Box]] = []
            for place, category, x, y, w, h in self.database.execute(
                "SELECT place, category, x, y, width, height FROM box WHERE image = ? ORDER BY place", (image,)
            ).fetchall():
                yield from self._category(place, category)
                boxes.append((self._at(place), category, (x, y, x + w, y + h)))
            yield from box_defects(boxes, size=(int(width), int(height)))

    def _category(self, place: int, category: str) -> Iterator[Defect]:
        if int(category) not in self.names:
            yield Defect(self._at(place), DefectKind.LABEL_UNKNOWN, f"there is no category with id {category}")

    def _at(self, place: int) -> str:
        return f"{self.file}: annotations.{place}"

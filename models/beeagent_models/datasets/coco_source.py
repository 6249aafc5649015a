"""A COCO file, picture by picture: its entries come in any order, so they are sorted on disk."""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from beeagent.errors import InputError
from pydantic import BaseModel, ValidationError

from beeagent_models.datasets.builder import check_labels
from beeagent_models.datasets.coco import CocoAnnotation, CocoCategory, CocoImage, find_coco_picture
from beeagent_models.datasets.json_stream import members
from beeagent_models.datasets.on_disk import temporary_database
from beeagent_models.datasets.stated import StatedPicture, name_within

FORMS: dict[str, type[BaseModel]] = {"images": CocoImage, "annotations": CocoAnnotation, "categories": CocoCategory}

MOST_PIXELS = 1 << 31
"""Of a side; no picture has so many."""

_CROWDS = "crowd regions, which are no boxes of single objects"


class CocoSource:
    """A COCO file as a `Source`; needs flat memory.

    Args:
        file: the JSON; it is gone through once at the start, for its classes.
        labels: the classes, in order; by default the categories, in the order of their ids.

    Raises:
        InputError: the file is defective.
    """

    def __init__(self, file: Path, *, labels: tuple[str, ...] | None) -> None:
        self._file = file
        names: dict[int, str] = {}
        for _, entry in coco_entries(file):
            if isinstance(entry, CocoCategory):
                if entry.id in names:
                    raise InputError(f"{file}: two categories have the same id {entry.id}")
                names[entry.id] = entry.name
        self._names = names
        self.labels = labels or tuple(names[key] for key in sorted(names))
        check_labels(str(file), self.labels)
        self.left_out: dict[str, int] = {}

    def pictures(self) -> Iterator[StatedPicture]:
        """Give the pictures with their annotations."""
        with temporary_database() as database:
            self._load(database)
            images = database.execute("SELECT id, name, width, height FROM image ORDER BY place")
            for key, name, width, height in images:
                rows = database.execute(
                    "SELECT category, x, y, width, height FROM annotation WHERE image = ? ORDER BY place", (key,)
                ).fetchall()
                yield StatedPicture(
                    where=f"{self._file}: image {key}",
                    reference=name,
                    name=name_within(name),
                    size=(width, height),
                    boxes=tuple((x, y, x + w, y + h) for _, x, y, w, h in rows),
                    labels=tuple(self._names[int(category)] for category, *_ in rows),
                )

    def find(self, picture: StatedPicture) -> Path:
        """Find the file of a picture beside the COCO file."""
        return find_coco_picture(picture.reference, file=self._file, where=picture.where)

    def _load(self, database: sqlite3.Connection) -> None:
        # Ids are text here: JSON has integers of any size, and SQLite has not.
        database.execute(
            "CREATE TABLE image (place INTEGER, id TEXT PRIMARY KEY, name TEXT, width INTEGER, height INTEGER)"
        )
        database.execute(
            "CREATE TABLE annotation "
            "(place INTEGER, image TEXT, category TEXT, x REAL, y REAL, width REAL, height REAL)"
        )
        crowds = 0
        for place, entry in coco_entries(self._file):
            if isinstance(entry, CocoImage):
                if not (0 < entry.width < MOST_PIXELS and 0 < entry.height < MOST_PIXELS):
                    what = f"a picture cannot be {entry.width}x{entry.height}"
                    raise InputError(f"{self._file}: images.{place}: {what}")
                row = (place, str(entry.id), entry.file_name, entry.width, entry.height)
                if not database.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?)", row).rowcount:
                    raise InputError(f"{self._file}: two images have the same id {entry.id}")
            elif isinstance(entry, CocoAnnotation):
                if entry.category_id not in self._names:
                    what = f"there is no category with id {entry.category_id}"
                    raise InputError(f"{self._file}: annotations.{place}: {what}")
                if not all(map(math.isfinite, entry.bbox)):
                    raise InputError(f"{self._file}: annotations.{place}: bbox {entry.bbox} is not all numbers")
                crowds += entry.iscrowd != 0
                if not entry.iscrowd:
                    box = (place, str(entry.image_id), str(entry.category_id), *entry.bbox)
                    database.execute("INSERT INTO annotation VALUES (?, ?, ?, ?, ?, ?, ?)", box)
        self.left_out = {_CROWDS: crowds} if crowds else {}
        database.execute("CREATE INDEX annotation_image ON annotation (image, place)")
        orphan = database.execute(
            "SELECT place, image FROM annotation WHERE image NOT IN (SELECT id FROM image) ORDER BY place LIMIT 1"
        ).fetchone()
        if orphan is not None:
            raise InputError(f"{self._file}: annotations.{orphan[0]}: there is no image with id {orphan[1]}")


def coco_entries(file: Path) -> Iterator[tuple[int, BaseModel]]:
    """Give the images, annotations and categories of a COCO file in the order in which they stand, with their places.

    Raises:
        InputError: the file is no COCO file, or an entry is defective.
    """
    missing = set(FORMS)
    for key, place, value in members(file):
        missing.discard(key)
        form = FORMS.get(key)
        if form is None or value == []:
            continue
        if place is None:
            raise InputError(f"{file}: {key}: must be a list")
        try:
            entry = form.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"{file}: {'.'.join([key, str(place), *map(str, first['loc'])])}: {first['msg']}"
            ) from None
        yield place, entry
    if missing:
        raise InputError(f"{file}: {', '.join(sorted(missing))}: missing, so this is no COCO file")

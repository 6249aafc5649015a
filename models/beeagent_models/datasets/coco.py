"""Reads COCO object detection files: one JSON object with images, annotations and categories.

Format: https://cocodataset.org/#format-data, "Object Detection".
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

from beeagent.errors import InputError, validation_problems
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.datasets.defects import Defect, DefectKind, class_name_defects, is_unicode
from beeagent_models.datasets.image_files import first_image_file
from beeagent_models.datasets.json_stream import BrokenJsonError, members
from beeagent_models.datasets.records import ImageRecord, Reader, name_within
from beeagent_models.datasets.sqlite_index import temporary_database


class CocoImage(BaseModel):
    """One entry of `images`; sizes in pixels."""

    id: int
    file_name: str
    width: int
    height: int


class CocoAnnotation(BaseModel):
    """One entry of `annotations`; `bbox` is left, top, width, height in pixels."""

    id: int | None = None
    image_id: int
    category_id: int
    bbox: list[float] = Field(min_length=4, max_length=4)
    iscrowd: int = 0


class CocoCategory(BaseModel):
    """One entry of `categories`; `supercategory` is the name of its group."""

    id: int
    name: str
    supercategory: str | None = None


ENTRIES: dict[str, type[CocoImage] | type[CocoAnnotation] | type[CocoCategory]] = {
    "images": CocoImage,
    "annotations": CocoAnnotation,
    "categories": CocoCategory,
}
"""The lists of a COCO file, and the models of their entries."""

_MAX_SIDE = 1 << 31
"""Upper bound of a plausible image side in pixels."""

_CROWDS = "crowd regions left out: they are not boxes of single objects"
_GROUPS = "categories left out: they have no box and are the supercategory of others"

# Ids are text, because JSON integers may exceed 64 bits.
_TABLES = """
CREATE TABLE image (place INTEGER, id TEXT PRIMARY KEY, name TEXT, width INTEGER, height INTEGER);
CREATE TABLE annotation (place INTEGER, image TEXT, category TEXT, x REAL, y REAL, width REAL, height REAL);
CREATE TABLE used (category TEXT PRIMARY KEY);
"""


class CocoReader(Reader):
    """Reads a COCO file with constant memory.

    Args:
        file: the JSON file; `labels` reads it once more.
        labels: class names in order; by default the categories in the order of their ids, without those that have no
            box and are the supercategory of others.
        allowed: allowed category names, including categories without a box; None for any.
    """

    def __init__(self, file: Path, *, labels: tuple[str, ...] | None, allowed: tuple[str, ...] | None = None) -> None:
        super().__init__(str(file), labels=labels, allowed=allowed)
        self._file = file

    def _read_labels(self) -> tuple[str, ...]:
        with temporary_database() as database:
            content = _Content(self._file, database)
            for defect in chain(content.load(), content.category_defects()):
                raise defect.error()
            groups = content.groups()
            return tuple(name.name for key, name in sorted(content.names.items()) if key not in groups)

    def entries(self) -> Iterator[ImageRecord | Defect]:
        """See `Reader`: yields defects of entries first, then the images in the order of the file."""
        self.left_out = {}
        with temporary_database() as database:
            content = _Content(self._file, database)
            yield from content.load()
            groups = content.groups()
            if self._explicit_labels is None:
                yield from content.category_defects()
            for key in sorted(content.names.keys() - groups):
                yield from self._refuse_unlisted(content.category_at(key), content.names[key].name)
            self._count(_CROWDS, content.crowds)
            self._count(_GROUPS, len(groups))
            yield from content.orphans()
            yield from content.records()

    def find(self, record: ImageRecord) -> Path:
        """Find the file of an image.

        Searched are the folder of the COCO file, `images` in it, and both in the parent folder, where the images of
        `annotations/instances_val.json` are in `val`.
        """
        folder, parent = self._file.parent, self._file.parent.parent
        split = self._file.stem.rpartition("_")[2]
        folders = (folder, folder / "images", parent, parent / "images", parent / split, parent / "images" / split)
        relative = Path(PurePosixPath(record.reference))
        return first_image_file((each / relative for each in folders), record.reference, where=record.where)


@dataclass(slots=True)
class _Content:
    """Content of a COCO file in a temporary database."""

    file: Path
    database: sqlite3.Connection
    names: dict[int, CocoCategory] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    """Index in the list of each category id."""
    crowds: int = 0
    broken: set[str] = field(default_factory=set)
    """Lists that are missing or not a list."""

    def load(self) -> Iterator[Defect]:
        self.database.executescript(_TABLES)
        missing = set(ENTRIES)
        images = False
        try:
            for key, place, value in members(self.file):
                missing.discard(key)
                images = images or (key == "images" and value != [])
                if key in ENTRIES and place is not None:
                    yield from self._entry(key, place, value)
                elif key in ENTRIES and value != []:
                    self.broken.add(key)
                    yield Defect(f"{self.file}: {key}", DefectKind.BROKEN_LINE, "must be a list")
        except BrokenJsonError as error:
            yield Defect.of(str(self.file), DefectKind.BROKEN_JSON, error)
        else:
            if not images:
                raise InputError(f"{self.file}: there is no image; a COCO file has {', '.join(ENTRIES)}")
            if missing:
                what = f"{', '.join(sorted(missing))}: missing, so this is not a COCO file"
                yield Defect(str(self.file), DefectKind.BROKEN_LINE, what)
        self.broken |= missing
        self.database.execute("CREATE INDEX annotation_image ON annotation (image, place)")

    def _entry(self, key: str, place: int, value: object) -> Iterator[Defect]:
        where = f"{self.file}: {key}.{place}"
        try:
            entry = ENTRIES[key].model_validate(value)
        except ValidationError as error:
            yield from (Defect(where, DefectKind.BROKEN_LINE, what) for what in validation_problems(error))
            return
        if isinstance(entry, CocoImage):
            yield from self._image(entry, where, place)
        elif isinstance(entry, CocoAnnotation):
            self.database.execute("INSERT OR IGNORE INTO used VALUES (?)", (str(entry.category_id),))
            self.crowds += bool(entry.iscrowd)
            if not entry.iscrowd:
                # SQLite would store NaN as NULL.
                box = [value if value == value else float("inf") for value in entry.bbox]  # noqa: PLR0124
                row = (place, str(entry.image_id), str(entry.category_id), *box)
                self.database.execute("INSERT INTO annotation VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        elif entry.id in self.names:
            what = f"category id {entry.id} is already used by '{self.names[entry.id].name}'"
            yield Defect(where, DefectKind.DUPLICATE, what)
        else:
            self.names[entry.id] = entry
            self.places[entry.id] = place

    def _image(self, entry: CocoImage, where: str, place: int) -> Iterator[Defect]:
        if not (0 < entry.width < _MAX_SIDE and 0 < entry.height < _MAX_SIDE):
            yield Defect(where, DefectKind.SIZE_WRONG, f"the size of the image is {entry.width}x{entry.height}")
        elif not entry.file_name or not is_unicode(entry.file_name):
            what = f"file_name is {'not Unicode text' if entry.file_name else 'empty'}"
            yield Defect(where, DefectKind.BROKEN_LINE, what)
        else:
            row = (place, str(entry.id), entry.file_name, entry.width, entry.height)
            if not self.database.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?)", row).rowcount:
                yield Defect(where, DefectKind.DUPLICATE, f"image id {entry.id} is used twice")

    def groups(self) -> frozenset[int]:
        """Return the ids of the categories without a box that are the supercategory of others.

        Exporters such as Roboflow's add such a category for all others.
        """
        parents = {
            category.supercategory for category in self.names.values() if category.supercategory != category.name
        }
        used = {category for (category,) in self.database.execute("SELECT category FROM used")}
        return frozenset(
            key
            for key, category in self.names.items()
            if category.name in parents and category.supercategory != category.name and str(key) not in used
        )

    def category_at(self, key: int) -> str:
        return f"{self.file}: categories.{self.places[key]}"

    def category_defects(self) -> Iterator[Defect]:
        """Yield the categories with ambiguous names."""
        names = ((self.category_at(key), key, category.name) for key, category in sorted(self.names.items()))
        yield from class_name_defects("category", names, {})
        if not self.names and "categories" not in self.broken:
            what = f"there is no category; give the labels: {self.file}=bee"
            yield Defect(str(self.file), DefectKind.LABEL_UNKNOWN, what)

    def orphans(self) -> Iterator[Defect]:
        for place, image, category in self.database.execute(
            "SELECT place, image, category FROM annotation WHERE image NOT IN (SELECT id FROM image) ORDER BY place"
        ):
            yield Defect(self._at(place), DefectKind.MISSING_IMAGE, f"there is no image with id {image}")
            yield from self._category(place, category)

    def records(self) -> Iterator[ImageRecord | Defect]:
        images = self.database.execute("SELECT place, id, name, width, height FROM image ORDER BY place")
        for image_place, key, name, width, height in images:
            rows = self.database.execute(
                "SELECT place, category, x, y, width, height FROM annotation WHERE image = ? ORDER BY place", (key,)
            ).fetchall()
            for place, category, *_ in rows:
                yield from self._category(place, category)
            yield ImageRecord(
                where=f"{self.file}: images.{image_place}",
                reference=name,
                name=name_within(name),
                size=(width, height),
                boxes=tuple((x, y, x + w, y + h) for _, _, x, y, w, h in rows),
                labels=tuple(self._label(category) for _, category, *_ in rows),
                places=tuple(self._at(place) for place, *_ in rows),
            )

    def _category(self, place: int, category: str) -> Iterator[Defect]:
        if int(category) not in self.names:
            yield Defect(self._at(place), DefectKind.LABEL_UNKNOWN, f"there is no category with id {category}")

    def _label(self, category: str) -> str:
        # For an unknown category, which is a defect of the annotation, the id is the label.
        known = self.names.get(int(category))
        return category if known is None else known.name

    def _at(self, place: int) -> str:
        return f"{self.file}: annotations.{place}"

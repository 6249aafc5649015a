"""COCO object detection files: one JSON of images, annotations and categories.

Format: https://cocodataset.org/#format-data, "Object Detection".
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from beeagent.errors import InputError, validation_problems
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.datasets.dataset import check_labels, is_unicode
from beeagent_models.datasets.defects import Defect, DefectKind
from beeagent_models.datasets.image_files import is_image_file
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
    """One entry of `categories`; `supercategory` is the name of the group that it belongs to."""

    id: int
    name: str
    supercategory: str | None = None


ENTRIES: dict[str, type[CocoImage] | type[CocoAnnotation] | type[CocoCategory]] = {
    "images": CocoImage,
    "annotations": CocoAnnotation,
    "categories": CocoCategory,
}
"""The lists that every COCO file has, and the form of their entries."""


def find_coco_image(file_name: str, *, file: Path, where: str) -> Path:
    """Find the image that a COCO file names.

    A `file_name` is looked for beside the file, in `images` beside it, and in the same two places one folder up,
    where `annotations/instances_val.json` has its images in `val`.

    Raises:
        InputError: there is none.
    """
    relative = Path(PurePosixPath(file_name))
    here, above = file.parent, file.parent.parent
    split = file.stem.rpartition("_")[2]
    folders = (here, here / "images", above, above / "images", above / split, above / "images" / split)
    candidates = list(dict.fromkeys(folder / relative for folder in folders))
    for candidate in candidates:
        if is_image_file(candidate):
            return candidate
    looked = ", ".join(map(str, candidates))
    raise InputError(f"{where}: the image {file_name} is missing: searched {looked}")


_MAX_SIDE = 1 << 31
"""Pixels; no image has so many."""

_CROWDS = "crowd regions left out, which are not boxes of single objects"
_GROUPS = "categories left out, which have no box and are the supercategory of others"


class CocoReader(Reader):
    """Reads a COCO file in little memory.

    Args:
        file: the JSON; it is gone through once more for its classes, when they are asked for.
        labels: the classes, in order; by default the categories, in the order of their ids, without those that have no
            box and that the file says to be the supercategory of others.
        allowed: the only names that a category may have, even without a box; None for any.
    """

    def __init__(self, file: Path, *, labels: tuple[str, ...] | None, allowed: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self._file = file
        self._given = labels
        self._labels = labels
        self._allowed = allowed
        if labels is not None:
            check_labels(str(file), labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Reader`."""
        if self._labels is None:
            with temporary_database() as database:
                content = _Content(self._file, database)
                for defect in content.load():
                    raise defect.error()
                for defect in content.category_defects():
                    raise defect.error()
                groups = content.groups()
                names = content.names
                self._labels = tuple(names[key].name for key in sorted(names) if key not in groups)
        return self._labels

    def entries(self) -> Iterator[ImageRecord | Defect]:
        """See `Reader`: first the defects of single entries, then the images in the order of the images."""
        with temporary_database() as database:
            content = _Content(self._file, database)
            yield from content.load()
            groups = content.groups()
            if self._given is None:
                yield from content.category_defects()
            if self._allowed is not None:
                yield from content.refuse_others(self._allowed, groups)
            self.left_out = {
                what: count for what, count in ((_CROWDS, content.crowds), (_GROUPS, len(groups))) if count
            }
            yield from content.orphans()
            yield from content.records()

    def find(self, record: ImageRecord) -> Path:
        """Find the file of an image beside the COCO file."""
        return find_coco_image(record.reference, file=self._file, where=record.where)


@dataclass(slots=True)
class _Content:
    """What a COCO file has, in a temporary database."""

    file: Path
    database: sqlite3.Connection
    names: dict[int, CocoCategory] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    """Of each category id, its place in the list."""
    crowds: int = 0
    broken: set[str] = field(default_factory=set)
    """The lists that are missing or none."""

    def load(self) -> Iterator[Defect]:
        # Ids are text here: JSON has integers of any size, and SQLite has not.
        self.database.execute(
            "CREATE TABLE image (place INTEGER, id TEXT PRIMARY KEY, name TEXT, width INTEGER, height INTEGER)"
        )
        self.database.execute(
            "CREATE TABLE annotation "
            "(place INTEGER, image TEXT, category TEXT, x REAL, y REAL, width REAL, height REAL)"
        )
        self.database.execute("CREATE TABLE used (category TEXT PRIMARY KEY)")
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
            self.broken |= missing
            yield Defect(str(self.file), DefectKind.BROKEN_JSON, str(error).removeprefix(f"{self.file}: "))
        else:
            if not images:
                lists = ", ".join(ENTRIES)
                raise InputError(f"{self.file}: there is no image; a COCO file has {lists}")
            self.broken |= missing
            if missing:
                what = f"{', '.join(sorted(missing))}: missing, so this is not a COCO file"
                yield Defect(str(self.file), DefectKind.BROKEN_LINE, what)
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
            category = str(entry.category_id)
            self.database.execute("INSERT OR IGNORE INTO used VALUES (?)", (category,))
            if entry.iscrowd:
                self.crowds += 1
                return
            # A number that is none would be stored as NULL.
            box = [value if value == value else float("inf") for value in entry.bbox]  # noqa: PLR0124
            row = (place, str(entry.image_id), category, *box)
            self.database.execute("INSERT INTO annotation VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        elif entry.id in self.names:
            what = f"category id {entry.id} is '{self.names[entry.id].name}', too"
            yield Defect(where, DefectKind.DUPLICATE, what)
        else:
            self.names[entry.id] = entry
            self.places[entry.id] = place

    def _image(self, entry: CocoImage, where: str, place: int) -> Iterator[Defect]:
        if not (0 < entry.width < _MAX_SIDE and 0 < entry.height < _MAX_SIDE):
            what = f"the image is stated to be {entry.width}x{entry.height}"
            yield Defect(where, DefectKind.SIZE_WRONG, what)
            return
        if not entry.file_name or not is_unicode(entry.file_name):
            kind = "no Unicode text" if entry.file_name else "empty"
            yield Defect(where, DefectKind.BROKEN_LINE, f"file_name is {kind}")
            return
        row = (place, str(entry.id), entry.file_name, entry.width, entry.height)
        if not self.database.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?)", row).rowcount:
            yield Defect(where, DefectKind.DUPLICATE, f"image id {entry.id} is used twice")

    def groups(self) -> frozenset[int]:
        """Return the ids of the categories without a box that are the supercategory of others.

        Exporters such as Roboflow's put a category in front that stands for all others.
        """
        above = {category.supercategory for category in self.names.values() if category.supercategory != category.name}
        used = {category for (category,) in self.database.execute("SELECT category FROM used")}
        return frozenset(
            key
            for key, category in self.names.items()
            if category.name in above and category.supercategory != category.name and str(key) not in used
        )

    def category_defects(self) -> Iterator[Defect]:
        """Yield the categories with ambiguous names."""
        ids: dict[str, int] = {}
        for key in sorted(self.names):
            category = self.names[key]
            where = f"{self.file}: categories.{self.places[key]}"
            if not category.name.strip() or not is_unicode(category.name):
                kind = "a non-Unicode" if category.name.strip() else "an empty"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, f"the category with id {key} has {kind} name")
            elif ids.setdefault(category.name, key) != key:
                other = ids[category.name]
                what = f"two categories are called '{category.name}', id {other} and id {key}; rename or remove one"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, what)
        if not self.names and "categories" not in self.broken:
            what = f"there is no category; name the labels: {self.file}=bee"
            yield Defect(str(self.file), DefectKind.LABEL_UNKNOWN, what)

    def refuse_others(self, allowed: tuple[str, ...], groups: frozenset[int]) -> Iterator[Defect]:
        for key in sorted(self.names):
            if self.names[key].name not in allowed and key not in groups:
                what = f"label '{self.names[key].name}' is not one of {', '.join(allowed)}"
                yield Defect(f"{self.file}: categories.{self.places[key]}", DefectKind.LABEL_UNKNOWN, what)

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
        # A category that is not there is a defect of the annotation; its box keeps the id as its class.
        known = self.names.get(int(category))
        return category if known is None else known.name

    def _at(self, place: int) -> str:
        return f"{self.file}: annotations.{place}"

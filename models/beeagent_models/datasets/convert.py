"""Converts a dataset from one format to another, image by image."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import IO

import numpy as np
import yaml
from beeagent.camera import IMAGE_SUFFIXES
from beeagent.errors import InputError

from beeagent_models.dataset_formats import DatasetFormat, ImageHandling
from beeagent_models.datasets.atomic_write import new_folder
from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.defects import Box, is_unicode, not_among, reaches_beyond, strict
from beeagent_models.datasets.ground_truth import Labelling, manifest_line
from beeagent_models.datasets.image_files import FoundImage, find_image
from beeagent_models.datasets.records import ImageRecord, Reader
from beeagent_models.datasets.sqlite_index import FirstSeen, first_seen
from beeagent_models.datasets.yolo import label_file

IMAGES = "images"

WRITTEN_AS = {
    DatasetFormat.GROUND_TRUTH: "output.manifest",
    DatasetFormat.COCO: "coco.json",
    DatasetFormat.YOLO: "data.yaml",
}
"""Main file of a dataset in its folder."""


_Add = Callable[[ImageRecord], None]
"""Writes one image with valid boxes; raises InputError if the format does not support it."""


@contextlib.contextmanager
def _ground_truth(folder: Path, labels: tuple[str, ...], labelling: Labelling) -> Iterator[_Add]:
    with _opened(folder, DatasetFormat.GROUND_TRUTH) as stream:

        def add(record: ImageRecord) -> None:
            boxes = np.array(record.boxes, np.float32).reshape(-1, 4)
            class_ids = np.array([labels.index(label) for label in record.labels], np.int64)
            image = LabelledImage(Path(record.name), *record.known_size, boxes, class_ids)
            source_ref = f"{IMAGES}/{record.name}"
            stream.write(manifest_line(image, source_ref=source_ref, labels=labels, labelling=labelling) + "\n")

        yield add


@contextlib.contextmanager
def _coco(folder: Path, labels: tuple[str, ...], _: Labelling) -> Iterator[_Add]:
    """Write images immediately, and annotations to a temporary file that is appended at the end."""
    images, boxes = count(1), count(1)
    with (
        _opened(folder, DatasetFormat.COCO) as stream,
        tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder) as annotations,
    ):

        def add(record: ImageRecord) -> None:
            width, height = record.known_size
            number = next(images)
            image = {"id": number, "file_name": f"{IMAGES}/{record.name}", "width": width, "height": height}
            stream.write((",\n" if number > 1 else "\n") + json.dumps(image, ensure_ascii=False))
            for label, (left, top, right, bottom) in zip(record.labels, record.boxes, strict=True):
                annotation = {
                    "id": next(boxes),
                    "image_id": number,
                    "category_id": labels.index(label) + 1,
                    "bbox": [_number(value) for value in (left, top, right - left, bottom - top)],
                    "area": _number((right - left) * (bottom - top)),
                    "iscrowd": 0,
                }
                annotations.write((",\n" if annotation["id"] != 1 else "\n") + json.dumps(annotation))

        stream.write('{"images": [')
        yield add
        stream.write('\n],\n"annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, stream)
        categories = [{"id": index, "name": label} for index, label in enumerate(labels, start=1)]
        stream.write(f'\n],\n"categories": {json.dumps(categories, ensure_ascii=False)}}}\n')


@contextlib.contextmanager
def _yolo(folder: Path, labels: tuple[str, ...], _: Labelling) -> Iterator[_Add]:
    (folder / "labels").mkdir()
    with _opened(folder, DatasetFormat.YOLO) as stream:
        names = {"train": IMAGES, "val": IMAGES, "names": dict(enumerate(labels))}
        # Unescaped, some non-printable characters would be read back as spaces.
        readable = all(label.isprintable() for label in labels)
        yaml.safe_dump(names, stream, allow_unicode=readable, sort_keys=False)

    def add(record: ImageRecord) -> None:
        path = folder / IMAGES / record.name
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(
                f"{record.where}: YOLO does not support the format of {record.name}; supported are {known}"
            )
        width, height = record.known_size
        rows = [
            (
                f"{labels.index(label)} {(left + right) / 2 / width:.12g} {(top + bottom) / 2 / height:.12g} "
                f"{(right - left) / width:.12g} {(bottom - top) / height:.12g}\n"
            )
            for label, (left, top, right, bottom) in zip(record.labels, record.boxes, strict=True)
        ]
        file = label_file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("x", encoding="utf-8", newline="\n") as stream:
                stream.writelines(rows)
        except FileExistsError:
            raise InputError(
                f"{record.where}: {record.name} and an earlier image differ only in their suffixes, so they would have "
                "the same YOLO label file; rename one"
            ) from None

    yield add


_WRITERS = {DatasetFormat.GROUND_TRUTH: _ground_truth, DatasetFormat.COCO: _coco, DatasetFormat.YOLO: _yolo}


def _opened(folder: Path, form: DatasetFormat) -> IO[str]:
    return (folder / WRITTEN_AS[form]).open("w", encoding="utf-8", newline="\n")


def _number(value: float) -> float:
    """Return integral values as int and round others to a millionth of a pixel."""
    return int(value) if value.is_integer() else round(value, 6)


@dataclass(slots=True)
class Converted:
    """Result of a conversion.

    Attributes:
        path: the manifest, the COCO file or `data.yaml`.
        images: number of images.
        boxes: number of boxes.
        changes: descriptions of changes and omissions, with their counts.
    """

    path: Path
    images: int = 0
    boxes: int = 0
    changes: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        """Count a change."""
        self.changes[what] = self.changes.get(what, 0) + 1


def convert(  # noqa: PLR0913
    source: Reader,
    folder: Path,
    *,
    to: DatasetFormat,
    images: ImageHandling,
    clip: bool,
    attribute: str,
    created_at: datetime,
    progress: Callable[[], None] | None = None,
) -> Converted:
    """Convert a dataset with constant memory.

    The order of images and classes, the image sizes and the paths within the dataset are kept, and so are images
    without a box. Boxes keep fractions of pixels in COCO. In YOLO they are ratios of 12 digits, which preserve whole
    pixels. In Ground Truth they are rounded to whole pixels, and the rounded ones are counted.

    Args:
        source: dataset to read.
        folder: output folder, which must not exist or be empty. Images go to `images/`.
        to: output format.
        images: copy the images, link to them, or neither; in that case they are not decoded.
        clip: clip boxes to their image and leave out those outside, instead of refusing them.
        attribute: label attribute of the manifest.
        created_at: creation date in the manifest.
        progress: called after each image.

    Raises:
        InputError: the source is defective, the format does not support its content, or the folder cannot be written.
    """
    done = Converted(folder / WRITTEN_AS[to])
    labelling = Labelling(attribute=attribute, job_name="beeagent-dataset-convert", created_at=created_at, human=True)
    with (
        new_folder(folder) as new,
        first_seen() as names,
        first_seen() as files,
        _WRITERS[to](new, source.labels, labelling) as add,
    ):
        for entry in source.records():
            _refuse_name(entry, names)
            found = FoundImage(entry, None)
            if images is not ImageHandling.NONE or entry.size is None:
                found = strict(find_image(entry, source.find, files))
            record = _fit_boxes(found.record, source.labels, to=to, clip=clip, done=done)
            if found.path is not None and images is not ImageHandling.NONE:
                _place_image(found.path, new / IMAGES / entry.name, link=images is ImageHandling.LINK)
            add(record)
            done.images += 1
            done.boxes += len(record.boxes)
            if progress is not None:
                progress()
        if not done.images:
            raise InputError("there is no image in the dataset")
    done.changes |= source.left_out
    return done


def _refuse_name(record: ImageRecord, names: FirstSeen) -> None:
    if not record.name or "\0" in record.name or not is_unicode(record.name):
        raise InputError(f"{record.where}: '{record.reference}' is not a usable image name")
    before = names.at(record.name, record.where)
    if before is not None:
        raise InputError(f"{record.where}: {record.reference} would overwrite the image at {before}; rename one")


def _fit_boxes(
    record: ImageRecord, known: tuple[str, ...], *, to: DatasetFormat, clip: bool, done: Converted
) -> ImageRecord:
    """Validate boxes and clip them to the image."""
    size = record.known_size
    kept: list[tuple[str, Box]] = []
    for where, label, box in zip(record.box_places, record.labels, record.boxes, strict=True):
        if label not in known:
            raise InputError(f"{where}: {not_among(label, known)}")
        left, top, right, bottom = box
        what = f"the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
        # Negated, so that NaN fails too.
        if not (left < right and top < bottom):
            raise InputError(f"{where}: {what} has no area; correct or remove it")
        beyond = reaches_beyond(box, size)
        if beyond and not clip:
            raise InputError(
                f"{where}: {what} extends beyond the image of {size[0]}x{size[1]}; correct "
                "it, or clip such boxes with --clip"
            )
        width, height = size
        inside = (
            max(float(left), 0.0),
            max(float(top), 0.0),
            min(float(right), float(width)),
            min(float(bottom), float(height)),
        )
        if not (inside[0] < inside[2] and inside[1] < inside[3]):
            done.count("boxes left out: outside of their image")
            continue
        if beyond:
            done.count("boxes clipped to their image")
        if to is DatasetFormat.GROUND_TRUTH and not all(edge.is_integer() for edge in inside):
            done.count("boxes rounded to whole pixels")
        kept.append((label, inside))
    return replace(record, labels=tuple(label for label, _ in kept), boxes=tuple(box for _, box in kept), places=())


def _place_image(path: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(path.resolve())
    else:
        shutil.copyfile(path, target)

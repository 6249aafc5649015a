"""Writes labelled pictures one by one, in each form that can be read."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import yaml
from beeagent.camera import IMAGE_SUFFIXES
from beeagent.errors import InputError

from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.forms import Form
from beeagent_models.datasets.ground_truth import Labelling, manifest_line
from beeagent_models.datasets.stated import StatedPicture
from beeagent_models.datasets.yolo import label_file

IMAGES = "images"

WRITTEN_AS = {Form.GROUND_TRUTH: "output.manifest", Form.COCO: "coco.json", Form.YOLO: "data.yaml"}
"""The file in the folder that is the data set."""


class Writer(Protocol):
    """Takes pictures; their boxes have an area and are within the picture."""

    def add(self, picture: StatedPicture) -> None:
        """Write one picture.

        Raises:
            InputError: the form has no way to say it.
        """


@contextlib.contextmanager
def opened_writer(
    form: Form, folder: Path, *, labels: tuple[str, ...], attribute: str, created_at: datetime
) -> Iterator[Writer]:
    """Begin a data set; it is whole when the block ends.

    Args:
        form: how to write it.
        folder: where; it exists and is empty.
        labels: the names of the classes.
        attribute: the label attribute of a manifest.
        created_at: the date that a manifest states.

    Raises:
        OSError: the folder cannot be written to.
    """
    file = folder / WRITTEN_AS[form]
    if form is Form.YOLO:
        (folder / "labels").mkdir()
        names = {"train": IMAGES, "val": IMAGES, "names": dict(enumerate(labels))}
        # Written as they are, some characters that cannot be seen would be read back as blanks.
        readable = all(label.isprintable() for label in labels)
        file.write_text(yaml.safe_dump(names, allow_unicode=readable, sort_keys=False), encoding="utf-8")
        yield _Yolo(folder, labels)
        return
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        if form is Form.COCO:
            with tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder) as annotations:
                writer = _Coco(stream, annotations, labels)
                yield writer
                writer.finish()
        else:
            labelling = Labelling(
                attribute=attribute, job_name="beeagent-dataset-convert", created_at=created_at, human=True
            )
            yield _GroundTruth(stream, labels, labelling)


class _GroundTruth:
    def __init__(self, stream: IO[str], labels: tuple[str, ...], labelling: Labelling) -> None:
        self._stream = stream
        self._labels = labels
        self._labelling = labelling

    def add(self, picture: StatedPicture) -> None:
        image = LabelledImage(
            path=Path(picture.name),
            width=picture.known_size[0],
            height=picture.known_size[1],
            boxes=np.array(picture.boxes, np.float32).reshape(-1, 4),
            class_ids=np.array([self._labels.index(label) for label in picture.labels], np.int64),
        )
        source_ref = f"{IMAGES}/{picture.name}"
        self._stream.write(
            manifest_line(image, source_ref=source_ref, labels=self._labels, labelling=self._labelling) + "\n"
        )


class _Coco:
    """Writes the images at once, and the annotations behind them at the end."""

    def __init__(self, stream: IO[str], annotations: IO[str], labels: tuple[str, ...]) -> None:
        self._stream = stream
        self._annotations = annotations
        self._labels = labels
        self._pictures = 0
        self._boxes = 0
        stream.write('{"images": [')

    def add(self, picture: StatedPicture) -> None:
        self._pictures += 1
        width, height = picture.known_size
        image = {"id": self._pictures, "file_name": f"{IMAGES}/{picture.name}", "width": width, "height": height}
        self._stream.write((",\n" if self._pictures > 1 else "\n") + json.dumps(image, ensure_ascii=False))
        for label, (left, top, right, bottom) in zip(picture.labels, picture.boxes, strict=True):
            self._boxes += 1
            annotation = {
                "id": self._boxes,
                "image_id": self._pictures,
                "category_id": self._labels.index(label) + 1,
                "bbox": [_number(value) for value in (left, top, right - left, bottom - top)],
                "area": _number((right - left) * (bottom - top)),
                "iscrowd": 0,
            }
            self._annotations.write((",\n" if self._boxes > 1 else "\n") + json.dumps(annotation))

    def finish(self) -> None:
        self._stream.write('\n],\n"annotations": [')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, self._stream)
        categories = [{"id": index, "name": label} for index, label in enumerate(self._labels, start=1)]
        self._stream.write(f'\n],\n"categories": {json.dumps(categories, ensure_ascii=False)}}}\n')


class _Yolo:
    def __init__(self, folder: Path, labels: tuple[str, ...]) -> None:
        self._folder = folder
        self._labels = labels

    def add(self, picture: StatedPicture) -> None:
        path = self._folder / IMAGES / picture.name
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"{picture.where}: YOLO has no pictures such as {picture.name}; its names end in {known}")
        width, height = picture.known_size
        rows = [
            (
                f"{self._labels.index(label)} {(left + right) / 2 / width:.12g} {(top + bottom) / 2 / height:.12g} "
                f"{(right - left) / width:.12g} {(bottom - top) / height:.12g}\n"
            )
            for label, (left, top, right, bottom) in zip(picture.labels, picture.boxes, strict=True)
        ]
        file = label_file(path.absolute())
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("x", encoding="utf-8", newline="\n") as stream:
                stream.writelines(rows)
        except FileExistsError:
            raise InputError(
                f"{picture.where}: YOLO tells pictures apart by their names without the ending, and {picture.name} "
                "has one that was there before; rename one"
            ) from None


def _number(value: float) -> float:
    """Write a whole number as one; of others no more than a millionth of a pixel is worth writing."""
    return int(value) if value.is_integer() else round(value, 6)

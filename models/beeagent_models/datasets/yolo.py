"""YOLO folders: a text file of ratios beside each picture.

The form: https://docs.ultralytics.com/datasets/detect/ (boxes) and https://docs.ultralytics.com/datasets/segment/
(outlines). A label file lies where its picture lies, with the last folder called `images` in the path exchanged
for `labels` and the suffix for `.txt`; that serves `images/train` and `train/images` alike.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets.builder import DatasetBuilder, picture_size
from beeagent_models.datasets.dataset import Dataset

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

BOX_FIELDS = 5
"""Class, centre and size."""

_SHORTEST_OUTLINE = 7
"""Class and three points."""


@dataclass(frozen=True, slots=True)
class YoloRow:
    """One box: its class and left, top, right, bottom in ratios of the picture."""

    class_id: int
    box: NDArray[np.float64]


def read_yolo(folder: Path, *, name: str, labels: tuple[str, ...] | None = None) -> Dataset:
    """Read a YOLO folder, or one split of it such as `images/val`.

    A picture without a label file shows nothing, as Ultralytics has it; an outline (more than four numbers)
    becomes the box around it. Pictures come in the order of their paths.

    Args:
        folder: the folder that holds `images` and `labels` (or `train/images`, `train/labels` and so on).
        name: of the data set.
        labels: the classes, in order; by default the `names` of `data.yaml` in the folder.

    Raises:
        InputError: the folder, a picture or a label file is defective, or no labels are known; names file
            and line.
    """
    if labels is None:
        labels = yolo_names(folder)
    pictures = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and "images" in path.absolute().parts[:-1]
    )
    if not pictures:
        raise InputError(f"{folder}: there is no picture in a folder called 'images', so this is no YOLO folder")
    label_files = {picture: label_file(picture) for picture in pictures}
    _refuse_orphans(folder, frozenset(label_files.values()))
    if not any(file.is_file() for file in label_files.values()):
        raise InputError(f"{folder}: no picture has a label file; expected e.g. {label_files[pictures[0]]}")
    builder = DatasetBuilder(name=name, labels=labels)
    for picture, file in label_files.items():
        where = str(file) if file.is_file() else str(picture)
        rows = _rows(file, labels) if file.is_file() else []
        width, height = picture_size(picture, where=where)
        boxes = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
        builder.add(
            picture,
            boxes=boxes * np.array([width, height, width, height], np.float64),
            labels=[labels[row.class_id] for row in rows],
            where=where,
        )
    return builder.build()


def is_yolo(folder: Path) -> bool:
    """Say whether a folder looks like a YOLO data set, or one split of it."""
    return (
        _data_yaml(folder) is not None
        or (folder / "labels").is_dir()
        or any((folder / split / "labels").is_dir() for split in ("train", "val", "valid", "test"))
        or ("images" in folder.absolute().parts and label_file(folder.absolute() / "any.jpg").parent.is_dir())
    )


def label_file(picture: Path) -> Path:
    """Give the place of a picture's label file. The picture lies in or under a folder called `images`."""
    # Absolute, for a split may be given from within: `cd images/val`.
    parts = list(picture.absolute().parts)
    last = len(parts) - 2 - parts[-2::-1].index("images")
    parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _refuse_orphans(folder: Path, known: frozenset[Path]) -> None:
    for file in sorted(folder.absolute().rglob("*.txt")):
        if (
            "labels" in file.relative_to(folder.absolute()).parts[:-1]
            and file not in known
            and file.name != "classes.txt"
        ):
            raise InputError(
                f"{file}: has no picture in the folder 'images' beside; add the picture or remove the file"
            )


def _rows(file: Path, labels: tuple[str, ...]) -> list[YoloRow]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text, so no YOLO label file") from None
    return [yolo_row(line, f"{file}:{number}", labels) for number, line in enumerate(lines, start=1) if line.strip()]


def yolo_row(line: str, where: str, labels: tuple[str, ...]) -> YoloRow:
    """Understand one line of a label file; an outline becomes the box around it.

    Raises:
        InputError: it is none, or its class is not among the labels.
    """
    fields = line.split()
    try:
        class_id, values = int(fields[0]), np.array([float(field) for field in fields[1:]])
    except ValueError:
        raise InputError(f"{where}: '{line.strip()}' is not a class number and ratios") from None
    if not 0 <= class_id < len(labels):
        raise InputError(f"{where}: class {class_id} is unknown; the labels are {', '.join(labels)} (from 0)")
    if len(fields) == BOX_FIELDS:
        centre, size = values[:2], values[2:]
        return YoloRow(class_id, np.concatenate([centre - size / 2, centre + size / 2]))
    if len(fields) < _SHORTEST_OUTLINE or len(values) % 2:
        raise InputError(
            f"{where}: has {len(fields)} fields; a box has {BOX_FIELDS} (class, centre x, centre y, width, height), "
            "an outline the class and three points or more"
        )
    points = values.reshape(-1, 2)
    return YoloRow(class_id, np.concatenate([points.min(axis=0), points.max(axis=0)]))


def _data_yaml(folder: Path) -> Path | None:
    return next((folder / file for file in ("data.yaml", "data.yml") if (folder / file).is_file()), None)


def yolo_names(folder: Path) -> tuple[str, ...]:
    """Read the names of the classes from `data.yaml`.

    Raises:
        InputError: there is none, or it does not say them.
    """
    file = _data_yaml(folder)
    if file is None:
        raise InputError(f"{folder}: has no data.yaml to say what the classes are called; name them: {folder}=bee")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: broken YAML: {' '.join(str(error).split())}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{file}: 'names' must list the classes, from 0 and without a gap; it is {names!r}")
    return tuple(str(label) for label in names)

"""A YOLO folder, picture by picture."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from beeagent.errors import InputError

from beeagent_models.datasets.box_check import Box
from beeagent_models.datasets.builder import check_labels, picture_size
from beeagent_models.datasets.stated import StatedPicture
from beeagent_models.datasets.yolo import BOX_FIELDS, PICTURE_SUFFIXES, label_file, yolo_names, yolo_row

_OUTLINES = "outlines, of which the boxes around were taken"

_WHOLE = 1e-6
"""Pixels; what is nearer than this to a whole pixel was one before it was made a ratio of 12 digits."""


class YoloSource:
    """A YOLO folder, or one split of it, as a `Source`.

    Ratios become pixels by the sizes that the pictures have.

    Args:
        folder: the folder that holds `images` and `labels`, or that is in `images`.
        labels: the classes, in order; by default the `names` of `data.yaml`.

    Raises:
        InputError: the classes are not known.
    """

    def __init__(self, folder: Path, *, labels: tuple[str, ...] | None) -> None:
        self._folder = folder
        self.labels = labels or yolo_names(folder)
        check_labels(str(folder), self.labels)
        self.left_out: dict[str, int] = {}

    def pictures(self) -> Iterator[StatedPicture]:
        """Give the pictures, in the order of their paths within each folder."""
        self.left_out = {}
        found = False
        for path in yolo_pictures(self._folder):
            found = True
            yield self._stated(path)
        if not found:
            raise InputError(f"{self._folder}: there is no picture in a folder called 'images'")

    def find(self, picture: StatedPicture) -> Path:
        """Find the file of a picture."""
        return Path(picture.reference)

    def _stated(self, path: Path) -> StatedPicture:
        file = label_file(path)
        where = str(file if file.is_file() else path)
        size = picture_size(path, where=where)
        boxes: list[Box] = []
        labels: list[str] = []
        for line_where, line in yolo_lines(file):
            row = yolo_row(line, line_where, self.labels)
            if len(line.split()) > BOX_FIELDS:
                self.left_out[_OUTLINES] = self.left_out.get(_OUTLINES, 0) + 1
            boxes.append(_in_pixels([float(ratio) for ratio in row.box], size))
            labels.append(self.labels[row.class_id])
        return StatedPicture(
            where=where,
            reference=str(path),
            name=_name(path, self._folder),
            size=size,
            boxes=tuple(boxes),
            labels=tuple(labels),
        )


def yolo_pictures(folder: Path) -> Iterator[Path]:
    """Give the pictures of a YOLO folder one by one; holds the names of one folder at a time.

    Args:
        folder: as for `read_yolo`.
    """
    for root, folders, files in os.walk(folder):
        folders.sort()
        if "images" in Path(root).absolute().parts:
            for name in sorted(files):
                if Path(name).suffix.lower() in PICTURE_SUFFIXES:
                    yield Path(root, name)


def yolo_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Give the lines of a label file with their places, blank ones left out; a file that is not there has none.

    Raises:
        InputError: it cannot be read or is not UTF-8 text.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text, so no YOLO label file") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{file}:{number}", line


def _in_pixels(ratios: list[float], size: tuple[int, int]) -> Box:
    left, top, right, bottom = (ratio * side for ratio, side in zip(ratios, (*size, *size), strict=True))
    return _whole(left), _whole(top), _whole(right), _whole(bottom)


def _whole(value: float) -> float:
    return float(round(value)) if abs(value) < 1e9 and abs(value - round(value)) < _WHOLE else value


def _name(path: Path, folder: Path) -> str:
    """Leave out the folder `images` around all, or else the last: `train/images/a.jpg` is `train/a.jpg`."""
    parts = list(PurePosixPath(path.relative_to(folder).as_posix()).parts)
    if "images" in parts[:-1]:
        del parts[0 if parts[0] == "images" else len(parts) - 2 - parts[-2::-1].index("images")]
    return "/".join(parts)

"""Reads YOLO folders: a text file with ratios for each image.

Format: https://docs.ultralytics.com/datasets/detect/ (boxes), https://docs.ultralytics.com/datasets/segment/
(outlines) and https://docs.ultralytics.com/datasets/pose/ (boxes with key points). The path of a label file is that of
its image with the last folder `images` replaced by `labels` and the suffix by `.txt`, for `images/train` and
`train/images`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import yaml
from beeagent.camera import IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from beeagent.errors import InputError

from beeagent_models.datasets.defects import Box, Defect, DefectError, DefectKind, class_name_defects
from beeagent_models.datasets.records import ImageRecord, Reader
from beeagent_models.datasets.sqlite_index import FirstSeen, first_seen

_BOX_FIELDS = 5
"""Class, centre and size."""

_MIN_OUTLINE_FIELDS = 7
"""Class and three points."""

_SPLITS = ("train", "val", "test")
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class YoloRow:
    """One box of a label file.

    Attributes:
        class_id: class number, from 0.
        box: left, top, right, bottom in ratios of the image.
        is_outline: True if the box is the bounding box of an outline.
        has_key_points: True if the row has key points after the box.
    """

    class_id: int
    box: Box
    is_outline: bool = False
    has_key_points: bool = False


@dataclass(frozen=True, slots=True)
class DataYaml:
    """Content of a `data.yaml`.

    Attributes:
        names: class names as written; None if missing.
        key_points: number of key point values after each box, from `kpt_shape`; None if missing.
        listed: entries of `train`, `val` and `test` with their keys, relative to `path`.
        path: base folder of the entries, relative to the file.
    """

    names: tuple[str, ...] | None
    key_points: int | None
    listed: tuple[tuple[str, str], ...]
    path: str


class _Loader(yaml.BaseLoader):
    """Loads scalars as text, except for null."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class declares it
        first: [each for each in resolvers if each[0] == _NULL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {_NULL: lambda _loader, _node: None}  # noqa: RUF012 - as the base class declares it


def is_yolo(folder: Path) -> bool:
    """Return True if a folder looks like a YOLO dataset, or one split of it."""
    return (
        find_data_yaml(folder) is not None
        or (folder / "labels").is_dir()
        or any((folder / split / "labels").is_dir() for split in ("train", "val", "valid", "test"))
        or ("images" in folder.absolute().parts and label_file(folder.absolute() / "any.jpg").parent.is_dir())
    )


def label_file(image: Path) -> Path:
    """Return the path of an image's label file. The image is in or below a folder `images`."""
    # Absolute, because the working folder may be inside a split: `cd images/val`.
    path = image.absolute()
    return (_replace_last(path.parent.parts, "images", "labels") / path.name).with_suffix(".txt")


def _replace_last(parts: tuple[str, ...], name: str, other: str) -> Path:
    """Replace the last folder of a name by another name."""
    last = len(parts) - 1 - parts[::-1].index(name)
    return Path(*parts[:last], other, *parts[last + 1 :])


def yolo_row(line: str, where: str, labels: tuple[str, ...], *, key_points: int | None = None) -> YoloRow:
    """Parse one line of a label file; an outline becomes its bounding box.

    Args:
        line: the line.
        where: file and line, for errors.
        labels: class names.
        key_points: number of key point values after each box; None for rows of boxes or outlines.

    Raises:
        InputError: the line is invalid, or its class is not among the labels.
    """
    fields = line.split()
    try:
        number, *values = (float(field) for field in fields)
    except ValueError:
        raise InputError(f"{where}: '{line.strip()}' is not a class number and ratios") from None
    if not number.is_integer():
        raise InputError(f"{where}: '{fields[0]}' is not a class number: it must be a whole number")
    class_id = int(number)
    if not 0 <= class_id < len(labels):
        raise InputError(f"{where}: class {fields[0]} is unknown; the labels are {', '.join(labels)} (from 0)")
    if len(fields) in {_BOX_FIELDS, _BOX_FIELDS + (key_points or 0)}:
        x, y, width, height = values[:4]
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return YoloRow(class_id, box, has_key_points=len(fields) > _BOX_FIELDS)
    if key_points is not None:
        raise InputError(
            f"{where}: has {len(fields)} fields; kpt_shape in data.yaml says {_BOX_FIELDS + key_points} "
            f"(class, box, {key_points} for key points)"
        )
    if len(fields) < _MIN_OUTLINE_FIELDS or len(values) % 2:
        raise InputError(
            f"{where}: has {len(fields)} fields; a box has {_BOX_FIELDS} (class, centre x, centre y, width, height), "
            "an outline the class and three points or more"
        )
    xs, ys = values[0::2], values[1::2]
    return YoloRow(class_id, (min(xs), min(ys), max(xs), max(ys)), is_outline=True)


def find_data_yaml(folder: Path) -> Path | None:
    """Return the `data.yaml` of a YOLO folder, or None."""
    return next((folder / file for file in ("data.yaml", "data.yml") if (folder / file).is_file()), None)


def find_data_yaml_above(split: Path) -> Path | None:
    """Return the `data.yaml` of the YOLO folder of a split such as `images/val` or `val/images`, or None."""
    parts = split.absolute().parts
    # Up to the parent of `images`, and one more for `val/images`.
    depth = parts[::-1].index("images") + 2 if "images" in parts else 1
    above = split.absolute().parents[:depth]
    return next((file for file in map(find_data_yaml, above) if file is not None), None)


def read_data_yaml(file: Path, *, with_names: bool) -> DataYaml:
    """Read a `data.yaml`. Names are taken as text: `no` is not a boolean, and `007` not the number 7.

    Args:
        file: the file.
        with_names: also read the class names.

    Raises:
        InputError: the file cannot be read.
        DefectError: its content is invalid.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8-sig"), Loader=_Loader)  # noqa: S506 - derived from BaseLoader, which is safe
    except UnicodeDecodeError:
        raise _broken(file, "is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise _broken(file, f"broken YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _broken(file, "broken YAML: nested too deeply") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    entries = content if isinstance(content, dict) else {}
    return DataYaml(
        names=_names(entries["names"], file) if with_names and "names" in entries else None,
        key_points=_key_points(entries["kpt_shape"], file) if "kpt_shape" in entries else None,
        listed=tuple((key, text) for key in _SPLITS for text in _texts(entries.get(key))),
        path="".join(_texts(entries.get("path"))[:1]),
    )


def _broken(file: Path, what: str) -> DefectError:
    return Defect(str(file), DefectKind.BROKEN_LINE, what).error()


def _texts(value: object) -> list[str]:
    """Return the strings of a value that is a string or a list of strings."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _names(value: object, file: Path) -> tuple[str, ...]:
    listed = value
    if isinstance(value, dict):
        ids = [str(index) for index in range(len(value))]
        listed = [value[index] for index in ids] if value.keys() == set(ids) else []
    if not isinstance(listed, list) or not listed or not all(each is None or isinstance(each, str) for each in listed):
        raise _broken(file, f"{_NAMES}; it is {_excerpt(value)}")
    if None in listed:
        what = f"the name of class {listed.index(None)} is empty or null"
        raise _broken(file, f"{what}; quote it if it is the name of the class")
    return tuple(listed)


def _key_points(value: object, file: Path) -> int:
    texts = _texts(value)
    if len(texts) != 2 or not all(text.isascii() and text.isdigit() for text in texts) or texts[1] not in {"2", "3"}:
        raise _broken(file, f"'kpt_shape' must be [key points, 2 or 3]; it is {_excerpt(value)}")
    return int(texts[0]) * int(texts[1])


def _excerpt(value: object) -> str:
    return (value if isinstance(value, str) else repr(value))[:100]


_OUTLINES = "outlines, replaced by their bounding boxes"
_KEY_POINTS = "boxes whose key points were left out"
_NAMES = "'names' must list the classes, from 0 and without a gap"
_NO_CLASSES = "has no data.yaml with the class names; give them"


class YoloReader(Reader):
    """Reads a YOLO folder, or one split of it.

    The images are those in folders `images` inside the folder, and in other folders that `data.yaml` lists. An image
    without a label file is background, as for Ultralytics. The format does not contain image sizes, so boxes are
    ratios.

    Args:
        path: folder with `images` and `labels`, a folder inside `images`, or a YAML file such as `data.yaml`.
        labels: class names in order; by default the `names` of `data.yaml`.
        allowed: allowed class names; None for any.

    Raises:
        InputError: the class names are unknown, or `data.yaml` is defective.
    """

    def __init__(self, path: Path, *, labels: tuple[str, ...] | None, allowed: tuple[str, ...] | None = None) -> None:
        super().__init__(str(path), labels=labels, allowed=allowed)
        folder = path.parent if path.is_file() else path
        self._file = path if path.is_file() else find_data_yaml(folder)
        parent_file = find_data_yaml_above(folder) if self._file is None else None
        self._yaml = DataYaml(None, None, (), "")
        if self._file is not None:
            self._yaml = read_data_yaml(self._file, with_names=labels is None)
        elif parent_file is not None:
            # The other splits are not read.
            content = read_data_yaml(parent_file, with_names=labels is None)
            self._file, self._yaml = parent_file, replace(content, listed=())
        if path.is_file() and (folder / self._yaml.path).is_dir():
            folder /= self._yaml.path
        self._folder = folder
        self._class_names = labels or self._yaml.names or ()
        if not self._class_names and self._file is None:
            raise InputError(f"{folder}: {_NO_CLASSES}: {folder}=bee")
        if not self._class_names:
            raise _broken(Path(str(self._file)), _NAMES)

    def _read_labels(self) -> tuple[str, ...]:
        for defect in self._label_defects():
            raise defect.error()
        return self._class_names

    def entries(self) -> Iterator[ImageRecord | Defect]:
        """See `Reader`: yields the images by folder and path, then label files without an image."""
        self.left_out = {}
        yield from self._label_defects()
        images = labelled = unsupported = 0
        with first_seen() as files:
            for root, path in self._images():
                file = label_file(path)
                other = files.at(str(file), str(path))
                if path.suffix.lower() in UNSUPPORTED_SUFFIXES:
                    unsupported += 1
                    yield _unsupported_format(path)
                elif other is not None:
                    yield Defect(str(path), DefectKind.DUPLICATE, f"has the same label file as {other}: {file}")
                else:
                    images += 1
                    labelled += file.is_file()
                    yield from self._records(path, file, root)
            yield from self._orphans(files)
        if not images and not unsupported:
            what = "there is no image in a folder 'images', so this is not a YOLO folder"
            raise InputError(f"{self._folder}: {what}")
        if images and not labelled:
            example = next(label_file(path) for _, path in self._images() if path.suffix.lower() in IMAGE_SUFFIXES)
            what = f"no image has a label file; expected e.g. {example}"
            yield Defect(str(self._folder), DefectKind.BROKEN_LINE, what)

    def find(self, record: ImageRecord) -> Path:
        """Find the file of an image."""
        return Path(record.reference)

    def _label_defects(self) -> Iterator[Defect]:
        where = str(self._file or self._folder)
        yield from class_name_defects(
            "class", ((where, index, name) for index, name in enumerate(self._class_names)), {}
        )
        for label in filter(str.strip, dict.fromkeys(self._class_names)):
            yield from self._refuse_unlisted(where, label)

    def _images(self) -> Iterator[tuple[Path, Path]]:
        """Yield the base folder and the path of each image."""
        for path in _walk(self._folder):
            yield self._folder, path
        own = self._folder.resolve()
        done: set[Path] = set()
        for key, text in self._yaml.listed:
            found = self._listed(text)
            if found is None:
                self._count(f"entries of {self._file} without a folder, {key}: {text}")
            elif found.is_file():
                self._count(f"lists of images, which are not supported, {key}: {text}; list the folders of the images")
            elif not (found.resolve().is_relative_to(own) or found.resolve() in done):
                done.add(found.resolve())
                for path in _walk(found.resolve()):
                    # The name of `other/images/b.png` is `other/b.png`, because names may repeat in other folders.
                    yield found.resolve().parent.parent, path

    def _listed(self, text: str) -> Path | None:
        """Find a folder that `data.yaml` lists, relative to its `path` or to the file.

        Some exporters write `../train/images` for `train/images`, which Ultralytics accepts too, and a moved dataset
        has outdated absolute paths.
        """
        base_folder = self._folder / self._yaml.path
        bases = [base_folder, self._folder] if base_folder.is_dir() else [self._folder]
        parts = PurePosixPath(text).parts
        ends = range(1, len(parts)) if PurePosixPath(text).is_absolute() else (sum(part == ".." for part in parts),)
        candidates = [base / text for base in bases]
        candidates += [self._folder.joinpath(*parts[start:]) for start in ends if parts[start:]]
        return next((each for each in candidates if each.exists()), None)

    def _records(self, path: Path, file: Path, root: Path) -> Iterator[ImageRecord | Defect]:
        rows: list[tuple[str, YoloRow]] = []
        try:
            for where, line in yolo_lines(file):
                try:
                    row = yolo_row(line, where, self._class_names, key_points=self._yaml.key_points)
                except InputError as error:
                    kind = DefectKind.LABEL_UNKNOWN if "is unknown" in str(error) else DefectKind.BROKEN_LINE
                    yield Defect.of(where, kind, error)
                    continue
                self._count(_OUTLINES, row.is_outline)
                self._count(_KEY_POINTS, row.has_key_points)
                rows.append((where, row))
        except InputError as error:
            yield Defect.of(str(file), DefectKind.BROKEN_LINE, error)
        yield ImageRecord(
            where=str(path),
            reference=str(path),
            name=_name(path, root),
            size=None,
            boxes=tuple(row.box for _, row in rows),
            labels=tuple(self._class_names[row.class_id] for _, row in rows),
            places=tuple(where for where, _ in rows),
            in_ratios=True,
        )

    def _orphans(self, files: FirstSeen) -> Iterator[Defect]:
        folder = self._folder.absolute()
        for root, names in _folders(folder):
            if "labels" not in Path(root).relative_to(folder).parts:
                continue
            for name in sorted(names):
                file = Path(root, name)
                if file.suffix.lower() == ".txt" and name != "classes.txt" and files.at(str(file), str(file)) is None:
                    yield _orphan(file)


def yolo_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield location and text of the lines of a label file, without blank lines; nothing if there is no file.

    Raises:
        InputError: the file cannot be read or is not UTF-8 text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text, so not a YOLO label file") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{file}:{number}", line


def _walk(folder: Path) -> Iterator[Path]:
    for root, files in _folders(folder):
        if "images" in Path(root).absolute().parts:
            for name in sorted(files):
                if Path(name).suffix.lower() in IMAGE_SUFFIXES | UNSUPPORTED_SUFFIXES:
                    yield Path(root, name)


def _folders(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder and its file names; links to folders are followed, except for links to parents."""
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise_unreadable):
        current = Path(root).resolve()
        folders[:] = sorted(name for name in folders if not current.is_relative_to(Path(root, name).resolve()))
        yield root, files


def _raise_unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _orphan(file: Path) -> Defect:
    if file.suffix != ".txt":
        return Defect(str(file), DefectKind.BROKEN_LINE, "is ignored: the name of a label file ends in .txt")
    sibling = _replace_last(file.parts, "labels", "images")
    image = next((path for path in sorted(sibling.parent.glob("*")) if path.stem == file.stem), None)
    if image is not None and image.is_file():
        return _unsupported_format(image)
    what = "has no image in the folder 'images' beside it; add the image or remove the file"
    return Defect(str(file), DefectKind.MISSING_IMAGE, what)


def _unsupported_format(path: Path) -> Defect:
    what = f"the format {path.suffix} is not supported; convert the image to one of {' '.join(sorted(IMAGE_SUFFIXES))}"
    return Defect(str(path), DefectKind.BAD_IMAGE, what)


def _name(path: Path, folder: Path) -> str:
    """Return the relative path without the top or else the last `images`: `train/images/a.jpg` is `train/a.jpg`."""
    parts = list(PurePosixPath(path.relative_to(folder).as_posix()).parts)
    if "images" in parts[:-1]:
        del parts[0 if parts[0] == "images" else len(parts) - 2 - parts[-2::-1].index("images")]
    return "/".join(parts)

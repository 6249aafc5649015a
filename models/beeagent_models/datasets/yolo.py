"""YOLO folders: a text file of ratios beside each image.

The format: https://docs.ultralytics.com/datasets/detect/ (boxes), https://docs.ultralytics.com/datasets/segment/
(outlines) and https://docs.ultralytics.com/datasets/pose/ (boxes with key points). A label file has the path of its
image, with the last folder called `images` replaced by `labels` and the suffix by `.txt`; that covers `images/train`
and `train/images` alike.
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
        class_id: from 0.
        box: left, top, right, bottom in ratios of the image.
        is_outline: whether the row has an outline, whose bounding box this is.
        has_key_points: whether the row has key points behind its box.
    """

    class_id: int
    box: Box
    is_outline: bool = False
    has_key_points: bool = False


@dataclass(frozen=True, slots=True)
class DataYaml:
    """What `data.yaml` says of a YOLO folder.

    Attributes:
        names: of the classes, as they are written; None where the file does not say them.
        key_points: numbers behind each box, by `kpt_shape`; None where the rows have none.
        listed: what `train`, `val` and `test` list, each with its key, relative to `path`.
        path: the folder that the listed ones are relative to, relative to the file.
    """

    names: tuple[str, ...] | None
    key_points: int | None
    listed: tuple[tuple[str, str], ...]
    path: str


class _Loader(yaml.BaseLoader):
    """Takes a scalar as the text that is written, unless it is null."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class declares it
        first: [each for each in resolvers if each[0] == _NULL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {_NULL: lambda _loader, _node: None}  # noqa: RUF012 - likewise


def is_yolo(folder: Path) -> bool:
    """Return whether a folder looks like a YOLO dataset, or one split of it."""
    return (
        find_data_yaml(folder) is not None
        or (folder / "labels").is_dir()
        or any((folder / split / "labels").is_dir() for split in ("train", "val", "valid", "test"))
        or ("images" in folder.absolute().parts and label_file(folder.absolute() / "any.jpg").parent.is_dir())
    )


def label_file(image: Path) -> Path:
    """Return the path of an image's label file. The image is in or below a folder called `images`."""
    # Absolute, for a split may be given from within: `cd images/val`.
    path = image.absolute()
    return (_with_last(path.parent.parts, "images", "labels") / path.name).with_suffix(".txt")


def _with_last(parts: tuple[str, ...], name: str, other: str) -> Path:
    """Put another name in the place of the last folder of a name."""
    last = len(parts) - 1 - parts[::-1].index(name)
    return Path(*parts[:last], other, *parts[last + 1 :])


def yolo_row(line: str, where: str, labels: tuple[str, ...], *, key_points: int | None = None) -> YoloRow:
    """Understand one line of a label file; an outline becomes the box around it.

    Args:
        line: the line.
        where: file and line, for errors.
        labels: the classes.
        key_points: numbers behind each box, as `data.yaml` says; None for rows that are boxes or outlines.

    Raises:
        InputError: it is none, or its class is not among the labels.
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
    """Return the `data.yaml` of a YOLO folder, or None where it has none."""
    return next((folder / file for file in ("data.yaml", "data.yml") if (folder / file).is_file()), None)


def find_data_yaml_above(split: Path) -> Path | None:
    """Return the `data.yaml` of the YOLO folder that one split, such as `images/val` or `val/images`, is of."""
    parts = split.absolute().parts
    # Up to the folder above `images`, and one more for `val/images`.
    depth = parts[::-1].index("images") + 2 if "images" in parts else 1
    above = split.absolute().parents[:depth]
    return next((file for file in map(find_data_yaml, above) if file is not None), None)


def read_data_yaml(file: Path, *, with_names: bool) -> DataYaml:
    """Read a `data.yaml`. A name is what is written there: `no` is not a boolean, nor `007` the number 7.

    Args:
        file: the file.
        with_names: whether the names of the classes are wanted.

    Raises:
        InputError: it cannot be read.
        DefectError: what it says makes no sense.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8-sig"), Loader=_Loader)  # noqa: S506 - a safe one
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
    """Return the texts of a value that is one or a list of them."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _names(value: object, file: Path) -> tuple[str, ...]:
    listed = value
    if isinstance(value, dict):
        ids = [str(index) for index in range(len(value))]
        listed = [value[index] for index in ids] if value.keys() == set(ids) else []
    if not isinstance(listed, list) or not listed or not all(each is None or isinstance(each, str) for each in listed):
        raise _broken(file, f"{_NAMES}; it is {_shown(value)}")
    if None in listed:
        what = f"the name of class {listed.index(None)} is empty or null"
        raise _broken(file, f"{what}; if that is the name of the class, quote it")
    return tuple(listed)


def _key_points(value: object, file: Path) -> int:
    texts = _texts(value)
    if len(texts) != 2 or not all(text.isascii() and text.isdigit() for text in texts) or texts[1] not in {"2", "3"}:
        raise _broken(file, f"'kpt_shape' must be [key points, 2 or 3]; it is {_shown(value)}")
    return int(texts[0]) * int(texts[1])


def _shown(value: object) -> str:
    return (value if isinstance(value, str) else repr(value))[:100]


_OUTLINES = "outlines, replaced by their bounding boxes"
_KEY_POINTS = "boxes whose key points were left out"
_NAMES = "'names' must list the classes, from 0 and without a gap"
_NO_CLASSES = "has no data.yaml with the names of the classes; give them"


class YoloReader(Reader):
    """Reads a YOLO folder, or one split of it.

    Its images are those in folders called `images` within the folder, and those in the folders that `data.yaml` lists
    elsewhere. An image without a label file shows nothing, as Ultralytics has it. Sizes are not stated, so boxes are
    in ratios.

    Args:
        path: the folder that holds `images` and `labels`, or that is in `images`; or a YAML file, such as `data.yaml`,
            that says where it is.
        labels: the classes, in order; by default the `names` of `data.yaml`.
        allowed: the only names that `data.yaml` may have; None for any.

    Raises:
        InputError: the classes are not known, or `data.yaml` is defective.
    """

    def __init__(self, path: Path, *, labels: tuple[str, ...] | None, allowed: tuple[str, ...] | None = None) -> None:
        super().__init__(str(path), labels=labels, allowed=allowed)
        folder = path.parent if path.is_file() else path
        self._file = path if path.is_file() else find_data_yaml(folder)
        above = find_data_yaml_above(folder) if self._file is None else None
        self._yaml = DataYaml(None, None, (), "")
        if self._file is not None:
            self._yaml = read_data_yaml(self._file, with_names=labels is None)
        elif above is not None:
            # Of one split, the others are not wanted.
            self._file, self._yaml = above, replace(read_data_yaml(above, with_names=labels is None), listed=())
        if path.is_file() and (folder / self._yaml.path).is_dir():
            folder /= self._yaml.path
        self._folder = folder
        self._named = labels or self._yaml.names or ()
        if not self._named and self._file is None:
            raise InputError(f"{folder}: {_NO_CLASSES}: {folder}=bee")
        if not self._named:
            raise _broken(Path(str(self._file)), _NAMES)

    def _read_labels(self) -> tuple[str, ...]:
        for defect in self._label_defects():
            raise defect.error()
        return self._named

    def entries(self) -> Iterator[ImageRecord | Defect]:
        """See `Reader`: the images in the order of their paths within each folder; then what belongs to none."""
        self.left_out = {}
        yield from self._label_defects()
        images = labelled = unread = 0
        with first_seen() as files:
            for root, path in self._images():
                file = label_file(path)
                other = files.at(str(file), str(path))
                if path.suffix.lower() in UNSUPPORTED_SUFFIXES:
                    unread += 1
                    yield _unread(path)
                elif other is not None:
                    yield Defect(str(path), DefectKind.DUPLICATE, f"has the same label file as {other}: {file}")
                else:
                    images += 1
                    labelled += file.is_file()
                    yield from self._records(path, file, root)
            yield from self._orphans(files)
        if not images and not unread:
            what = "there is no image in a folder called 'images', so this is not a YOLO folder"
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
        yield from class_name_defects("class", ((where, index, name) for index, name in enumerate(self._named)), {})
        for label in filter(str.strip, dict.fromkeys(self._named)):
            yield from self._refuse_unlisted(where, label)

    def _images(self) -> Iterator[tuple[Path, Path]]:
        """Yield each image file, with the folder that its name is relative to; holds one folder's names at a time."""
        for path in _walk(self._folder):
            yield self._folder, path
        within = self._folder.resolve()
        done: set[Path] = set()
        for key, text in self._yaml.listed:
            found = self._listed(text)
            if found is None:
                self._count(f"entries of {self._file} without a folder, {key}: {text}")
            elif found.is_file():
                self._count(f"lists of images, which are not supported, {key}: {text}; name the folders of the images")
            elif not (found.resolve().is_relative_to(within) or found.resolve() in done):
                done.add(found.resolve())
                for path in _walk(found.resolve()):
                    # `other/images/b.png` is called `other/b.png`: the names of two folders may be the same.
                    yield found.resolve().parent.parent, path

    def _listed(self, text: str) -> Path | None:
        """Find a folder that `data.yaml` lists, relative to its `path` or to the file.

        Exporters write `../train/images` for `train/images` (so Ultralytics looks there, too), and a dataset that was
        moved has an old absolute path in front.
        """
        beside = self._folder / self._yaml.path
        bases = [beside, self._folder] if beside.is_dir() else [self._folder]
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
                    row = yolo_row(line, where, self._named, key_points=self._yaml.key_points)
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
            labels=tuple(self._named[row.class_id] for _, row in rows),
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
    """Yield the lines of a label file with their locations, without blank ones; none if there is no file.

    Raises:
        InputError: it cannot be read or is not UTF-8 text.
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
    """Yield each folder and the names of its files, links to folders included, but for those that lead back up."""
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_refuse_closed):
        here = Path(root).resolve()
        folders[:] = sorted(name for name in folders if not here.is_relative_to(Path(root, name).resolve()))
        yield root, files


def _refuse_closed(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _orphan(file: Path) -> Defect:
    if file.suffix != ".txt":
        return Defect(str(file), DefectKind.BROKEN_LINE, "is ignored: the name of a label file ends in .txt")
    beside = _with_last(file.parts, "labels", "images")
    image = next((path for path in sorted(beside.parent.glob("*")) if path.stem == file.stem), None)
    if image is not None and image.is_file():
        return _unread(image)
    what = "has no image in the folder 'images' beside it; add the image or remove the file"
    return Defect(str(file), DefectKind.MISSING_IMAGE, what)


def _unread(path: Path) -> Defect:
    what = f"the format {path.suffix} is not supported; convert the image to one of {' '.join(sorted(IMAGE_SUFFIXES))}"
    return Defect(str(path), DefectKind.BAD_IMAGE, what)


def _name(path: Path, folder: Path) -> str:
    """Leave out the folder `images` around all, or else the last: `train/images/a.jpg` is `train/a.jpg`."""
    parts = list(PurePosixPath(path.relative_to(folder).as_posix()).parts)
    if "images" in parts[:-1]:
        del parts[0 if parts[0] == "images" else len(parts) - 2 - parts[-2::-1].index("images")]
    return "/".join(parts)

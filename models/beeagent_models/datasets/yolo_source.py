"""The reader of YOLO folders, picture by picture."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from beeagent.camera import IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from beeagent.errors import InputError

from beeagent_models.datasets.box_check import Box
from beeagent_models.datasets.builder import check_labels
from beeagent_models.datasets.defect import Defect, DefectKind
from beeagent_models.datasets.on_disk import FirstSeen, first_seen
from beeagent_models.datasets.stated import Reader, StatedPicture
from beeagent_models.datasets.yolo import (
    DataYaml,
    find_data_yaml,
    find_data_yaml_above,
    label_file,
    read_data_yaml,
    yolo_row,
)

_OUTLINES = "outlines, of which the boxes around were taken"
_KEY_POINTS = "boxes whose key points were left out"
_NO_CLASSES = "has no data.yaml to say what the classes are called; name them"


class YoloSource(Reader):
    """A YOLO folder, or one split of it, as a `Source`.

    Its pictures are those in folders called `images` within the folder, and those in the folders that `data.yaml` lists
    elsewhere. A picture without a label file shows nothing, as Ultralytics has it. Sizes are not stated, so boxes are
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
        super().__init__()
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
        self._allowed = allowed
        self._named = labels or self._yaml.names or ()
        if not self._named and self._file is None:
            raise InputError(f"{folder}: {_NO_CLASSES}: {folder}=bee")
        if not self._named:
            what = "'names' must list the classes, from 0 and without a gap"
            raise Defect(str(self._file), DefectKind.BROKEN_LINE, what).error()
        if labels is not None:
            check_labels(str(folder), labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Source`."""
        for defect in self._label_defects():
            raise defect.error()
        return self._named

    def entries(self) -> Iterator[StatedPicture | Defect]:
        """See `Reader`: the pictures in the order of their paths within each folder; then what belongs to none."""
        self.left_out = {}
        yield from self._label_defects()
        pictures = labelled = unread = 0
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
                    pictures += 1
                    labelled += file.is_file()
                    yield from self._picture(path, file, root)
            yield from self._orphans(files)
        if not pictures and not unread:
            what = "there is no picture in a folder called 'images', so this is no YOLO folder"
            raise InputError(f"{self._folder}: {what}")
        if pictures and not labelled:
            example = next(label_file(path) for _, path in self._images() if path.suffix.lower() in IMAGE_SUFFIXES)
            what = f"no picture has a label file; expected e.g. {example}"
            yield Defect(str(self._folder), DefectKind.BROKEN_LINE, what)

    def find(self, picture: StatedPicture) -> Path:
        """Find the file of a picture."""
        return Path(picture.reference)

    def _label_defects(self) -> Iterator[Defect]:
        where = str(self._file or self._folder)
        for index, label in enumerate(self._named):
            if not label.strip():
                yield Defect(where, DefectKind.LABEL_UNKNOWN, f"the name of class {index} is empty")
            elif self._named.index(label) != index:
                what = f"class {self._named.index(label)} and class {index} are both called '{label}'"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, what)
            elif self._allowed is not None and label not in self._allowed:
                what = f"label '{label}' is not one of {', '.join(self._allowed)}"
                yield Defect(where, DefectKind.LABEL_UNKNOWN, what)

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
                self._count(f"lists of pictures that are not read, {key}: {text}; name the folders of the pictures")
            elif not (found.resolve().is_relative_to(within) or found.resolve() in done):
                done.add(found.resolve())
                for path in _walk(found.resolve()):
                    # `other/images/b.png` is called `other/b.png`: the names of two folders may be the same.
                    yield found.resolve().parent.parent, path

    def _listed(self, text: str) -> Path | None:
        """Find a folder that `data.yaml` lists, relative to its `path` or to the file.

        Exporters write `../train/images` for `train/images` (so Ultralytics looks there, too), and a data set that was
        moved has an old absolute path in front.
        """
        beside = self._folder / self._yaml.path
        bases = [beside, self._folder] if beside.is_dir() else [self._folder]
        parts = PurePosixPath(text).parts
        ends = range(1, len(parts)) if PurePosixPath(text).is_absolute() else (sum(part == ".." for part in parts),)
        candidates = [base / text for base in bases]
        candidates += [self._folder.joinpath(*parts[start:]) for start in ends if parts[start:]]
        return next((each for each in candidates if each.exists()), None)

    def _picture(self, path: Path, file: Path, root: Path) -> Iterator[StatedPicture | Defect]:
        boxes: list[Box] = []
        labels: list[str] = []
        places: list[str] = []
        try:
            for where, line in yolo_lines(file):
                try:
                    row = yolo_row(line, where, self._named, key_points=self._yaml.key_points)
                except InputError as error:
                    kind = DefectKind.LABEL_UNKNOWN if "is unknown" in str(error) else DefectKind.BROKEN_LINE
                    yield Defect(where, kind, str(error).removeprefix(f"{where}: "))
                    continue
                self._count(_OUTLINES, row.is_outline)
                self._count(_KEY_POINTS, row.has_key_points)
                boxes.append(row.box)
                labels.append(self._named[row.class_id])
                places.append(where)
        except InputError as error:
            yield Defect(str(file), DefectKind.BROKEN_LINE, str(error).removeprefix(f"{file}: "))
        yield StatedPicture(
            where=str(path),
            reference=str(path),
            name=_name(path, root),
            size=None,
            boxes=tuple(boxes),
            labels=tuple(labels),
            places=tuple(places),
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

    def _count(self, what: str, number: int = 1) -> None:
        if number:
            self.left_out[what] = self.left_out.get(what, 0) + number


def yolo_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Give the lines of a label file with their places, blank ones left out; a file that is not there has none.

    Raises:
        InputError: it cannot be read or is not UTF-8 text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text, so no YOLO label file") from None
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
        return Defect(str(file), DefectKind.BROKEN_LINE, "is not read: the name of a label file ends in .txt")
    parts = list(file.parts)
    parts[len(parts) - 1 - parts[::-1].index("labels")] = "images"
    beside = Path(*parts)
    picture = next((path for path in sorted(beside.parent.glob("*")) if path.stem == file.stem), None)
    if picture is not None and picture.is_file():
        return _unread(picture)
    what = "has no picture in the folder 'images' beside; add the picture or remove the file"
    return Defect(str(file), DefectKind.MISSING_IMAGE, what)


def _unread(path: Path) -> Defect:
    what = f"the format {path.suffix} is not read; convert the picture to one of {' '.join(sorted(IMAGE_SUFFIXES))}"
    return Defect(str(path), DefectKind.BAD_IMAGE, what)


def _name(path: Path, folder: Path) -> str:
    """Leave out the folder `images` around all, or else the last: `train/images/a.jpg` is `train/a.jpg`."""
    parts = list(PurePosixPath(path.relative_to(folder).as_posix()).parts)
    if "images" in parts[:-1]:
        del parts[0 if parts[0] == "images" else len(parts) - 2 - parts[-2::-1].index("images")]
    return "/".join(parts)

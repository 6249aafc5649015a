"""YOLO folders: a text file of ratios beside each picture.

The form: https://docs.ultralytics.com/datasets/detect/ (boxes), https://docs.ultralytics.com/datasets/segment/
(outlines) and https://docs.ultralytics.com/datasets/pose/ (boxes with key points). A label file lies where its picture
lies, with the last folder called `images` in the path exchanged for `labels` and the suffix for `.txt`; that serves
`images/train` and `train/images` alike.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml
from beeagent.errors import InputError

from beeagent_models.datasets.box_check import Box
from beeagent_models.datasets.defect import Defect, DefectError, DefectKind

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
        box: left, top, right, bottom in ratios of the picture.
        is_outline: whether the row has an outline, of which this is the box around.
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


def is_yolo(folder: Path) -> bool:
    """Say whether a folder looks like a YOLO data set, or one split of it."""
    return (
        find_data_yaml(folder) is not None
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
    if key_points is not None and len(fields) == _BOX_FIELDS + key_points:
        return YoloRow(class_id, _box(values), has_key_points=True)
    if len(fields) == _BOX_FIELDS:
        return YoloRow(class_id, _box(values))
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


def _box(values: list[float]) -> Box:
    x, y, width, height = values[:4]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


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
        node = yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise _broken(file, "is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise _broken(file, f"broken YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _broken(file, "broken YAML: nested too deeply") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    entries = _entries(node)
    return DataYaml(
        names=_names(entries["names"], file) if with_names and "names" in entries else None,
        key_points=_key_points(entries["kpt_shape"], file) if "kpt_shape" in entries else None,
        listed=tuple((key, text) for key in _SPLITS for text in _texts(entries.get(key))),
        path="".join(_texts(entries.get("path"))[:1]),
    )


def _broken(file: Path, what: str) -> DefectError:
    return Defect(str(file), DefectKind.BROKEN_LINE, what).error()


def _entries(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _texts(node: yaml.Node | None) -> list[str]:
    """Return the scalars of a node that is one or a list of them, as they are written; null is none."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return [each.value for each in nodes if isinstance(each, yaml.ScalarNode) and each.tag != _NULL]


def _names(node: yaml.Node, file: Path) -> tuple[str, ...]:
    nodes: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        nodes = node.value
    elif isinstance(node, yaml.MappingNode):
        by_id = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        ids = [str(index) for index in range(len(node.value))]
        nodes = [by_id[index] for index in ids] if sorted(by_id) == sorted(ids) else []
    if not nodes or not all(isinstance(each, yaml.ScalarNode) for each in nodes):
        raise _broken(file, f"'names' must list the classes, from 0 and without a gap; it is {_shown(node)}")
    for index, each in enumerate(nodes):
        if each.tag == _NULL:
            what = f"the name of class {index} is {each.value or 'empty'}"
            raise _broken(file, f"{what}; if the class is called that, write it in quotes")
    return tuple(each.value for each in nodes)


def _key_points(node: yaml.Node, file: Path) -> int:
    texts = _texts(node)
    if len(texts) != 2 or not all(text.isascii() and text.isdigit() for text in texts) or texts[1] not in {"2", "3"}:
        raise _broken(file, f"'kpt_shape' must be [key points, 2 or 3]; it is {_shown(node)}")
    return int(texts[0]) * int(texts[1])


def _shown(node: yaml.Node) -> str:
    return " ".join(yaml.serialize(node, Dumper=yaml.SafeDumper).split())[:100]

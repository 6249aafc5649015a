"""Reads and checks a dataset in any format: a Ground Truth manifest, a COCO file or a YOLO folder."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from beeagent.errors import InputError

from beeagent_models.dataset_formats import DatasetFormat
from beeagent_models.datasets.coco import CocoReader
from beeagent_models.datasets.dataset import Dataset, DatasetBuilder, LabelledImage
from beeagent_models.datasets.defects import Defect, DefectError, DefectKind, strict
from beeagent_models.datasets.ground_truth import GroundTruthReader
from beeagent_models.datasets.image_files import find_image, repeated_reference
from beeagent_models.datasets.records import Reader, record_box_defects
from beeagent_models.datasets.sqlite_index import first_seen
from beeagent_models.datasets.yolo import YoloReader, is_yolo

_MANIFEST_SUFFIXES = frozenset({".jsonl", ".manifest"})


def open_dataset(
    path: Path,
    *,
    labels: tuple[str, ...] | None = None,
    attribute: str | None = None,
    allowed: tuple[str, ...] | None = None,
) -> Reader:
    """Open a dataset.

    Args:
        path: a Ground Truth manifest, a folder with one, a COCO JSON file, a YOLO folder, one split of it, or its
            `data.yaml`.
        labels: the classes, in order; a YOLO folder without `data.yaml` needs them.
        attribute: the label attribute of a manifest that has several.
        allowed: the only classes that may be named, even without a box; None for any.

    Raises:
        InputError: there is no dataset, or its classes are ambiguous.
    """
    form, path = recognise_format(path)
    if form is DatasetFormat.GROUND_TRUTH:
        return GroundTruthReader(path, labels=labels, attribute=attribute, allowed=allowed)
    if form is DatasetFormat.COCO:
        return CocoReader(path, labels=labels, allowed=allowed)
    return YoloReader(path, labels=labels, allowed=allowed)


def recognise_format(path: Path) -> tuple[DatasetFormat, Path]:
    """Detect the format of a dataset and its main file or folder.

    Args:
        path: as for `open_source`.

    Returns:
        The format, and the manifest, the COCO file, the YOLO folder or its YAML file.

    Raises:
        InputError: there is nothing, or nothing that is a dataset.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is neither a regular file nor a folder")
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return DatasetFormat.YOLO, path
    if path.is_dir() and not is_yolo(path):
        path = _only_manifest(path)
    if path.is_dir():
        return DatasetFormat.YOLO, path
    return (DatasetFormat.GROUND_TRUTH if _is_manifest(path) else DatasetFormat.COCO), path


def _only_manifest(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix == ".manifest")
    if len(found) == 1:
        return found[0]
    what = f"has {len(found)} manifests; name one" if found else "has no manifest, no images/ and labels/, no data.yaml"
    raise InputError(f"{folder}: {what}")


def _is_manifest(path: Path) -> bool:
    """Return whether a file is a manifest, not a COCO file: by its suffix, or else by its first line."""
    if path.suffix in _MANIFEST_SUFFIXES:
        return True
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is neither a manifest nor a COCO file: {error}") from None
    try:
        row = json.loads(first)
    except (json.JSONDecodeError, RecursionError):
        return False
    return isinstance(row, dict) and "source-ref" in row


logger = logging.getLogger(__name__)


def read_dataset(
    path: Path, *, name: str | None = None, labels: tuple[str, ...] | None = None, label_attribute: str | None = None
) -> Dataset:
    """Read labelled images; the format is detected.

    Args:
        path: a Ground Truth manifest, a folder with one, a COCO JSON file, a YOLO folder, one split of it, or
            its `data.yaml`.
        name: what to call it in reports; by default the folder's or file's name.
        labels: the classes, in order. A YOLO folder without `data.yaml` needs them; elsewhere they fix the
            order, and a class that is not among them is refused.
        label_attribute: of a Ground Truth manifest that has several.

    Returns:
        The dataset. Boxes are within their images; no box is without area.

    Raises:
        InputError: what is there cannot be used; names file, line and defect.
    """
    source = open_dataset(path, labels=labels, attribute=label_attribute)
    name = name or _name(recognise_format(path)[1])
    builder = DatasetBuilder(name=name, labels=source.labels)
    with first_seen() as seen:
        for stated in source.records():
            found = strict(find_image(stated, source.find, seen))
            record = found.record
            for defect in record_box_defects(record):
                if defect.kind is DefectKind.BOX_EMPTY:
                    raise defect.error()
            found.add_to(builder)
    for what, count in source.left_out.items():
        logger.warning("%s: %s: %d", name, what, count)
    return builder.build()


def parse_source(text: str) -> tuple[Path, tuple[str, ...] | None]:
    """Take apart how a dataset is named on the command line: `PATH` or `PATH=label,label`.

    Raises:
        InputError: nothing is before the `=`, or a label is empty.
    """
    if "=" not in text or Path(text).exists():
        return Path(text), None
    path, _, listed = text.rpartition("=")
    labels = tuple(label.strip() for label in listed.split(","))
    if not path or not all(labels):
        raise InputError(f"'{text}' does not name a dataset; write PATH or PATH=label,label")
    return Path(path), labels


def merge_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """Join datasets into one; classes of the same name become one, in the order in which they first appear.

    Raises:
        ValueError: there is nothing to join.
    """
    if not datasets:
        raise ValueError("there is no dataset to join")
    labels = tuple(dict.fromkeys(label for dataset in datasets for label in dataset.labels))
    images: list[LabelledImage] = []
    for dataset in datasets:
        ids = np.array([labels.index(label) for label in dataset.labels], np.int64)
        images.extend(replace(image, class_ids=ids[image.class_ids]) for image in dataset.images)
    return Dataset(name="+".join(dataset.name for dataset in datasets), images=tuple(images), labels=labels)


def _name(path: Path) -> str:
    # `output.manifest` and `data.json` say nothing; the folder they lie in does.
    return path.absolute().name if path.is_dir() else path.absolute().parent.name


def check_dataset(
    data: str, *, labels: str | None = None, attribute: str | None = None, images: bool = True
) -> Iterator[Defect]:
    """Find every defect, in flat memory: whatever a reader of the dataset refuses, and boxes that are doubtful.

    Args:
        data: how the dataset is named on the command line: PATH, or PATH=label,label.
        labels: the classes that may occur, with commas between them; None for any.
        attribute: of a Ground Truth manifest, the label attribute.
        images: whether to find and decode the images. A YOLO folder has no sizes without.

    Yields:
        The defects, in the order of the files and lines.

    Raises:
        InputError: there is nothing that could be checked.
    """
    path, named = parse_source(data)
    allowed = named if labels is None else tuple(label.strip() for label in labels.split(","))
    try:
        source = open_dataset(path, labels=named, attribute=attribute, allowed=allowed)
    except DefectError as error:
        yield error.defect
        return
    with first_seen() as seen:
        for entry in source.entries():
            if isinstance(entry, Defect):
                yield entry
            elif not entry.reference:
                yield from record_box_defects(entry)
            elif images:
                found = yield from find_image(entry, source.find, seen)
                yield from record_box_defects(found.record)
            else:
                yield from repeated_reference(entry, seen)
                yield from record_box_defects(entry)
    for what, count in source.left_out.items():
        logger.warning("%s: %s: %d", data, what, count)

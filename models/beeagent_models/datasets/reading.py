"""Reads and checks datasets of any format: Ground Truth manifest, COCO file or YOLO folder."""

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
        labels: class names in order; required for a YOLO folder without `data.yaml`.
        attribute: label attribute to read from a manifest that has several.
        allowed: allowed class names, including classes without a box; None for any.

    Raises:
        InputError: there is no dataset, or its classes are ambiguous.
    """
    form, path = detect_format(path)
    if form is DatasetFormat.GROUND_TRUTH:
        return GroundTruthReader(path, labels=labels, attribute=attribute, allowed=allowed)
    if form is DatasetFormat.COCO:
        return CocoReader(path, labels=labels, allowed=allowed)
    return YoloReader(path, labels=labels, allowed=allowed)


def detect_format(path: Path) -> tuple[DatasetFormat, Path]:
    """Detect the format of a dataset and its main file or folder.

    Args:
        path: path of a dataset as for `open_dataset`.

    Returns:
        The format, and the manifest, the COCO file, the YOLO folder or its YAML file.

    Raises:
        InputError: the path does not exist, or is not a dataset.
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
    manifests = sorted(path for path in folder.iterdir() if path.suffix == ".manifest")
    if len(manifests) == 1:
        return manifests[0]
    what = (
        f"has {len(manifests)} manifests; give one"
        if manifests
        else "has no manifest, no images/ and labels/, no data.yaml"
    )
    raise InputError(f"{folder}: {what}")


def _is_manifest(path: Path) -> bool:
    """Return True for a manifest and False for a COCO file, by suffix or first line."""
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
        name: name in reports; by default that of the folder.
        labels: class names in order; other classes are refused. Required for a YOLO folder without `data.yaml`.
        label_attribute: label attribute to read from a Ground Truth manifest that has several.

    Returns:
        The dataset. Boxes are clipped to their images and have an area.

    Raises:
        InputError: the dataset is defective; the error names file, line and defect.
    """
    source = open_dataset(path, labels=labels, attribute=label_attribute)
    name = name or _name(detect_format(path)[1])
    builder = DatasetBuilder(name=name, labels=source.labels)
    with first_seen() as seen:
        for entry in source.records():
            found = strict(find_image(entry, source.find, seen))
            record = found.record
            for defect in record_box_defects(record):
                if defect.kind is DefectKind.BOX_EMPTY:
                    raise defect.error()
            found.add_to(builder)
    for what, count in source.left_out.items():
        logger.warning("%s: %s: %d", name, what, count)
    return builder.build()


def parse_source(text: str) -> tuple[Path, tuple[str, ...] | None]:
    """Parse a dataset argument: `PATH` or `PATH=label,label`.

    Raises:
        InputError: the path or a label is empty.
    """
    if "=" not in text or Path(text).exists():
        return Path(text), None
    path, _, listed = text.rpartition("=")
    labels = tuple(label.strip() for label in listed.split(","))
    if not path or not all(labels):
        raise InputError(f"'{text}' is not a dataset; give PATH or PATH=label,label")
    return Path(path), labels


def merge_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """Merge datasets; classes are merged by name, in the order of their first appearance.

    Raises:
        ValueError: there is no dataset.
    """
    if not datasets:
        raise ValueError("there is no dataset to merge")
    labels = tuple(dict.fromkeys(label for dataset in datasets for label in dataset.labels))
    images: list[LabelledImage] = []
    for dataset in datasets:
        ids = np.array([labels.index(label) for label in dataset.labels], np.int64)
        images.extend(replace(image, class_ids=ids[image.class_ids]) for image in dataset.images)
    return Dataset(name="+".join(dataset.name for dataset in datasets), images=tuple(images), labels=labels)


def _name(path: Path) -> str:
    # Names such as `output.manifest` and `data.json` are not distinctive.
    return path.absolute().name if path.is_dir() else path.absolute().parent.name


def check_dataset(
    data: str, *, labels: str | None = None, attribute: str | None = None, images: bool = True
) -> Iterator[Defect]:
    """Find all defects with constant memory: everything that a reader refuses, and suspicious boxes.

    Args:
        data: dataset argument: PATH, or PATH=label,label.
        labels: allowed class names, separated by commas; None for any.
        attribute: label attribute of a Ground Truth manifest.
        images: also find and decode the images; without, the image sizes of a YOLO folder are unknown.

    Yields:
        The defects, in the order of files and lines.

    Raises:
        InputError: there is no dataset.
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

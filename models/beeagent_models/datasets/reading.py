"""Reads a data set whatever its form: a Ground Truth manifest, a YOLO folder or a COCO file."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from beeagent.errors import InputError

from beeagent_models.datasets.coco import read_coco
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.forms import Form
from beeagent_models.datasets.ground_truth import read_ground_truth
from beeagent_models.datasets.yolo import is_yolo, read_yolo

_MANIFEST_SUFFIXES = frozenset({".jsonl", ".manifest"})


def read_dataset(
    path: Path,
    *,
    name: str | None = None,
    labels: tuple[str, ...] | None = None,
    label_attribute: str | None = None,
) -> Dataset:
    """Read labelled pictures; the form is told by what is there.

    Args:
        path: a Ground Truth manifest, a folder with one, a COCO JSON file, a YOLO folder, one split of it, or
            its `data.yaml`.
        name: what to call it in reports; by default the folder's or file's name.
        labels: the classes, in order. A YOLO folder without `data.yaml` needs them; elsewhere they fix the
            order, and a class that is not among them is refused.
        label_attribute: of a Ground Truth manifest that has several.

    Returns:
        The data set. Boxes are within their pictures; no box is without area.

    Raises:
        InputError: what is there cannot be used; names file, line and defect.
    """
    form, path = recognise(path)
    name = name or _name(path)
    if form is Form.YOLO:
        return read_yolo(path, name=name, labels=labels)
    if form is Form.GROUND_TRUTH:
        return read_ground_truth(path, name=name, labels=labels, attribute=label_attribute)
    return read_coco(path, name=name, labels=labels)


def recognise(path: Path) -> tuple[Form, Path]:
    """Tell in which form a data set is, and which file or folder it is.

    Args:
        path: as for `read_dataset`.

    Returns:
        The form, and the manifest, the COCO file or the YOLO folder.

    Raises:
        InputError: there is nothing, or nothing that is a data set.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.suffix in {".yaml", ".yml"}:
        path = path.parent
    if path.is_dir() and not is_yolo(path):
        path = _only_manifest(path)
    if path.is_dir():
        return Form.YOLO, path
    return (Form.GROUND_TRUTH if _is_manifest(path) else Form.COCO), path


def parse_source(text: str) -> tuple[Path, tuple[str, ...] | None]:
    """Take apart how a data set is named on the command line: `PATH` or `PATH=label,label`.

    Raises:
        InputError: nothing is before the `=`, or a label is empty.
    """
    if "=" not in text or Path(text).exists():
        return Path(text), None
    path, _, listed = text.rpartition("=")
    labels = tuple(label.strip() for label in listed.split(","))
    if not path or not all(labels):
        raise InputError(f"'{text}' does not name a data set; write PATH or PATH=label,label")
    return Path(path), labels


def merge_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """Join data sets into one; classes of the same name become one, in the order in which they first appear.

    Raises:
        ValueError: there is nothing to join.
    """
    if not datasets:
        raise ValueError("there is no data set to join")
    labels = tuple(dict.fromkeys(label for dataset in datasets for label in dataset.labels))
    images: list[LabelledImage] = []
    for dataset in datasets:
        ids = np.array([labels.index(label) for label in dataset.labels], np.int64)
        images.extend(
            LabelledImage(
                path=image.path,
                width=image.width,
                height=image.height,
                boxes=image.boxes,
                class_ids=ids[image.class_ids],
            )
            for image in dataset.images
        )
    return Dataset(name="+".join(dataset.name for dataset in datasets), images=tuple(images), labels=labels)


def _only_manifest(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix == ".manifest")
    if len(found) == 1:
        return found[0]
    what = (
        f"has {len(found)} manifests; name one" if found else "holds no manifest, no images/ and labels/, no data.yaml"
    )
    raise InputError(f"{folder}: {what}")


def _name(path: Path) -> str:
    # `output.manifest` and `data.json` say nothing; the folder they lie in does.
    return path.absolute().name if path.is_dir() else path.absolute().parent.name


def _is_manifest(path: Path) -> bool:
    """Tell a manifest from a COCO file: by its suffix, or else by what its first line is."""
    if path.suffix in _MANIFEST_SUFFIXES:
        return True
    try:
        with path.open(encoding="utf-8") as file:
            first = next((line for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is neither a manifest nor a COCO file: {error}") from None
    try:
        row = json.loads(first)
    except json.JSONDecodeError:
        return False
    return isinstance(row, dict) and "source-ref" in row

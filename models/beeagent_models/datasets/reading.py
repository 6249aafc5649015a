"""Reads a data set whatever its form: a Ground Truth manifest, a YOLO folder or a COCO file."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from beeagent.errors import InputError

from beeagent_models.datasets.builder import DatasetBuilder
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.defect import DefectKind, strict
from beeagent_models.datasets.image_files import find_image
from beeagent_models.datasets.on_disk import first_seen
from beeagent_models.datasets.sources import open_source, recognise
from beeagent_models.datasets.stated import picture_box_defects

logger = logging.getLogger(__name__)


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
    source = open_source(path, labels=labels, attribute=label_attribute)
    name = name or _name(recognise(path)[1])
    builder = DatasetBuilder(name=name, labels=source.labels)
    with first_seen() as seen:
        for stated in source.pictures():
            found = strict(find_image(stated, source.find, seen))
            picture = found.picture
            if found.path is None:
                raise ValueError(f"{picture.where}: a picture without a defect has a file")
            for defect in picture_box_defects(picture):
                if defect.kind is DefectKind.BOX_EMPTY:
                    raise defect.error()
            builder.add(
                found.path,
                size=picture.known_size,
                boxes=np.array(picture.boxes, np.float64),
                labels=picture.labels,
                where=picture.where,
            )
    for what, count in source.left_out.items():
        logger.warning("%s: %s: %d", name, what, count)
    return builder.build()


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


def _name(path: Path) -> str:
    # `output.manifest` and `data.json` say nothing; the folder they lie in does.
    return path.absolute().name if path.is_dir() else path.absolute().parent.name

"""COCO object detection files: one JSON of images, annotations and categories.

The form: https://cocodataset.org/#format-data, "Object Detection".
"""

import logging
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
from beeagent.errors import InputError
from pydantic import BaseModel, Field, ValidationError

from beeagent_models.datasets.builder import DatasetBuilder
from beeagent_models.datasets.dataset import Dataset
from beeagent_models.datasets.reference import is_picture_file

logger = logging.getLogger(__name__)


class CocoImage(BaseModel):
    """One entry of `images`; sizes in pixels."""

    id: int
    file_name: str
    width: int
    height: int


class CocoAnnotation(BaseModel):
    """One entry of `annotations`; `bbox` is left, top, width, height in pixels."""

    id: int | None = None
    image_id: int
    category_id: int
    bbox: list[float] = Field(min_length=4, max_length=4)
    iscrowd: int = 0


class CocoCategory(BaseModel):
    """One entry of `categories`."""

    id: int
    name: str


class _Coco(BaseModel):
    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


def read_coco(file: Path, *, name: str, labels: tuple[str, ...] | None = None) -> Dataset:
    """Read a COCO file and find its pictures.

    A `file_name` is looked for beside the file, in `images` beside it, and in the same two places one folder up,
    where `annotations/instances_val.json` has its pictures in `val`. Crowd regions (`iscrowd`) are no
    boxes of single objects: they are left out, with a word in the log.

    Args:
        file: the JSON.
        name: of the data set.
        labels: the classes, in order; by default the categories, in the order of their ids.

    Raises:
        InputError: the file or a picture is defective; names the file and the image or annotation.
    """
    content = _parse(file)
    categories = {category.id: category.name for category in content.categories}
    images = {image.id: image for image in content.images}
    for kind, unique, count in (
        ("categories", len(categories), len(content.categories)),
        ("images", len(images), len(content.images)),
    ):
        if unique != count:
            raise InputError(f"{file}: two {kind} have the same id")
    annotations: dict[int, list[CocoAnnotation]] = defaultdict(list)
    crowds = 0
    for position, annotation in enumerate(content.annotations):
        where = f"{file}: annotation {position if annotation.id is None else annotation.id}"
        if annotation.image_id not in images:
            raise InputError(f"{where}: there is no image with id {annotation.image_id}")
        if annotation.category_id not in categories:
            raise InputError(f"{where}: there is no category with id {annotation.category_id}")
        if annotation.iscrowd:
            crowds += 1
        else:
            annotations[annotation.image_id].append(annotation)
    if crowds:
        logger.warning("%s: crowd regions left out: %d", name, crowds)
    builder = DatasetBuilder(name=name, labels=labels or tuple(categories[key] for key in sorted(categories)))
    for image in content.images:
        where = f"{file}: image {image.id}"
        boxes = np.array([annotation.bbox for annotation in annotations[image.id]], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        builder.add(
            find_coco_picture(image.file_name, file=file, where=where),
            boxes=boxes,
            labels=[categories[annotation.category_id] for annotation in annotations[image.id]],
            where=where,
            stated_size=(image.width, image.height),
        )
    return builder.build()


def _parse(file: Path) -> _Coco:
    try:
        return _Coco.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{file}: {key + ': ' if key else ''}{first['msg']}") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


def find_coco_picture(file_name: str, *, file: Path, where: str) -> Path:
    """Find the picture that a COCO file names; the places are those of `read_coco`.

    Raises:
        InputError: there is none.
    """
    relative = Path(PurePosixPath(file_name))
    here, above = file.parent, file.parent.parent
    split = file.stem.rpartition("_")[2]
    folders = (here, here / "images", above, above / "images", above / split, above / "images" / split)
    candidates = [folder / relative for folder in folders]
    for candidate in candidates:
        if is_picture_file(candidate):
            return candidate
    looked = ", ".join(map(str, candidates))
    raise InputError(f"{where}: the picture {file_name} is not there: looked for {looked}")

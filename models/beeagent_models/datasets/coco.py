"""COCO object detection files: one JSON of images, annotations and categories.

The form: https://cocodataset.org/#format-data, "Object Detection".
"""

from pathlib import Path, PurePosixPath

from beeagent.errors import InputError
from pydantic import BaseModel, Field

from beeagent_models.datasets.reference import is_picture_file


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
    """One entry of `categories`; `supercategory` is the name of the group that it belongs to."""

    id: int
    name: str
    supercategory: str | None = None


ENTRIES: dict[str, type[CocoImage] | type[CocoAnnotation] | type[CocoCategory]] = {
    "images": CocoImage,
    "annotations": CocoAnnotation,
    "categories": CocoCategory,
}
"""The lists that every COCO file has, and the form of their entries."""


def find_coco_picture(file_name: str, *, file: Path, where: str) -> Path:
    """Find the picture that a COCO file names.

    A `file_name` is looked for beside the file, in `images` beside it, and in the same two places one folder up,
    where `annotations/instances_val.json` has its pictures in `val`.

    Raises:
        InputError: there is none.
    """
    relative = Path(PurePosixPath(file_name))
    here, above = file.parent, file.parent.parent
    split = file.stem.rpartition("_")[2]
    folders = (here, here / "images", above, above / "images", above / split, above / "images" / split)
    candidates = list(dict.fromkeys(folder / relative for folder in folders))
    for candidate in candidates:
        if is_picture_file(candidate):
            return candidate
    looked = ", ".join(map(str, candidates))
    raise InputError(f"{where}: the picture {file_name} is not there: looked for {looked}")

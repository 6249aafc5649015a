"""Lists, selects and resizes the user's images for calibration and comparison."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from beeagent.camera import IMAGE_SUFFIXES, BadFrameError, natural_key, read_image
from beeagent.detection import input_transform, letterbox, padding_value
from beeagent.errors import InputError
from beeagent_models.datasets import Dataset, read_dataset
from numpy.typing import NDArray

from beeagent_export.heads import RawHeads

_Item = TypeVar("_Item")


def find_images(source: Path | Dataset, *, attribute: str | None = None) -> tuple[Path, ...]:
    """List the images of a dataset.

    Args:
        source: a Ground Truth manifest, a COCO file, a folder that is searched for images recursively, or a loaded
            dataset.
        attribute: label attribute to read from a manifest that has several.

    Returns:
        The paths in the order of the dataset; those of a folder in natural order.

    Raises:
        InputError: there is no image, or the dataset cannot be read.
    """
    if isinstance(source, Dataset):
        return tuple(image.path for image in source.images)
    if not source.exists():
        raise InputError(f"the images {source} do not exist: give a folder of images or a Ground Truth manifest")
    if source.is_dir():
        paths = sorted((path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)
    else:
        paths = [image.path for image in read_dataset(source, label_attribute=attribute).images]
    if not paths:
        raise InputError(f"{source} contains no image: give a folder of images or a Ground Truth manifest")
    return tuple(paths)


def spread(items: Sequence[_Item], count: int) -> tuple[_Item, ...]:
    """Return up to `count` items (at least 1), evenly spread, because neighbouring images are often of one series."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[int(index)] for index in np.linspace(0, len(items) - 1, count).round())


def resize_images(paths: Sequence[Path], heads: RawHeads) -> Iterator[NDArray[np.uint8]]:
    """Yield images fitted into the model's input, exactly as the agent fits frames.

    Yields:
        uint8, shape (height, width, 3), RGB.

    Raises:
        InputError: an image cannot be read.
    """
    for path in paths:
        try:
            pixels = read_image(path)
        except BadFrameError as error:
            raise InputError(f"the image {error}; remove it from the dataset") from error
        placement = input_transform(
            frame_width=pixels.shape[1],
            frame_height=pixels.shape[0],
            input_width=heads.width,
            input_height=heads.height,
            fit=heads.fit,
        )
        yield letterbox(pixels, placement, padding=padding_value(heads.mean))

"""The image files of a data set: found, decoded as the agent decodes them, and each used for one picture only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from beeagent.camera import BadFrameError, read_image, silence_opencv
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets.dataset import LabelledImage
from beeagent_models.datasets.defect import Defect, DefectKind, Findings
from beeagent_models.datasets.on_disk import FirstSeen
from beeagent_models.datasets.stated import StatedPicture


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """A picture of a data set with its file.

    Attributes:
        picture: with the size that the file has and boxes in pixels; as stated where the file cannot be decoded.
        path: the file; None where there is none.
    """

    picture: StatedPicture
    path: Path | None


def decode_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file as the agent does: upright, and only if it is whole and of a format that the agent reads.

    Returns:
        uint8, shape (height, width, 3), BGR.

    Raises:
        InputError: the file is missing or cannot be decoded; names it.
    """
    silence_opencv()
    if path.exists() and not path.is_file():  # to read a pipe would never end
        raise InputError(f"{path}: is no regular file")
    try:
        return read_image(path)
    except BadFrameError as error:
        raise InputError(str(error)) from None


def load_image(image: LabelledImage) -> NDArray[np.uint8]:
    """Decode a data set's image.

    Returns:
        uint8, shape (height, width, 3), BGR.

    Raises:
        InputError: it cannot be decoded, or no longer has the size that the data set says; names the file.
    """
    pixels = decode_image(image.path)
    if pixels.shape[:2] != (image.height, image.width):
        raise InputError(
            f"{image.path}: is {pixels.shape[1]}x{pixels.shape[0]}, not {image.width}x{image.height} as before"
        )
    return pixels


def find_image(
    picture: StatedPicture, find: Callable[[StatedPicture], Path], seen: FirstSeen
) -> Findings[FoundPicture]:
    """Find and decode the file of a picture.

    Args:
        picture: as its source states it.
        find: finds the file of a picture, or raises InputError.
        seen: the files and references of the data set's earlier pictures.

    Yields:
        A missing or defective file, one that an earlier picture uses, and a size other than stated.
    """
    where = picture.where
    repeated = yield from repeated_reference(picture, seen)
    try:
        path = find(picture)
    except InputError as error:
        yield Defect(where, DefectKind.MISSING_IMAGE, str(error).removeprefix(f"{where}: "))
        return FoundPicture(picture, None)
    other = seen.at(f"file {path.resolve()}", where)
    if other is not None and not repeated:
        what = f"{picture.reference} is the picture {path}, given before, at {other}; remove one"
        yield Defect(where, DefectKind.DUPLICATE, what)
    try:
        height, width = decode_image(path).shape[:2]
    except InputError as error:
        yield Defect(where, DefectKind.BAD_IMAGE, str(error).removeprefix(f"{where}: "))
        return FoundPicture(picture, path)
    if picture.size is not None and picture.size != (width, height):
        stated = f"{picture.size[0]}x{picture.size[1]}"
        what = f"the picture {path} is {width}x{height}, not {stated} as stated"
        yield Defect(where, DefectKind.SIZE_WRONG, what)
        return FoundPicture(picture, path)
    return FoundPicture(picture.sized((width, height)), path)


def repeated_reference(picture: StatedPicture, seen: FirstSeen) -> Findings[bool]:
    """Find out whether an earlier picture has the same reference; needs no file.

    Args:
        picture: as its source states it; one without a reference is none that could be repeated.
        seen: the references of the data set's earlier pictures.

    Yields:
        A defect if there is one.
    """
    before = seen.at(f"reference {picture.reference}", picture.where) if picture.reference else None
    if before is None:
        return False
    what = f"the picture {picture.reference} was given before, at {before}; remove one"
    yield Defect(picture.where, DefectKind.DUPLICATE, what)
    return True

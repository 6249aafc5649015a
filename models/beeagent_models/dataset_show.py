"""`beeagent dataset show`: the boxes of a data set drawn onto its pictures, and a contact sheet of them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.contact_sheet import ContactSheet, fitted
from beeagent_models.datasets.image_files import decode_image
from beeagent_models.datasets.stated import Source, StatedPicture
from beeagent_models.drawing import Pixels, check_picture_path, draw_labels, write_picture

_MOST_ON_A_SHEET = 400


def show_dataset(  # noqa: PLR0913 - each a choice of its own
    source: Source, *, folder: Path | None, sheet: Path | None, most: int, columns: int = 0, side: int = 320
) -> str:
    """Draw what a data set says.

    Args:
        source: the data set.
        folder: where each picture is drawn to, as a JPEG with its place in the set before its name; None for none.
        sheet: where a contact sheet is drawn to; None for none.
        most: how many pictures, evenly spread over the set; 0 for all of them.
        columns: of the sheet; 0 for a sheet about as wide as it is high.
        side: of the sheet's pictures in pixels.

    Returns:
        What was drawn, in a line.

    Raises:
        InputError: the data set, a picture or a path cannot be used, or a sheet would have too many pictures.
    """
    _prepare(folder, sheet)
    total = sum(1 for _ in source.pictures())
    count = min(most, total) if most else total
    if not count:
        raise InputError("there is no picture in the data set")
    if sheet is not None and count > _MOST_ON_A_SHEET:
        raise InputError(f"a sheet of {count} pictures cannot be looked at: choose {_MOST_ON_A_SHEET} at most")
    grid = ContactSheet(count, columns=columns, side=side) if sheet is not None else None
    boxes = 0
    for place, stated in _spread(source, count, total):
        pixels, picture = _loaded(source.find(stated), stated)
        ratios, ids = _ratios(picture), np.array([source.labels.index(label) for label in picture.labels], np.int64)
        boxes += len(ratios)
        if folder is not None:
            drawn = draw_labels(pixels, ratios, ids, list(picture.labels))
            write_picture(folder / f"{place:06}-{PurePosixPath(picture.name).stem}.jpg", drawn)
        if grid is not None:
            grid.add(draw_labels(fitted(pixels, side), ratios, ids, [""] * len(ids)), picture.name)
    if sheet is not None and grid is not None:
        write_picture(sheet, grid.pixels)
    where = " and ".join(str(path) for path in (folder, sheet) if path is not None)
    return f"{where}: {count} of {total} pictures, {boxes} boxes"


def _prepare(folder: Path | None, sheet: Path | None) -> None:
    if folder is None and sheet is None:
        raise InputError("say where to draw to: a folder for the pictures, a sheet, or both")
    if sheet is not None:
        check_picture_path(sheet)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {folder} cannot be made: {error.strerror}") from None


def _spread(source: Source, count: int, total: int) -> Iterator[tuple[int, StatedPicture]]:
    """Choose evenly: the i-th of `count` is the one at i * total / count."""
    chosen = 0
    for place, picture in enumerate(islice(source.pictures(), total)):
        if chosen < count and place == chosen * total // count:
            chosen += 1
            yield place, picture


def _loaded(path: Path, picture: StatedPicture) -> tuple[Pixels, StatedPicture]:
    try:
        pixels = decode_image(path)
    except InputError as error:
        where = "" if picture.where == str(path) else f"{picture.where}: "
        raise InputError(f"{where}{error}") from None
    height, width = pixels.shape[:2]
    if picture.size not in {None, (width, height)}:
        stated = f"{picture.known_size[0]}x{picture.known_size[1]}"
        raise InputError(f"{picture.where}: the picture {path} is {width}x{height}, not {stated} as stated")
    return pixels, picture.sized((width, height))


def _ratios(picture: StatedPicture) -> NDArray[np.float32]:
    boxes = np.array(picture.boxes, np.float64).reshape(-1, 4) / np.array([*picture.known_size] * 2, np.float64)
    return np.clip(boxes, 0, 1).astype(np.float32)

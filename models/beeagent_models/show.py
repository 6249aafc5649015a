"""`beeagent show` and `beeagent dataset show`: draw a result on its image, or the boxes of a dataset on its images."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from beeagent.camera.source import BadFrameError
from beeagent.camera.video import VIDEO_SUFFIXES, VideoFileSource
from beeagent.detection.detections import Detections
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets.image_files import decode_image
from beeagent_models.datasets.records import Source, StatedPicture
from beeagent_models.drawing import ContactSheet, Pixels, check_picture_path, draw, draw_labels, fitted, write_picture
from beeagent_models.results import is_source, read_result, read_sources, refuse_other_picture


def run_show(*, image: Path, result: Path, out: Path, line: int | None = None, threshold: float = 0.0) -> str:
    """Draw a result onto its picture.

    Args:
        image: the picture; it may be larger or smaller than the frame was, but not of another shape. Or a video, of
            which the frame is drawn that the result is about.
        result: a file with one result, or one in each line: a message of the agent, or Rekognition's answer.
        out: the picture to write.
        line: which line of the result, from 1; None for the first that names the image as its source, or 1.
        threshold: detections of a lower confidence, 0 to 1, are not drawn.

    Returns:
        What was drawn, in a line.

    Raises:
        InputError: a file or the threshold cannot be used, or the result is about a picture of another shape.
    """
    check_picture_path(out)
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}: allowed are 0 to 1")
    chosen, position_s = _chosen_line(result, image, line)
    where = f"{result}:{chosen}"
    is_video = image.suffix.lower() in VIDEO_SUFFIXES
    pixels = _frame_at(image, position_s, where=where) if is_video else decode_image(image)
    height, width = pixels.shape[:2]
    found = read_result(result, line=chosen, picture=(width, height))
    refuse_other_picture(found, where=where, image=image, size=(width, height), by_name=line is None)
    detections = _from(found.detections, threshold)
    write_picture(out, draw(pixels, detections))
    counts = ", ".join(f"{count} {label}" for label, count in detections.counts().items())
    return f"{out}: {counts or 'nothing found'}"


def _from(detections: Detections, threshold: float) -> Detections:
    kept = detections.confidences >= np.float32(threshold)
    return replace(
        detections,
        boxes=detections.boxes[kept],
        confidences=detections.confidences[kept],
        class_ids=detections.class_ids[kept],
    )


def _chosen_line(result: Path, image: Path, line: int | None) -> tuple[int, float | None]:
    """Return the line of a result to draw, and where in the video the frame is that it is about, if it says so."""
    sources = {number: (name, position_s) for number, name, position_s in read_sources(result)}
    if line is not None:
        return line, sources[line][1] if line in sources else None
    for number, (name, position_s) in sources.items():
        if is_source(name, image):
            return number, position_s
    if len(sources) > 1:
        raise InputError(
            f"no result in {result} names {image.name} as its source: --line takes one of them all the same"
        )
    return 1, sources[1][1] if 1 in sources else None


def _frame_at(video: Path, position_s: float | None, *, where: str) -> NDArray[np.uint8]:
    if position_s is None:
        raise InputError(f"{video} is a video, and the result {where} does not say which of its frames it is about")
    source = VideoFileSource(video)
    half = 0.5 / source.fps
    try:
        while source.grab():
            if source.position_s > position_s - half:
                return source.retrieve().pixels
    except BadFrameError as error:
        raise InputError(str(error)) from None
    finally:
        source.close()
    raise InputError(f"{video} ends before {position_s:g} s, of which the result {where} is")


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

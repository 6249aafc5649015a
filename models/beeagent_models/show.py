"""`beeagent show` and `beeagent dataset show`: draw a result, or the boxes of a dataset."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from beeagent.camera import VIDEO_SUFFIXES, BadFrameError, VideoFileSource
from beeagent.errors import InputError
from beeagent.messages import TrafficMessage
from beeagent.tracking import Places, load_places
from numpy.typing import NDArray

from beeagent_models.datasets import ImageRecord, Reader, decode_image
from beeagent_models.drawing import (
    ContactSheet,
    Pixels,
    check_image_path,
    draw,
    draw_labels,
    fit_square,
    prepare_output,
    write_image,
)
from beeagent_models.results import is_source, read_result, read_sources, read_traffic, refuse_other_image


def run_show(  # noqa: PLR0913
    *,
    image: Path,
    result: Path,
    out: Path,
    line: int | None = None,
    threshold: float = 0.0,
    places: Path | None = None,
) -> str:
    """Draw a result on its image, with track numbers.

    Args:
        image: the image, of any size with the frame's aspect ratio; or a video, whose frame of the result is drawn.
        result: file with one result, or one per line: messages of the agent, or a response of Rekognition.
        out: image to write.
        line: line of the result, from 1; None for the first with the image as source, or 1.
        threshold: minimum confidence of drawn detections, 0 to 1.
        places: file with lines, zones and masks to draw, with the counts of the day from the last traffic message
            before the result; None for none.

    Returns:
        A one-line summary.

    Raises:
        InputError: a file or the threshold cannot be used, or the result is of another image.
    """
    check_image_path(out)
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}: allowed are 0 to 1")
    number, position_s = _select_line(result, image, line)
    where = f"{result}:{number}"
    is_video = image.suffix.lower() in VIDEO_SUFFIXES
    pixels = _frame_at(image, position_s, where=where) if is_video else decode_image(image)
    height, width = pixels.shape[:2]
    content = read_result(result, line=number, image_size=(width, height))
    refuse_other_image(content, where=where, image=image, size=(width, height), by_name=line is None)
    detections = content.detections.at_least(threshold)
    drawn_places = None if places is None else load_places(places)
    traffic = None if drawn_places is None else read_traffic(result, before=number)
    drawn = draw(
        pixels,
        detections,
        tracks=content.tracks[: len(detections)],
        places=drawn_places,
        counts=[] if drawn_places is None or traffic is None else _day_counts(drawn_places, traffic),
    )
    write_image(out, drawn)
    counts = ", ".join(f"{count} {label}" for label, count in detections.counts().items())
    return f"{out}: {counts or 'no detections'}"


def _day_counts(places: Places, traffic: TrafficMessage) -> list[str]:
    counts = []
    for name in (*places.lines, *places.zones):
        labels = (traffic.lines.get(name) or traffic.zones.get(name) or {}).values()
        into, out = sum(one.today.in_ for one in labels), sum(one.today.out for one in labels)
        counts.append(f"{name}: {into} in, {out} out")
    return counts


def _select_line(result: Path, image: Path, line: int | None) -> tuple[int, float | None]:
    """Return the line of the result to draw, and its position in the video if known."""
    sources = {number: (name, position_s) for number, name, position_s in read_sources(result)}
    if line is not None:
        return line, sources[line][1] if line in sources else None
    for number, (name, position_s) in sources.items():
        if is_source(name, image):
            return number, position_s
    if len(sources) > 1:
        raise InputError(f"no result in {result} has the source {image.name}: choose one with --line")
    return 1, sources[1][1] if 1 in sources else None


def _frame_at(video: Path, position_s: float | None, *, where: str) -> NDArray[np.uint8]:
    if position_s is None:
        raise InputError(f"{video} is a video, but the result {where} has no position in it: give its image")
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
    raise InputError(f"{video} ends before {position_s:g} s, the position of the result {where}")


_MAX_SHEET_IMAGES = 400


def show_dataset(  # noqa: PLR0913
    source: Reader, *, folder: Path | None, sheet: Path | None, limit: int, columns: int = 0, side: int = 320
) -> str:
    """Draw the boxes of a dataset on its images.

    Args:
        source: the dataset.
        folder: folder for the drawn images, JPEG files with their index before the name; None for none.
        sheet: file for a contact sheet; None for none.
        limit: maximum number of images, evenly spread over the dataset; 0 for all.
        columns: number of columns of the sheet; 0 for a sheet about as wide as high.
        side: side of the sheet's images in pixels.

    Returns:
        A one-line summary.

    Raises:
        InputError: the dataset, an image or a path cannot be used, or a sheet would have too many images.
    """
    where = prepare_output(folder, sheet)
    if not where:
        raise InputError("give --out, --sheet or both")
    total = sum(1 for _ in source.records())
    count = min(limit, total) if limit else total
    if not count:
        raise InputError("there is no image in the dataset")
    if sheet is not None and count > _MAX_SHEET_IMAGES:
        raise InputError(f"a sheet of {count} images is too large: give at most {_MAX_SHEET_IMAGES}")
    grid = ContactSheet(count, columns=columns, side=side) if sheet is not None else None
    boxes = 0
    for index, entry in _spread(source, count, total):
        pixels, record = _load(source.find(entry), entry)
        ratios, ids = _ratios(record), np.array([source.labels.index(label) for label in record.labels], np.int64)
        boxes += len(ratios)
        if folder is not None:
            drawn = draw_labels(pixels, ratios, ids, list(record.labels))
            write_image(folder / f"{index:06}-{PurePosixPath(record.name).stem}.jpg", drawn)
        if grid is not None:
            grid.add(draw_labels(fit_square(pixels, side), ratios, ids, [""] * len(ids)), record.name)
    if sheet is not None and grid is not None:
        write_image(sheet, grid.pixels)
    return f"{where}: {count} of {total} images, {boxes} boxes"


def _spread(source: Reader, count: int, total: int) -> Iterator[tuple[int, ImageRecord]]:
    """Yield `count` evenly spread records with their indices."""
    selected = 0
    for index, record in enumerate(islice(source.records(), total)):
        if selected < count and index == selected * total // count:
            selected += 1
            yield index, record


def _load(path: Path, record: ImageRecord) -> tuple[Pixels, ImageRecord]:
    try:
        pixels = decode_image(path)
    except InputError as error:
        where = "" if record.where == str(path) else f"{record.where}: "
        raise InputError(f"{where}{error}") from None
    height, width = pixels.shape[:2]
    if record.size not in {None, (width, height)}:
        expected = f"{record.known_size[0]}x{record.known_size[1]}"
        raise InputError(f"{record.where}: the image {path} is {width}x{height}, not {expected} as in the dataset")
    return pixels, record.sized((width, height))


def _ratios(record: ImageRecord) -> NDArray[np.float32]:
    boxes = np.array(record.boxes, np.float64).reshape(-1, 4) / np.array([*record.known_size] * 2, np.float64)
    return np.clip(boxes, 0, 1).astype(np.float32)

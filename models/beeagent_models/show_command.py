"""`beeagent show`: a result drawn onto its picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from beeagent.camera import VIDEO_SUFFIXES, BadFrameError, VideoFileSource
from beeagent.detection.detections import Detections
from beeagent.errors import InputError
from numpy.typing import NDArray

from beeagent_models.datasets.image_files import decode_image
from beeagent_models.drawing import check_picture_path, draw, write_picture
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

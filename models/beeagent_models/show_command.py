"""`beeagent show`: a result drawn onto its picture."""

from pathlib import Path

import cv2
import numpy as np
from beeagent.errors import InputError

from beeagent_models.drawing import check_picture_path, draw, write_picture
from beeagent_models.results import read_result

_ASPECT_TOLERANCE = 0.02


def run_show(*, image: Path, result: Path, out: Path, line: int) -> str:
    """Draw a result onto its picture.

    Args:
        image: the picture; it may be larger or smaller than the frame was, but not of another shape.
        result: a file with one message, or one in each line.
        out: the picture to write.
        line: which line of the result, from 1.

    Returns:
        What was drawn, in a line.

    Raises:
        InputError: a file cannot be used, or the result is about a picture of another shape.
    """
    check_picture_path(out)
    found = read_result(result, line=line)
    pixels = cv2.imread(str(image), cv2.IMREAD_COLOR) if image.is_file() else None
    if pixels is None:
        what = "is not a picture that can be read" if image.is_file() else "is not there"
        raise InputError(f"the picture {image} {what}")
    height, width = pixels.shape[:2]
    if abs(width / height * found.height / found.width - 1) > _ASPECT_TOLERANCE:
        raise InputError(
            f"{image} is {width}x{height}, but the result {result}:{line} is about a frame of "
            f"{found.width}x{found.height}: it belongs to another picture"
        )
    write_picture(out, draw(pixels.astype(np.uint8, copy=False), found.detections))
    counts = ", ".join(f"{count} {label}" for label, count in found.detections.counts().items())
    return f"{out}: {counts or 'nothing found'}"

"""`beeagent show`: a result drawn onto its picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from beeagent.detection.detections import Detections
from beeagent.errors import InputError

from beeagent_models.datasets.image_files import decode_image
from beeagent_models.drawing import check_picture_path, draw, write_picture
from beeagent_models.results import read_result, refuse_other_picture


def run_show(*, image: Path, result: Path, out: Path, line: int, threshold: float = 0.0) -> str:
    """Draw a result onto its picture.

    Args:
        image: the picture; it may be larger or smaller than the frame was, but not of another shape.
        result: a file with one result, or one in each line: a message of the agent, or Rekognition's answer.
        out: the picture to write.
        line: which line of the result, from 1.
        threshold: detections of a lower confidence, 0 to 1, are not drawn.

    Returns:
        What was drawn, in a line.

    Raises:
        InputError: a file or the threshold cannot be used, or the result is about a picture of another shape.
    """
    check_picture_path(out)
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}: allowed are 0 to 1")
    pixels = decode_image(image)
    height, width = pixels.shape[:2]
    found = read_result(result, line=line, picture=(width, height))
    refuse_other_picture(found, where=f"{result}:{line}", image=image, size=(width, height))
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

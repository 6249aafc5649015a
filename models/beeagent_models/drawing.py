"""Draws detections and ground truth on images, and contact sheets, with supervision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from beeagent.detection import Detections
from beeagent.errors import InputError
from beeagent.tracking import Places, draw_places
from numpy.typing import NDArray

from beeagent_models.datasets import LabelledImage
from beeagent_models.datasets.atomic_write import atomic_write, check_output_file, make_folder
from beeagent_models.evaluation import ImageMatches

Pixels = NDArray[np.uint8]

# Distinguishable with colour blindness too (Okabe and Ito, "Color Universal Design", 2008).
HIT = sv.Color.from_hex("#009E73")
MISS = sv.Color.from_hex("#E69F00")
FALSE_ALARM = sv.Color.from_hex("#D62728")
_COUNTS_COLOUR = sv.Color.BLACK

_MIN_SIDE = 640
"""Minimum longer side in pixels; smaller images are enlarged, so that text does not hide the bees."""


@dataclass(frozen=True, slots=True)
class _Style:
    line: int
    text: float
    padding: int


def draw(
    pixels: Pixels,
    detections: Detections,
    *,
    tracks: Sequence[int] = (),
    places: Places | None = None,
    counts: Sequence[str] = (),
) -> Pixels:
    """Draw boxes, labels, confidences and track numbers.

    Args:
        pixels: uint8, shape (height, width, 3), BGR; not changed.
        detections: detections in the image.
        tracks: track number of each detection, 0 for none; empty without tracking.
        places: lines, zones and masks to draw; None for none.
        counts: texts to write below the image.

    Returns:
        uint8, BGR: a copy, enlarged by a whole factor if the image is small.
    """
    scene = _enlarge(pixels)
    if places is not None:
        scene = draw_places(scene, places)
    numbers = tracks or [0] * len(detections)
    texts = [
        f"{detections.label(index)} {confidence:.2f}" + (f" #{track}" if track else "")
        for index, (confidence, track) in enumerate(zip(detections.confidences, numbers, strict=True))
    ]
    scene = _annotate(scene, detections.boxes, detections.class_ids, texts, sv.ColorPalette.DEFAULT)
    return _with_counts(scene, tuple((text, _COUNTS_COLOUR) for text in counts)) if counts else scene


def draw_truth(  # noqa: PLR0913
    pixels: Pixels,
    image: LabelledImage,
    detections: Detections,
    matches: ImageMatches,
    *,
    threshold: float,
    names: tuple[str, str, str] = ("hits", "missed", "false alarms"),
) -> Pixels:
    """Draw hits green, missed boxes orange and false alarms red, with a line of counts below.

    Args:
        pixels: uint8, shape (height, width, 3), BGR; not changed.
        image: ground truth.
        detections: detections in the image.
        matches: matches of detections and ground truth.
        threshold: minimum confidence of a detection.
        names: names of hits, missed boxes and false alarms.

    Returns:
        uint8, BGR: a copy, enlarged by a whole factor if the image is small.
    """
    scene = _enlarge(pixels)
    hits, alarms, missed = matches.classify(detections.confidences, threshold)
    ratios = (image.boxes / np.array([image.width, image.height] * 2, np.float32)).astype(np.float32)
    confidences = [f"{confidence:.2f}" for confidence in detections.confidences]
    for boxes, texts, colour in (
        (ratios[missed], [names[1]] * int(missed.sum()), MISS),
        (detections.boxes[alarms], [confidences[i] for i in np.flatnonzero(alarms)], FALSE_ALARM),
        (detections.boxes[hits], [confidences[i] for i in np.flatnonzero(hits)], HIT),
    ):
        scene = _annotate(scene, boxes, np.zeros(len(boxes), np.int64), texts, colour)
    counts = (
        (f"{names[0]} {int(hits.sum())}", HIT),
        (f"{names[1]} {int(missed.sum())}", MISS),
        (f"{names[2]} {int(alarms.sum())}", FALSE_ALARM),
    )
    return _with_counts(scene, counts)


def draw_labels(pixels: Pixels, boxes: NDArray[np.float32], class_ids: NDArray[np.int64], texts: list[str]) -> Pixels:
    """Draw ground-truth boxes, with a colour per class.

    Args:
        pixels: uint8, shape (height, width, 3), BGR; not changed.
        boxes: float32, shape (n, 4): left, top, right, bottom in ratios of the image.
        class_ids: int64, shape (n,): class ids, which determine the colours.
        texts: text beside each box; may be empty.

    Returns:
        uint8, BGR: a copy, enlarged by a whole factor if the image is small and there is text.
    """
    has_text = any(texts)
    scene = _enlarge(pixels) if has_text else np.array(pixels)
    return _annotate(scene, boxes, class_ids, texts if has_text else None, sv.ColorPalette.DEFAULT)


def check_image_path(path: Path) -> None:
    """Check in advance that an image can be written.

    Raises:
        InputError: the suffix is not that of an image, or the folder is missing.
    """
    if not path.suffix or not cv2.haveImageWriter(str(path)):
        raise InputError(f"the image {path} cannot be written in this format: give a name that ends in .png or .jpg")
    check_output_file(path, what="image")


def prepare_output(folder: Path | None, sheet: Path | None) -> str:
    """Create the folder for images, check the file of a contact sheet, and return both paths as text.

    Raises:
        InputError: one of them cannot be used.
    """
    if sheet is not None:
        check_image_path(sheet)
    if folder is not None:
        make_folder(folder)
    return " and ".join(str(path) for path in (folder, sheet) if path is not None)


def write_image(path: Path, pixels: Pixels) -> None:
    """Write an image in the format of the file's suffix.

    Raises:
        InputError: the image cannot be written.
    """
    check_image_path(path)
    _, encoded = cv2.imencode(path.suffix, pixels)
    with atomic_write(path, "wb") as file:
        file.write(encoded.tobytes())


def _enlarge(pixels: Pixels) -> Pixels:
    factor = -(-_MIN_SIDE // max(pixels.shape[:2]))
    if factor <= 1:
        return np.array(pixels)
    size = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _style(scene: Pixels) -> _Style:
    size = (scene.shape[1], scene.shape[0])
    text = max(0.45, sv.calculate_optimal_text_scale(size) * 0.75)
    return _Style(line=sv.calculate_optimal_line_thickness(size), text=text, padding=max(2, round(text * 5)))


def _annotate(
    scene: Pixels,
    ratios: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    texts: list[str] | None,
    colour: sv.Color | sv.ColorPalette,
) -> Pixels:
    if not len(ratios):
        return scene
    style = _style(scene)
    boxes = sv.Detections(
        xyxy=ratios * np.array([scene.shape[1], scene.shape[0]] * 2, np.float32), class_id=class_ids.astype(np.int_)
    )
    scene = sv.BoxAnnotator(color=colour, thickness=style.line).annotate(scene, boxes)
    if texts is None:
        return np.asarray(scene, np.uint8)
    labels = sv.LabelAnnotator(
        color=colour,
        text_color=sv.Color.BLACK,
        text_scale=style.text,
        text_padding=style.padding,
        text_thickness=max(1, style.line // 2),
        smart_position=True,
    )
    return np.asarray(labels.annotate(scene, boxes, labels=texts), np.uint8)


def _with_counts(scene: Pixels, counts: tuple[tuple[str, sv.Color], ...]) -> Pixels:
    """Add a strip with counts below the image."""
    style = _style(scene)
    thickness = max(1, style.line // 2)
    sizes = [cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, style.text, thickness)[0] for text, _ in counts]
    row = sizes[0][1] + 4 * style.padding
    strip = np.full((row, scene.shape[1], 3), 255, np.uint8)
    left = 2 * style.padding
    for (text, colour), (width, _) in zip(counts, sizes, strict=True):
        # OpenCV, because supervision's text has a background and is not left-aligned.
        origin = (left, row - 2 * style.padding)
        cv2.putText(strip, text, origin, cv2.FONT_HERSHEY_SIMPLEX, style.text, colour.as_bgr(), thickness, cv2.LINE_AA)
        left += width + 6 * style.padding
    return np.vstack([scene, strip])


_GAP = 4
_CAPTION = 18
_BACKGROUND = 255
_TEXT_COLOUR = (40, 40, 40)


def fit_square(pixels: Pixels, side: int) -> Pixels:
    """Scale an image to fit into a square.

    Args:
        pixels: uint8, shape (height, width, 3).
        side: side of the square in pixels.

    Returns:
        uint8: the image with a longer side of `side` pixels.
    """
    factor = side / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.uint8)


class ContactSheet:
    """A grid of images with captions, filled row by row.

    Args:
        count: total number of images, 1 or more.
        columns: number of columns; 0 for a sheet about as wide as high.
        side: side of the squares in pixels.
    """

    def __init__(self, count: int, *, columns: int, side: int) -> None:
        self._columns = min(count, columns or math.ceil(math.sqrt(count)))
        self._side = side
        self._count = 0
        rows = math.ceil(count / self._columns)
        height = _GAP + rows * (side + _CAPTION + _GAP)
        self.pixels: Pixels = np.full((height, _GAP + self._columns * (side + _GAP), 3), _BACKGROUND, np.uint8)
        """The sheet, uint8, BGR."""

    def add(self, pixels: Pixels, caption: str) -> None:
        """Add an image.

        Args:
            pixels: uint8, shape (height, width, 3), BGR, not larger than the square.
            caption: text below the image; a long one is cut at its start.
        """
        row, column = divmod(self._count, self._columns)
        self._count += 1
        left, top = _GAP + column * (self._side + _GAP), _GAP + row * (self._side + _CAPTION + _GAP)
        height, width = pixels.shape[:2]
        x, y = left + (self._side - width) // 2, top + (self._side - height) // 2
        self.pixels[y : y + height, x : x + width] = pixels
        text = caption.encode("ascii", "replace").decode()  # OpenCV's fonts have ASCII only
        while text and cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] > self._side:
            text = text[1:]
        origin = (left, top + self._side + _CAPTION - 6)
        cv2.putText(self.pixels, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _TEXT_COLOUR, 1, cv2.LINE_AA)

"""Measurements for aiming and focusing a camera: sharpness, exposure and the size of the bees."""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.detection import Detections, box_areas, size_advice
from beeagent.web.live import shrink

_MAX_SIDE: Final = 640
_BLUR: Final = 9  # pixels: size of the filter
_NOISE: Final = 4.0  # times the median difference of neighbouring pixels: differences below are noise
_BLURRED, _SOFT = 0.42, 0.62
"""Limits of sharpness: below the first a frame is out of focus, below the second soft.

Frames of 18 cameras and close-ups have 0.69 to 0.80. Blurred with a Gaussian filter of 1, 2 and 4 pixels at a width of
1280, they have 0.56 to 0.71, 0.24 to 0.53 and 0.02 to 0.38; added noise of 6 of 255 does not increase these values.
"""
_DARK, _BRIGHT = 50.0, 205.0  # mean luma
_BLACK, _WHITE = 5, 250  # luma: clipped at or beyond
_CLIPPED = 0.1  # share of the frame


@dataclass(frozen=True, slots=True)
class Aim:
    """Sharpness and exposure of a frame.

    Attributes:
        sharpness: sharpness of the edges, 0 to 1, independent of contrast and brightness.
        mean_luma: mean brightness, 0 to 255.
        dark: share of black pixels.
        bright: share of white pixels.
    """

    sharpness: float
    mean_luma: float
    dark: float
    bright: float

    @property
    def sharpness_text(self) -> str:
        """The sharpness in words, and the remedy."""
        if self.sharpness < _BLURRED:
            return "out of focus: turn the lens until this value is highest, or wipe it"
        if self.sharpness < _SOFT:
            return "soft: turn the lens a little, and keep the position with the highest value"
        return "sharp"

    @property
    def exposure_text(self) -> str:
        """The exposure in words, and the remedy."""
        if self.dark >= _CLIPPED and self.bright >= _CLIPPED:
            return "too much contrast: parts are black and parts white; avoid the sun and hard shadows in the frame"
        if self.mean_luma < _DARK or self.dark >= 0.5:
            return "too dark: more light, or a longer exposure"
        if self.mean_luma > _BRIGHT or self.bright >= _CLIPPED:
            return "too bright: less light, or a shorter exposure"
        return "good"


def measure_aim(pixels: NDArray[np.uint8]) -> Aim:
    """Measure the sharpness and exposure of a frame.

    Sharpness is the share of the differences of neighbouring pixels that a blur of 9 pixels removes (Crété and others,
    "The blur effect", 2007): a large one for a sharp frame, a small one for a blurred frame. Differences that may be
    noise are left out. Unlike the variance of the Laplacian, it rises neither with contrast nor with noise, so values
    at noon and in the evening are comparable.

    Args:
        pixels: image, BGR, uint8, shape (height, width, 3).
    """
    luma = cv2.cvtColor(shrink(pixels, _MAX_SIDE), cv2.COLOR_BGR2GRAY)
    return Aim(
        sharpness=min(_sharpness(luma.astype(np.float32), axis) for axis in (0, 1)),
        mean_luma=float(luma.mean()),
        dark=float(np.count_nonzero(luma <= _BLACK) / luma.size),
        bright=float(np.count_nonzero(luma >= _WHITE) / luma.size),
    )


def _sharpness(luma: NDArray[np.float32], axis: int) -> float:
    if luma.shape[axis] < 2:
        return 0.0
    blurred = cv2.blur(luma, (1, _BLUR) if axis == 0 else (_BLUR, 1))  # width and height
    differences = np.abs(np.diff(luma, axis=axis))
    differences = np.maximum(differences - _NOISE * np.median(differences), 0)
    remaining = np.minimum(np.abs(np.diff(blurred, axis=axis)), differences)
    total = float(differences.sum())
    return 1 - float(remaining.sum()) / total if total else 0.0


def object_sizes(
    recent: Iterable[tuple[Detections, tuple[int, int]]],
    *,
    threshold: float,
    input_scale: Callable[[tuple[int, int]], float],
) -> tuple[float | None, float | None]:
    """Return the median size of the objects, in pixels of the frame and of the model's input; None without objects.

    The size of an object is the square root of the area of its box.

    Args:
        recent: candidates and frame size of the last frames.
        threshold: minimum confidence of a detection.
        input_scale: function that returns the pixels of the model's input per pixel of a frame of the given size.
    """
    sizes: list[float] = []
    scaled: list[float] = []
    for candidates, frame in recent:
        if len(detections := candidates.at_least(threshold)):
            sides = [math.sqrt(area) for area in box_areas(detections.xyxy(frame)).tolist()]
            scale = input_scale(frame)
            sizes += sides
            scaled += [side * scale for side in sides]
    return (statistics.median(sizes), statistics.median(scaled)) if sizes else (None, None)


def aim_json(aim: Aim, sizes: tuple[float | None, float | None]) -> dict[str, Any]:
    """Return the measurements in the format of the page's API."""
    of_frame, of_input = (None if size is None else round(size, 1) for size in sizes)
    return {
        "sharpness": round(aim.sharpness, 3),
        "sharpness_text": aim.sharpness_text,
        "exposure_text": aim.exposure_text,
        "mean_luma": round(aim.mean_luma, 1),
        "clipped": round(aim.dark + aim.bright, 4),
        "object_px": {"median": of_frame, "input_median": of_input},
        "advice": size_advice(of_input),
    }

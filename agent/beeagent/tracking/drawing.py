"""Drawing of places on an image."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.tracking.places import Places

_LINE: Final = (0, 200, 255)  # BGR
_ZONE: Final = (120, 220, 60)
_MASK: Final = (60, 60, 230)
_BLACK: Final = (0, 0, 0)


def draw_places(image: NDArray[np.uint8], places: Places) -> NDArray[np.uint8]:
    """Return a copy of an image with the places and their names; an arrow at each line shows its inward direction.

    Args:
        image: uint8, shape (height, width, 3), BGR.
        places: places to draw.
    """
    drawn: NDArray[np.uint8] = image.copy()
    size = np.array((image.shape[1], image.shape[0]), dtype=np.float64)
    thick = max(2, round(max(image.shape) / 500))
    for name, mask in places.masks.items():
        corners = _pixels(mask.points, size)
        shaded = drawn.copy()
        cv2.fillPoly(shaded, [corners], _MASK)
        drawn = np.asarray(cv2.addWeighted(shaded, 0.5, drawn, 0.5, 0), dtype=np.uint8)
        cv2.polylines(drawn, [corners], isClosed=True, color=_MASK, thickness=thick)
        _write(drawn, f"mask {name}", corners.min(axis=0), _MASK, thick)
    for name, zone in places.zones.items():
        corners = _pixels(zone.points, size)
        cv2.polylines(drawn, [corners], isClosed=True, color=_ZONE, thickness=thick)
        _write(drawn, f"zone {name}", corners.min(axis=0), _ZONE, thick)
    for name, line in places.lines.items():
        start, end = _pixels(line.points, size)
        cv2.line(drawn, start.tolist(), end.tolist(), _LINE, thick)
        along = (end - start) / max(1.0, float(np.hypot(*(end - start))))
        inward = line.in_sign * np.array((-along[1], along[0]))
        middle = (start + end) / 2
        tip = middle + inward * max(image.shape) / 16
        cv2.arrowedLine(drawn, _point(middle), _point(tip), _LINE, thick, tipLength=0.3)
        _write(drawn, f"line {name}: in", start, _LINE, thick)
    return drawn


def _pixels(points: tuple[tuple[float, float], ...], size: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(np.array(points) * (size - 1)).astype(np.int32)


def _point(place: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def _write(
    image: NDArray[np.uint8], text: str, place: NDArray[np.int32], colour: tuple[int, int, int], thick: int
) -> None:
    scale = thick / 3
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    x = int(np.clip(place[0], 0, max(0, image.shape[1] - width)))
    y = int(np.clip(place[1] - 2 * thick, height + thick, image.shape[0] - thick))
    weight = max(1, thick - 1)
    # The outline has the same weight as the text: in OpenCV 5, the width of letters depends on it.
    for dx, dy, ink in (*((dx, dy, _BLACK) for dx in (-1, 0, 1) for dy in (-1, 0, 1)), (0, 0, colour)):
        corner = (x + dx * weight, y + dy * weight)
        cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, weight, cv2.LINE_AA)

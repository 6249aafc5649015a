"""Masks: parts of a frame in which objects and motion are ignored."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.detection.detections import Detections

Point = tuple[float, float]

_SHIFT = 4
"""Number of fractional bits of the coordinates passed to OpenCV."""


@dataclass(frozen=True, slots=True)
class Masks:
    """Polygons whose content is ignored; false if there are none.

    Attributes:
        polygons: corners of each polygon in order, x and y in ratios of the frame's width and height.
    """

    polygons: tuple[tuple[Point, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.polygons)

    def covered(self, boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return a boolean for each box: True if its centre is in a mask.

        Args:
            boxes: shape (n, 4): left, top, right, bottom in ratios of the frame.
        """
        centres = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
        covered = np.zeros(len(boxes), dtype=np.bool_)
        for polygon in self.polygons:
            covered |= inside_polygon(centres, polygon)
        return covered

    def unmasked(self, detections: Detections) -> Detections:
        """Return the detections whose centre is in no mask."""
        kept = ~self.covered(detections.boxes)
        if kept.all():
            return detections
        return Detections(
            detections.boxes[kept], detections.confidences[kept], detections.class_ids[kept], detections.labels
        )

    def draw(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return an image of this width and height: 0 inside the masks, 255 elsewhere."""
        image = np.full(size[::-1], 255, dtype=np.uint8)
        for polygon in self.polygons:
            corners = np.array(polygon) * size - 0.5  # in OpenCV, integer coordinates are the centres of pixels
            cv2.fillPoly(image, [np.rint(corners * (1 << _SHIFT)).astype(np.int32)], 0, shift=_SHIFT)
        return image


NO_MASKS = Masks()


def inside_polygon(points: NDArray[np.float64], corners: Sequence[Point]) -> NDArray[np.bool_]:
    """Return a boolean for each point, shape (n,): True if it is inside a polygon.

    Args:
        points: shape (n, 2): x and y.
        corners: corners of the polygon in order; the last is joined to the first.
    """
    first = np.array(corners)
    following = np.roll(first, -1, axis=0)
    x, y = points[:, 0, None], points[:, 1, None]
    spans = (first[None, :, 1] > y) != (following[None, :, 1] > y)
    rise = following[:, 1] - first[:, 1]
    crossing = first[:, 0] + (y - first[:, 1]) * (following[:, 0] - first[:, 0]) / np.where(rise == 0, 1, rise)
    inside: NDArray[np.bool_] = np.count_nonzero(spans & (x < crossing), axis=1) % 2 == 1
    return inside

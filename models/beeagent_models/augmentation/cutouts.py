"""Cuts objects out of photographs, for pasting onto other backgrounds.

On a blue background, objects are segmented by colour, elsewhere by GrabCut (Rother et al., "GrabCut", 2004) initialised
with the box; a result whose extent differs from the box is dropped.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from beeagent.detection import intersection_areas
from numpy.typing import NDArray

Image = NDArray[np.uint8]

VISIBLE_OPACITY = 0.4
"""Minimum opacity of pixels that count as the object; includes half-transparent wings."""

# (blue - red) / (blue + red): 0.5 and more for a blue board in any light, below 0.15 for a bee, between for wings.
_KEY_BEE, _KEY_BACKGROUND = 0.18, 0.38
# Minimum share of blue pixels in a photograph with a blue background.
_MIN_BLUE = 0.2
# Maximum share of object pixels on the rim of the box (more indicates a neighbour), and range of their share of the
# box.
_MAX_RIM = 0.15
_MIN_FILLED, _MAX_FILLED = 0.18, 0.75
# GrabCut: minimum side of a box and side to which it is scaled down, in pixels; margin around the box, in box sides;
# minimum extent of the result, as a share of the box's sides; range of its share of the box's area.
_MIN_SIDE, _SCALED_SIDE = 18, 220
_MARGIN = 0.35
_MIN_EXTENT = 0.85
_MIN_GRABCUT_FILLED, _MAX_GRABCUT_FILLED = 0.25, 0.85
_GRABCUT_ITERATIONS = 4
# Maximum share of a box's area inside a neighbour's box.
_MAX_NEIGHBOUR_OVERLAP = 0.08


@dataclass(frozen=True, slots=True)
class Cutout:
    """One object without its background.

    Attributes:
        pixels: uint8, shape (height, width, 4): BGR and opacity.
        class_id: class of the object.
    """

    pixels: Image
    class_id: int


def blue_background_opacity(pixels: Image) -> NDArray[np.float32]:
    """Segment objects on a blue background by colour.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.

    Returns:
        float32, shape (height, width): opacity, 0 for background, 1 for objects, between for wings and edges.
    """
    blue, red = pixels[..., 0].astype(np.float32), pixels[..., 2].astype(np.float32)
    key = (blue - red) / (blue + red + 8)
    return np.clip((_KEY_BACKGROUND - key) / (_KEY_BACKGROUND - _KEY_BEE), 0, 1)


def has_blue_background(pixels: Image) -> bool:
    """Return True if at least a fifth of a photograph (uint8, BGR) is blue background."""
    return bool((blue_background_opacity(pixels) <= VISIBLE_OPACITY).mean() >= _MIN_BLUE)


def cut_out(pixels: Image, boxes: NDArray[np.float32], class_ids: NDArray[np.int64]) -> Iterator[Cutout]:
    """Cut out the isolated objects of a photograph.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        class_ids: int64, shape (n,).
    """
    on_blue = has_blue_background(pixels)
    for index in range(len(boxes)):
        segmented = segment_on_blue(pixels, boxes, index) if on_blue else _grabcut(pixels, boxes, index)
        if segmented is None:
            continue
        piece, opacity = segmented
        color = remove_blue_spill(piece) if on_blue else piece
        yield Cutout(np.dstack([color, (opacity * 255).astype(np.uint8)]), int(class_ids[index]))


def segment_on_blue(pixels: Image, boxes: NDArray[np.float32], index: int) -> tuple[Image, NDArray[np.float32]] | None:
    """Segment one object on a blue background, if it is isolated.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        index: index of the object's box.

    Returns:
        The pixels of the box, rounded down to whole pixels, and their opacity, 0 to 1; None if the object is not
        isolated or its segmentation fails.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = (int(value) for value in boxes[index])
    if left <= 1 or top <= 1 or right >= width - 1 or bottom >= height - 1:
        return None
    others = np.delete(boxes, index, axis=0)
    piece = pixels[top:bottom, left:right]
    opacity = blue_background_opacity(piece)
    # With its centre inside another box, the largest region may be the neighbour.
    center = np.array([(left + right) / 2, (top + bottom) / 2])
    if len(others) and _inside(center, others):
        return None
    body = _largest_region(opacity > 0.5)
    if body is None:
        return None
    near = cv2.dilate(body, np.ones((5, 5), np.uint8))
    opacity = np.asarray(cv2.GaussianBlur(opacity * near, (0, 0), 0.7), np.float32)
    rim = np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]])
    filled = float(body.mean())
    if rim.mean() > _MAX_RIM or not _MIN_FILLED <= filled <= _MAX_FILLED:
        return None
    return piece, opacity


def remove_blue_spill(piece: Image) -> Image:
    """Remove blue reflections of the background from an object's colours."""
    limit = np.maximum(piece[..., 1], piece[..., 2])[..., None]
    return np.concatenate([np.minimum(piece[..., :1], limit), piece[..., 1:]], axis=-1)


def _grabcut(pixels: Image, boxes: NDArray[np.float32], index: int) -> tuple[Image, NDArray[np.float32]] | None:
    """Segment one object with GrabCut; return None if that fails."""
    height, width = pixels.shape[:2]
    box = boxes[index]
    sides = box[2:] - box[:2]
    if sides.min() < _MIN_SIDE or box[:2].min() <= 1 or box[2] >= width - 1 or box[3] >= height - 1:
        return None
    others = np.delete(boxes, index, axis=0)
    if len(others) and intersection_areas(box, others).max() > _MAX_NEIGHBOUR_OVERLAP * float(np.prod(sides)):
        return None
    scale = min(1.0, _SCALED_SIDE / float(sides.max()))
    margin = _MARGIN * sides
    low = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
    high = np.minimum(np.ceil(box[2:] + margin), [width, height]).astype(int)
    piece = pixels[low[1] : high[1], low[0] : high[0]]
    if scale < 1:
        piece = np.asarray(cv2.resize(piece, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    start = [max(1, math.floor(v * scale)) for v in box[:2] - low]
    end = [math.ceil(v * scale) for v in box[2:] - low]
    mask = np.full(piece.shape[:2], cv2.GC_BGD, np.uint8)
    mask[start[1] : end[1], start[0] : end[0]] = cv2.GC_PR_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(piece.copy(), mask, (0, 0, 0, 0), *models, _GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # a piece of a single colour
        return None
    body = _largest_region(mask[start[1] : end[1], start[0] : end[0]] == cv2.GC_PR_FGD)
    if body is None:
        return None
    filled = float(body.mean())
    extent = body.any(1).mean(), body.any(0).mean()
    if min(extent) < _MIN_EXTENT or not _MIN_GRABCUT_FILLED <= filled <= _MAX_GRABCUT_FILLED:
        return None
    soft = max(0.6, 0.012 * max(body.shape))
    opacity = np.asarray(cv2.GaussianBlur(body.astype(np.float32), (0, 0), soft), np.float32)
    return np.ascontiguousarray(piece[start[1] : end[1], start[0] : end[0]]), opacity


def _largest_region(mask: NDArray[np.bool_]) -> NDArray[np.uint8] | None:
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if len(stats) == 1:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.asarray(regions == largest, np.uint8)


def _inside(point: NDArray[np.float64], boxes: NDArray[np.float32]) -> bool:
    return bool(np.any(np.all((boxes[:, :2] < point) & (point < boxes[:, 2:]), axis=1)))

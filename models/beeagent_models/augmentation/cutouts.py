"""Cuts objects out of photographs, to be pasted onto other backgrounds.

On a blue background, colour alone tells object and background apart. Elsewhere GrabCut does (Rother et al., "GrabCut",
2004), started from the box; what it finds is used only where its extent agrees with the box.
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
"""The opacity from which a pixel belongs to an object, for its box: half of a wing does."""

# (blue - red) / (blue + red): a blue board has 0.5 and more in any light, a bee less than 0.15, its wings between.
_KEY_BEE, _KEY_BACKGROUND = 0.18, 0.38
# A photograph with less blue than this has no blue background.
_LEAST_BLUE = 0.2
# A cut-out is used when no more than this of the rim of its box is object (the rest would be a neighbour), and
# when it fills this share of its box.
_RIM_OBJECT = 0.15
_FILLED = (0.18, 0.75)
# GrabCut: sides of boxes it is tried on, in pixels; the surroundings it sees, in box sides; the share of the box that
# its result has to span each way, and that it has to fill.
_SIDES = (18, 220)
_SURROUNDINGS = 0.35
_SPANNED = 0.85
_GRABCUT_FILLED = (0.25, 0.85)
_GRABCUT_ROUNDS = 4
# Of a box's area, at most this may be shared with a neighbour's box.
_SHARED_WITH_NEIGHBOUR = 0.08


@dataclass(frozen=True, slots=True)
class Cutout:
    """One object without its background.

    Attributes:
        pixels: uint8, shape (height, width, 4): BGR and opacity.
        class_id: of the object.
    """

    pixels: Image
    class_id: int


def blue_background_opacity(pixels: Image) -> NDArray[np.float32]:
    """Tell objects from a blue background.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.

    Returns:
        float32, shape (height, width): 0 on the background, 1 on objects, between in wings and at rims.
    """
    blue, red = pixels[..., 0].astype(np.float32), pixels[..., 2].astype(np.float32)
    key = (blue - red) / (blue + red + 8)
    return np.clip((_KEY_BACKGROUND - key) / (_KEY_BACKGROUND - _KEY_BEE), 0, 1)


def has_blue_background(pixels: Image) -> bool:
    """Return whether a fair part of a photograph (uint8, BGR) is a blue background."""
    return bool((blue_background_opacity(pixels) <= VISIBLE_OPACITY).mean() >= _LEAST_BLUE)


def cut_out(pixels: Image, boxes: NDArray[np.float32], class_ids: NDArray[np.int64]) -> Iterator[Cutout]:
    """Cut out the objects of a photograph that stand free on their background.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        class_ids: int64, shape (n,).
    """
    on_blue = has_blue_background(pixels)
    for index in range(len(boxes)):
        found = object_on_blue(pixels, boxes, index) if on_blue else _grabcut(pixels, boxes, index)
        if found is None:
            continue
        piece, opacity = found
        color = without_blue_spill(piece) if on_blue else piece
        yield Cutout(np.dstack([color, (opacity * 255).astype(np.uint8)]), int(class_ids[index]))


def object_on_blue(pixels: Image, boxes: NDArray[np.float32], index: int) -> tuple[Image, NDArray[np.float32]] | None:
    """Tell one object from a blue background, if it stands free on one.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        index: of the object's box.

    Returns:
        What is in the box, rounded down to whole pixels, and its opacity, 0 to 1; None where background and object
        cannot be told apart.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = (int(value) for value in boxes[index])
    if left <= 1 or top <= 1 or right >= width - 1 or bottom >= height - 1:
        return None
    others = np.delete(boxes, index, axis=0)
    piece = pixels[top:bottom, left:right]
    opacity = blue_background_opacity(piece)
    # What belongs to a neighbour is not this object's.
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
    if rim.mean() > _RIM_OBJECT or not _FILLED[0] <= filled <= _FILLED[1]:
        return None
    return piece, opacity


def without_blue_spill(piece: Image) -> Image:
    """Take the blue shine of the background out of an object's colours."""
    limit = np.maximum(piece[..., 1], piece[..., 2])[..., None]
    return np.concatenate([np.minimum(piece[..., :1], limit), piece[..., 1:]], axis=-1)


def _grabcut(pixels: Image, boxes: NDArray[np.float32], index: int) -> tuple[Image, NDArray[np.float32]] | None:
    """Tell one object from any background; None where that does not succeed."""
    height, width = pixels.shape[:2]
    box = boxes[index]
    sides = box[2:] - box[:2]
    if sides.min() < _SIDES[0] or box[:2].min() <= 1 or box[2] >= width - 1 or box[3] >= height - 1:
        return None
    others = np.delete(boxes, index, axis=0)
    if len(others) and intersection_areas(box, others).max() > _SHARED_WITH_NEIGHBOUR * float(np.prod(sides)):
        return None
    scale = min(1.0, _SIDES[1] / float(sides.max()))
    margin = _SURROUNDINGS * sides
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
        cv2.grabCut(piece.copy(), mask, (0, 0, 0, 0), *models, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # one colour only: there is nothing to tell apart
        return None
    body = _largest_region(mask[start[1] : end[1], start[0] : end[0]] == cv2.GC_PR_FGD)
    if body is None:
        return None
    filled = float(body.mean())
    spans = body.any(1).mean(), body.any(0).mean()
    if min(spans) < _SPANNED or not _GRABCUT_FILLED[0] <= filled <= _GRABCUT_FILLED[1]:
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

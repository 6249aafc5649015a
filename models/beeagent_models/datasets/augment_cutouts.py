"""Bees cut out of photographs with a blue ground, to be put on other grounds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent_models.datasets.augment_geometry import affine_matrix

Image = NDArray[np.uint8]

# (blue - red) / (blue + red): a blue board has 0.5 and more in any light, a bee less than 0.15, its wings between.
_KEY_BEE, _KEY_GROUND = 0.18, 0.38
# A cut-out is used when no more than this of the rim of its box is object (the rest would be a neighbour), and
# when it fills this share of its box.
_RIM_OBJECT = 0.15
_FILLED = (0.18, 0.75)
SEEN = 0.4
"""The opacity from which a pixel belongs to an object, for its box: half of a wing does."""
# Shares of pasted objects that come half out of a slit, and that sit in the shade of it.
_HIDDEN, _IN_SHADE = 0.18, 0.2


@dataclass(frozen=True, slots=True)
class Cutout:
    """One object without its ground.

    Attributes:
        pixels: uint8, shape (height, width, 4): BGR and opacity.
        class_id: what it is.
    """

    pixels: Image
    class_id: int


def ground_opacity(pixels: Image) -> NDArray[np.float32]:
    """Tell objects from a blue ground.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.

    Returns:
        float32, shape (height, width): 0 on the ground, 1 on objects, between in wings and at rims.
    """
    blue, red = pixels[..., 0].astype(np.float32), pixels[..., 2].astype(np.float32)
    key = (blue - red) / (blue + red + 8)
    return np.clip((_KEY_GROUND - key) / (_KEY_GROUND - _KEY_BEE), 0, 1)


def cut_out(pixels: Image, boxes: NDArray[np.float32], class_ids: NDArray[np.int64]) -> Iterator[Cutout]:
    """Cut the objects out of a photograph that stand free on a blue ground.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        class_ids: int64, shape (n,).
    """
    for index in range(len(boxes)):
        found = object_on_ground(pixels, boxes, index)
        if found is None:
            continue
        piece, opacity = found
        yield Cutout(_unspilled(piece, opacity), int(class_ids[index]))


def object_on_ground(pixels: Image, boxes: NDArray[np.float32], index: int) -> tuple[Image, NDArray[np.float32]] | None:
    """Tell one object from a blue ground, if it stands free on one.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        index: of the object's box.

    Returns:
        What is in the box, rounded down to whole pixels, and its opacity, 0 to 1; None where ground and object cannot
        be told apart.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = (int(value) for value in boxes[index])
    if left <= 1 or top <= 1 or right >= width - 1 or bottom >= height - 1:
        return None
    others = np.delete(boxes, index, axis=0)
    piece = pixels[top:bottom, left:right]
    opacity = ground_opacity(piece)
    # What belongs to a neighbour is not this object's.
    center = np.array([(left + right) / 2, (top + bottom) / 2])
    if len(others) and _inside(center, others):
        return None
    _, regions, stats, _ = cv2.connectedComponentsWithStats((opacity > 0.5).astype(np.uint8))
    if len(stats) == 1:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    body = (regions == largest).astype(np.uint8)
    near = cv2.dilate(body, np.ones((5, 5), np.uint8))
    opacity = np.asarray(cv2.GaussianBlur(opacity * near, (0, 0), 0.7), np.float32)
    rim = np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]])
    filled = float(body.mean())
    if rim.mean() > _RIM_OBJECT or not _FILLED[0] <= filled <= _FILLED[1]:
        return None
    return piece, opacity


def paste(
    rng: np.random.Generator, ground: Image, cutout: Image, *, center: tuple[float, float], size: float
) -> NDArray[np.float32] | None:
    """Put a cut-out on a picture, turned and lit at random, with a shadow below it; sometimes half hidden.

    Args:
        rng: decides turn, light and shadow.
        ground: uint8, shape (height, width, 3), BGR; is written to.
        cutout: uint8, shape (height, width, 4).
        center: x and y in pixels of the ground.
        size: root of the area of the cut-out's rectangle, in pixels of the ground.

    Returns:
        float32, shape (4,): left, top, right, bottom of what is opaque, reaching beyond the picture where it does;
        None if nothing is.
    """
    rows, columns = cutout.shape[:2]
    scale = size / math.sqrt(rows * columns)
    if scale < 0.5:
        factor = scale * 1.5
        shrunk = (max(2, round(columns * factor)), max(2, round(rows * factor)))
        cutout = np.asarray(cv2.resize(cutout, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
        rows, columns = cutout.shape[:2]
        scale = size / math.sqrt(rows * columns)
    stretch = math.exp(rng.normal(0, 0.07))
    side = math.ceil(scale * math.hypot(rows, columns) * 1.25) + 6
    matrix = affine_matrix(
        scale_x=scale * stretch,
        scale_y=scale / stretch,
        angle=rng.uniform(0, 2 * math.pi),
        mirror=bool(rng.random() < 0.5),
        source=((columns - 1) / 2, (rows - 1) / 2),
        target=((side - 1) / 2, (side - 1) / 2),
    )
    turned = np.asarray(cv2.warpAffine(cutout, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.15:
        turned = np.asarray(cv2.blur(turned, (1, int(rng.integers(2, 3 + side // 12)))), np.uint8)
    if rng.random() < _HIDDEN:
        _hide_part(rng, turned)
    opaque = turned[..., 3] > SEEN * 255
    if not opaque.any():
        return None
    left, top = round(center[0] - side / 2), round(center[1] - side / 2)
    xs, ys = np.flatnonzero(opaque.any(0)), np.flatnonzero(opaque.any(1))
    box = np.array([left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1], np.float32)
    light = -0.6 if rng.random() < _IN_SHADE else 0.15
    gain = np.exp(rng.normal(light, 0.22) + rng.normal(0, 0.06, 3)).astype(np.float32)
    color = np.clip(turned[..., :3] * gain + rng.normal(0, 8), 0, 255)
    opacity = turned[..., 3].astype(np.float32) / 255
    if rng.random() < 0.6:
        shade = cv2.GaussianBlur(opacity, (0, 0), max(0.5, size * rng.uniform(0.02, 0.12)))
        reach = size * rng.uniform(0, 0.15)
        angle = rng.uniform(0, 2 * math.pi)
        offset = (round(left + reach * math.cos(angle)), round(top + reach * math.sin(angle)))
        _blend(ground, np.zeros((side, side, 3), np.float32), shade * rng.uniform(0.15, 0.6), offset)
    _blend(ground, color, opacity, (left, top))
    return box


def _hide_part(rng: np.random.Generator, cutout: Image) -> None:
    """Make what lies on one side of a line through a cut-out transparent, half of it at most or thereabouts."""
    rows, columns = np.nonzero(cutout[..., 3] > SEEN * 255)
    if not len(rows):
        return
    angle = rng.uniform(0, 2 * math.pi)
    along = columns * math.cos(angle) + rows * math.sin(angle)
    limit = float(np.quantile(along, rng.uniform(0.45, 0.85)))
    every_row, every_column = np.mgrid[0 : cutout.shape[0], 0 : cutout.shape[1]]
    cutout[every_column * math.cos(angle) + every_row * math.sin(angle) > limit, 3] = 0


def _blend(
    ground: Image, color: NDArray[np.floating[Any]], opacity: NDArray[np.floating[Any]], corner: tuple[int, int]
) -> None:
    left, top = corner
    height, width = ground.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + opacity.shape[1], width), min(top + opacity.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    here = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    below = ground[y0:y1, x0:x1]
    weight = opacity[here][..., None]
    below[:] = (below + weight * (color[here] - below)).astype(np.uint8)


def _unspilled(piece: Image, opacity: NDArray[np.float32]) -> Image:
    """Take the blue shine of the ground out of an object, and append its opacity."""
    limit = np.maximum(piece[..., 1], piece[..., 2])
    blue = np.minimum(piece[..., 0], limit)
    return np.dstack([blue, piece[..., 1], piece[..., 2], (opacity * 255).astype(np.uint8)])


def _inside(point: NDArray[np.float64], boxes: NDArray[np.float32]) -> bool:
    return bool(np.any(np.all((boxes[:, :2] < point) & (point < boxes[:, 2:]), axis=1)))

"""Pastes cut-outs into images."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent_models.augmentation.cutouts import VISIBLE_OPACITY
from beeagent_models.augmentation.geometry import affine_matrix, warp

Image = NDArray[np.uint8]

# Boxes include legs and antennae, which are too thin for the cut-out's opacity.
_BOX_SCALE = 1.05
# Probabilities that a pasted object is partly hidden, as in a slit, and that it is in the shade.
_HIDDEN, _IN_SHADE = 0.18, 0.2


def paste(
    rng: np.random.Generator, background: Image, cutout: Image, *, center: tuple[float, float], size: float
) -> NDArray[np.float32] | None:
    """Paste a cut-out into an image with random rotation, light, shadow and occlusion.

    Args:
        rng: random generator.
        background: uint8, shape (height, width, 3), BGR; changed in place.
        cutout: uint8, shape (height, width, 4).
        center: x and y in pixels of the background.
        size: square root of the area of the cut-out's rectangle, in pixels of the background.

    Returns:
        float32, shape (4,): left, top, right, bottom of the opaque pixels, enlarged by 5 % and not clipped to the
        image; None if no pixel is opaque.
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
        source=(columns / 2, rows / 2),
        target=(side / 2, side / 2),
    )
    rotated = warp(cutout, matrix, width=side, height=side, fill=(0, 0, 0, 0))
    if rng.random() < 0.15:
        rotated = np.asarray(cv2.blur(rotated, (1, int(rng.integers(2, 3 + side // 12)))), np.uint8)
    if rng.random() < _HIDDEN:
        _hide_part(rng, rotated)
    opaque = rotated[..., 3] > VISIBLE_OPACITY * 255
    if not opaque.any():
        return None
    left, top = round(center[0] - side / 2), round(center[1] - side / 2)
    xs, ys = np.flatnonzero(opaque.any(0)), np.flatnonzero(opaque.any(1))
    corners = np.array([[left + xs[0], top + ys[0]], [left + xs[-1] + 1, top + ys[-1] + 1]], np.float32)
    middle = corners.mean(axis=0)
    box = np.asarray(middle + (corners - middle) * _BOX_SCALE, np.float32).reshape(4)
    light = -0.6 if rng.random() < _IN_SHADE else 0.15
    gain = np.exp(rng.normal(light, 0.22) + rng.normal(0, 0.06, 3)).astype(np.float32)
    color = np.clip(rotated[..., :3] * gain + rng.normal(0, 8), 0, 255)
    opacity = rotated[..., 3].astype(np.float32) / 255
    if rng.random() < 0.6:
        shade = cv2.GaussianBlur(opacity, (0, 0), max(0.5, size * rng.uniform(0.02, 0.12)))
        distance = size * rng.uniform(0, 0.15)
        angle = rng.uniform(0, 2 * math.pi)
        offset = (round(left + distance * math.cos(angle)), round(top + distance * math.sin(angle)))
        _blend(background, np.zeros((side, side, 3), np.float32), shade * rng.uniform(0.15, 0.6), offset)
    _blend(background, color, opacity, (left, top))
    return box


def _hide_part(rng: np.random.Generator, cutout: Image) -> None:
    """Make 15 to 55 % of a cut-out transparent, on one side of a line."""
    rows, columns = np.nonzero(cutout[..., 3] > VISIBLE_OPACITY * 255)
    if not len(rows):
        return
    angle = rng.uniform(0, 2 * math.pi)
    along = columns * math.cos(angle) + rows * math.sin(angle)
    limit = float(np.quantile(along, rng.uniform(0.45, 0.85)))
    every_row, every_column = np.mgrid[0 : cutout.shape[0], 0 : cutout.shape[1]]
    cutout[every_column * math.cos(angle) + every_row * math.sin(angle) > limit, 3] = 0


def _blend(
    background: Image, color: NDArray[np.floating[Any]], opacity: NDArray[np.floating[Any]], corner: tuple[int, int]
) -> None:
    left, top = corner
    height, width = background.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + opacity.shape[1], width), min(top + opacity.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    visible = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    below = background[y0:y1, x0:x1]
    weight = opacity[visible][..., None]
    below[:] = (below + weight * (color[visible] - below)).astype(np.uint8)

"""What an affine map and a cut do to images and boxes."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from beeagent.detection import box_areas
from numpy.typing import NDArray

# Of a box that is cut by the edge: with half of it in view it is still an object to find, with a tenth or less
# it is background, between the two nobody can say.
_VISIBLE_OBJECT = 0.5
_VISIBLE_NOTHING = 0.1


@dataclass(frozen=True, slots=True)
class Crop:
    """A piece of an image with what is labelled in it.

    Attributes:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels, within the crop.
        class_ids: int64, shape (n,).
        ignored: float32, shape (m, 4): regions that count neither as object nor as background.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    ignored: NDArray[np.float32]


def affine_matrix(  # noqa: PLR0913 - an affine map has six degrees of freedom
    *,
    scale_x: float,
    scale_y: float,
    angle: float,
    mirror: bool,
    source: tuple[float, float],
    target: tuple[float, float],
) -> NDArray[np.float64]:
    """Compose a map that scales, mirrors and rotates about `source` and moves that point to `target`.

    Args:
        scale_x: factor along x, before rotation.
        scale_y: factor along y, before rotation.
        angle: in radians, clockwise as y points down.
        mirror: whether left and right change places first.
        source: x and y in the image mapped from, counted in pixel edges as boxes are.
        target: x and y in the image mapped to, likewise.

    Returns:
        float64, shape (2, 3).
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    linear = rotation @ np.diag([-scale_x if mirror else scale_x, scale_y])
    shift = np.asarray(target) - linear @ np.asarray(source)
    return np.hstack([linear, shift[:, None]])


def transform_boxes(boxes: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Map boxes: the new one encloses the image of the ellipse that fills the old one.

    An animal fills an ellipse better than its box's corners: rotated by 45 degrees, the box of the corners would be
    41 % too wide. For quarter turns both are the same.

    Args:
        boxes: float32, shape (n, 4): left, top, right, bottom.
        matrix: float64, shape (2, 3).
    """
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    linear = matrix[:, :2]
    new_center = center @ linear.T + matrix[:, 2]
    new_half = np.sqrt((half**2) @ (linear**2).T)
    return np.concatenate([new_center - new_half, new_center + new_half], axis=1).astype(np.float32)


def scale_boxes(boxes: NDArray[np.float32], factor: float, *, width: int, height: int) -> NDArray[np.float32]:
    """Scale boxes about their centres, within the image.

    Args:
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.
        factor: for the sides.
        width: of the image.
        height: likewise.
    """
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    limits = np.array([width, height, width, height], np.float32)
    return np.asarray(np.clip(np.concatenate([center - half, center + half], axis=1), 0, limits), np.float32)


def cut_to_frame(  # noqa: PLR0913 - what is labelled, and the frame
    boxes: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    ignored: NDArray[np.float32],
    *,
    width: int,
    height: int,
    smallest: float,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Clip boxes to a frame; those that show too little, or are too small, become regions to ignore.

    Args:
        boxes: float32, shape (n, 4), in pixels.
        class_ids: int64, shape (n,).
        ignored: float32, shape (m, 4): clipped likewise.
        width: of the frame.
        height: of the frame.
        smallest: side in pixels (root of the area) below which an object need not be found.

    Returns:
        Boxes, class ids and ignored regions.
    """
    limits = np.array([width, height, width, height], np.float32)
    clipped = np.clip(boxes, 0, limits).astype(np.float32)
    area, whole = box_areas(clipped), box_areas(boxes)
    visible = area / np.maximum(whole, 1e-6)
    kept = (visible >= _VISIBLE_OBJECT) & (area >= smallest**2)
    unsure = ~kept & (visible > _VISIBLE_NOTHING)
    regions = np.clip(ignored, 0, limits).astype(np.float32)
    regions = np.concatenate([regions[box_areas(regions) > 0], clipped[unsure]])
    return clipped[kept], class_ids[kept], regions


def warp(
    pixels: NDArray[np.uint8], matrix: NDArray[np.float64], *, width: int, height: int, fill: tuple[float, ...]
) -> NDArray[np.uint8]:
    """Map an image; what lies outside of it becomes `fill`.

    OpenCV counts pixel centres as whole numbers where boxes count edges, so that the translation it needs differs by
    `L @ (0.5, 0.5) - 0.5`, L being the linear part. Without that, boxes are up to a pixel off after mirroring.

    Args:
        pixels: uint8, shape (height, width, channels).
        matrix: float64, shape (2, 3), as `transform_boxes` takes it.
        width: of the result.
        height: of the result.
        fill: a value for each channel.
    """
    centers = matrix.copy()
    centers[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(
        cv2.warpAffine(
            pixels, centers, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
        ),
        np.uint8,
    )

"""Ground-truth boxes of the bees in a drawn image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from beeagent.camera.synthetic.behaviour import Bee
from beeagent.camera.synthetic.scene import Scene
from beeagent.camera.synthetic.sprite import Box, Placed
from numpy.typing import NDArray

_MIN_VISIBLE = 0.25  # share of a stamp's pixels
_MIN_SIZE = 8  # longer side in pixels


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """A drawn image with its ground truth.

    Attributes:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels, inside the image, tight around the visible
            part of each bee's body and wings, without legs, antennae, shadow and motion blur.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def visible_boxes(shape: tuple[int, ...], placed: Sequence[Placed]) -> NDArray[np.float32]:
    """Return tight boxes of visible stamps: at least a quarter of a stamp is visible, and the box is 8 pixels long.

    Args:
        shape: height and width of the image.
        placed: stamps in the order of pasting.

    Returns:
        float32, shape (n, 4): left, top, right, bottom in pixels.
    """
    boxes = [box for box in _box_of_each(shape, placed) if box is not None]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def render_each(scene: Scene) -> tuple[NDArray[np.uint8], list[tuple[Bee, Box]]]:
    """Render a scene at its current time.

    Returns:
        The image, and each visible bee with its box.
    """
    image, placed = scene.draw()
    boxes = _box_of_each(image.shape[:2], placed)
    return image, [(bee, box) for bee, box in zip(scene.drawn_bees(), boxes, strict=True) if box is not None]


def _box_of_each(shape: tuple[int, ...], placed: Sequence[Placed]) -> list[Box | None]:
    """Return the box of each stamp, or None if it is hardly visible."""
    areas = [one.visible_part(_box(cv2.boundingRect(one.stamp.mask.view(np.uint8))), shape) for one in placed]
    boxes: list[Box | None] = []
    for index, one in enumerate(placed):
        above = [(two, common) for two, area in zip(placed[index + 1 :], areas[index + 1 :], strict=True)
                 if not _empty(common := _common(areas[index], area))]  # fmt: skip
        box, visible = _visible_part(one, areas[index], above)
        longer_side = max(box[2] - box[0], box[3] - box[1])
        shown = visible >= max(1, _MIN_VISIBLE * np.count_nonzero(one.stamp.mask)) and longer_side >= _MIN_SIZE
        boxes.append(box if shown else None)
    return boxes


def _visible_part(one: Placed, area: Box, above: list[tuple[Placed, Box]]) -> tuple[Box, int]:
    """Return box and number of pixels of the visible part of a stamp within an area."""
    if _empty(area):
        return area, 0
    visible = one.stamp.mask[one.inside(area)].copy()
    for other, common in above:
        rows = slice(common[1] - area[1], common[3] - area[1])
        inside = other.inside(common)
        # Transparent parts, such as wings, do not occlude.
        opaque = other.stamp.mask[inside] & (other.stamp.passing[inside] < 128)
        visible[rows, common[0] - area[0] : common[2] - area[0]] &= ~opaque
    x, y, width, height = cv2.boundingRect(visible.view(np.uint8))
    return _box((area[0] + x, area[1] + y, width, height)), int(np.count_nonzero(visible))


def _box(rectangle: Sequence[int]) -> Box:
    left, top, width, height = rectangle
    return left, top, left + width, top + height


def _common(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _empty(box: Box) -> bool:
    return box[0] >= box[2] or box[1] >= box[3]

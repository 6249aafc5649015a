"""Corrects the labels of photographs with a blue background: shrinks loose boxes, finds unlabelled objects."""

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent_models.augmentation.cutouts import VISIBLE_OPACITY, blue_background_opacity, segment_on_blue
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.image_files import load_image

# Minimum share of blue pixels in an image with a blue background.
_MIN_BLUE = 0.2
# Size of an unlabelled object relative to the median labelled one; larger regions are frames and walls.
_MIN_OBJECT_SIZE, _MAX_OBJECT_SIZE = 0.3, 3.0
_EDGE_DISTANCE = 1.5  # pixels; sides of boxes within this distance of the image's edge are not moved


def tighten_boxes(dataset: Dataset) -> Dataset:
    """Shrink the loose boxes of a dataset to their objects.

    A box whose object is isolated on a blue background becomes the object's extent. The other boxes are shrunk about
    their centres by the median ratio of those, except for sides at the edge of the image. A dataset without a blue
    background stays the same.

    Args:
        dataset: dataset with loose boxes, such as boxes derived from key points with a margin.

    Raises:
        InputError: an image cannot be decoded.
    """
    extents = [_extents(image) for image in dataset.images]
    ratios = [
        (extent[2:] - extent[:2]) / (box[2:] - box[:2])
        for image, image_extents in zip(dataset.images, extents, strict=True)
        for box, extent in zip(image.boxes, image_extents, strict=True)
        if extent is not None
    ]
    if not ratios:
        return dataset
    ratio = np.median(ratios, axis=0).astype(np.float32)
    images = tuple(
        dataclasses.replace(
            image,
            boxes=np.array(
                [
                    extent if extent is not None else _shrink(box, ratio, image)
                    for box, extent in zip(image.boxes, image_extents, strict=True)
                ],
                np.float32,
            ).reshape(-1, 4),
        )
        for image, image_extents in zip(dataset.images, extents, strict=True)
    )
    return dataclasses.replace(dataset, images=images)


def find_unlabelled(pixels: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Find objects on a blue background that are mostly outside all boxes.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.

    Returns:
        float32, shape (m, 4): their extents. None are found if the background is not blue, or without a box, from which
        the object size is known.
    """
    foreground = blue_background_opacity(pixels) > VISIBLE_OPACITY
    none = np.zeros((0, 4), np.float32)
    if not len(boxes) or foreground.mean() > 1 - _MIN_BLUE:
        return none
    corners = [tuple(int(value) for value in box) for box in boxes]
    sizes = [int(foreground[top:bottom, left:right].sum()) for left, top, right, bottom in corners]
    outside = foreground.astype(np.uint8)
    for left, top, right, bottom in corners:
        outside[top:bottom, left:right] = 0
    # Removes thin legs and antennae that extend beyond their box.
    outside = np.asarray(cv2.morphologyEx(outside, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(outside)
    typical = float(np.median(sizes))
    areas = stats[1:, cv2.CC_STAT_AREA]
    regions = stats[1:][(areas >= _MIN_OBJECT_SIZE * typical) & (areas <= _MAX_OBJECT_SIZE * typical)]
    if not len(regions):
        return none
    top_left = regions[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    bottom_right = top_left + regions[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    return np.concatenate([top_left, bottom_right], axis=1).astype(np.float32)


def _extents(image: LabelledImage) -> list[NDArray[np.float32] | None]:
    pixels = load_image(image)
    return [_extent(pixels, image.boxes, index) for index in range(len(image.boxes))]


def _extent(pixels: NDArray[np.uint8], boxes: NDArray[np.float32], index: int) -> NDArray[np.float32] | None:
    segmented = segment_on_blue(pixels, boxes, index)
    if segmented is None:
        return None
    visible = segmented[1] > VISIBLE_OPACITY
    xs, ys = np.flatnonzero(visible.any(0)), np.flatnonzero(visible.any(1))
    if not len(xs):
        return None
    left, top = (int(value) for value in boxes[index, :2])
    return np.array([left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1], np.float32)


def _shrink(box: NDArray[np.float32], ratio: NDArray[np.float32], image: LabelledImage) -> NDArray[np.float32]:
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * ratio
    low, high = center - half, center + half
    size = np.array([image.width, image.height], np.float32)
    low = np.where(box[:2] <= _EDGE_DISTANCE, box[:2], low)
    high = np.where(box[2:] >= size - _EDGE_DISTANCE, box[2:], high)
    return np.concatenate([low, high]).astype(np.float32)

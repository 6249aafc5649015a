"""What a blue background says about the labels of a photograph: how loose its boxes are, which objects have none."""

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent_models.augmentation.cutouts import VISIBLE_OPACITY, blue_background_opacity, object_on_blue
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.image_files import load_image

# An image with less blue than this has no blue background.
_LEAST_BLUE = 0.2
# What is left of the image outside of all boxes is an object from this share of the median object's pixels on, and
# up to that multiple: beyond are frames and walls.
_LEAST_OBJECT, _LARGEST_OBJECT = 0.3, 3.0
_AT_THE_EDGE = 1.5  # pixels from the image's edge: what is cut off there stays cut off there


def tightened(dataset: Dataset) -> Dataset:
    """Draw the boxes of a dataset in.

    A box whose object stands free on a blue background becomes the object's extent. The other boxes of the dataset are
    drawn in about their middle by the median of what those were, for they were made in the same way; where they end
    at the edge of the image, they still do. A dataset without a blue background stays as it is.

    Args:
        dataset: such as one whose boxes were derived from key points with a margin.

    Raises:
        InputError: an image cannot be decoded.
    """
    extents = [_extents(image) for image in dataset.images]
    ratios = [
        (extent[2:] - extent[:2]) / (box[2:] - box[:2])
        for image, found in zip(dataset.images, extents, strict=True)
        for box, extent in zip(image.boxes, found, strict=True)
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
                    extent if extent is not None else _drawn_in(box, ratio, image)
                    for box, extent in zip(image.boxes, found, strict=True)
                ],
                np.float32,
            ).reshape(-1, 4),
        )
        for image, found in zip(dataset.images, extents, strict=True)
    )
    return dataclasses.replace(dataset, images=images)


def without_box(pixels: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Find the objects on a blue background that lie outside of all boxes, for the most part.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        boxes: float32, shape (n, 4): left, top, right, bottom in pixels.

    Returns:
        float32, shape (m, 4): their extents, none where the background is not blue or there is no box to learn the size
        of an object from.
    """
    seen = blue_background_opacity(pixels) > VISIBLE_OPACITY
    none = np.zeros((0, 4), np.float32)
    if not len(boxes) or seen.mean() > 1 - _LEAST_BLUE:
        return none
    whole = [tuple(int(value) for value in box) for box in boxes]
    sizes = [int(seen[top:bottom, left:right].sum()) for left, top, right, bottom in whole]
    outside = seen.astype(np.uint8)
    for left, top, right, bottom in whole:
        outside[top:bottom, left:right] = 0
    # Legs and antennae that reach out of a box are thin.
    outside = np.asarray(cv2.morphologyEx(outside, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(outside)
    typical = float(np.median(sizes))
    areas = stats[1:, cv2.CC_STAT_AREA]
    found = stats[1:][(areas >= _LEAST_OBJECT * typical) & (areas <= _LARGEST_OBJECT * typical)]
    if not len(found):
        return none
    corner = found[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    return np.concatenate([corner, corner + found[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]], axis=1).astype(
        np.float32
    )


def _extents(image: LabelledImage) -> list[NDArray[np.float32] | None]:
    pixels = load_image(image)
    return [_extent(pixels, image.boxes, index) for index in range(len(image.boxes))]


def _extent(pixels: NDArray[np.uint8], boxes: NDArray[np.float32], index: int) -> NDArray[np.float32] | None:
    found = object_on_blue(pixels, boxes, index)
    if found is None:
        return None
    seen = found[1] > VISIBLE_OPACITY
    xs, ys = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
    if not len(xs):
        return None
    left, top = (int(value) for value in boxes[index, :2])
    return np.array([left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1], np.float32)


def _drawn_in(box: NDArray[np.float32], ratio: NDArray[np.float32], image: LabelledImage) -> NDArray[np.float32]:
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * ratio
    low, high = middle - half, middle + half
    size = np.array([image.width, image.height], np.float32)
    low = np.where(box[:2] <= _AT_THE_EDGE, box[:2], low)
    high = np.where(box[2:] >= size - _AT_THE_EDGE, box[2:], high)
    return np.concatenate([low, high]).astype(np.float32)

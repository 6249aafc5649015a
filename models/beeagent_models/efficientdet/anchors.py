"""Anchor boxes, and encoding and decoding of boxes relative to them."""

import math

import numpy as np
from numpy.typing import NDArray

from beeagent_models.efficientdet.config import EfficientDetConfig

# Limits exp() against overflow for outliers.
_MAX_LOG_RATIO = 10.0


def feature_shapes(config: EfficientDetConfig, height: int, width: int) -> list[tuple[int, int]]:
    """Return height and width of the feature map of each pyramid level, finest first.

    Each level has half the size of the previous one, rounded up, as with 'same' padding.
    """
    shapes = []
    for level in range(1, config.max_level + 1):
        height, width = math.ceil(height / 2), math.ceil(width / 2)
        if level >= config.min_level:
            shapes.append((height, width))
    return shapes


def anchor_boxes(config: EfficientDetConfig, height: int, width: int) -> NDArray[np.float32]:
    """Return the anchors for an input size, in the order of the network's outputs.

    Order: level (finest first), row, column, octave scale, aspect ratio. An anchor of level n has the area of a
    square of `anchor_scale * 2**n * 2**(octave / octave_scales)` pixels; the centres of a level are on a regular grid.

    Args:
        config: architecture, with levels, scales and aspect ratios.
        height: input height in pixels.
        width: input width in pixels.

    Returns:
        float32, shape (n, 4): y_center, x_center, height, width, as ratios of the input. Anchors at the edges
        extend beyond 0 to 1.
    """
    ratios = np.asarray(config.aspect_ratios, np.float64)
    octaves = 2.0 ** (np.arange(config.octave_scales) / config.octave_scales)
    levels = []
    shapes = feature_shapes(config, height, width)
    for level, (rows, columns) in zip(range(config.min_level, config.max_level + 1), shapes, strict=True):
        sides = config.anchor_scale * 2**level * octaves
        heights = (sides[:, None] / np.sqrt(ratios)[None]).ravel() / height
        widths = (sides[:, None] * np.sqrt(ratios)[None]).ravel() / width
        y_centers = (np.arange(rows) + 0.5) / rows
        x_centers = (np.arange(columns) + 0.5) / columns
        boxes = np.empty((rows, columns, config.anchors_per_cell, 4), np.float32)
        boxes[..., 0] = y_centers[:, None, None]
        boxes[..., 1] = x_centers[None, :, None]
        boxes[..., 2] = heights
        boxes[..., 3] = widths
        levels.append(boxes.reshape(-1, 4))
    return np.concatenate(levels)


def encode_boxes(boxes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encode boxes relative to anchors (Ren et al., "Faster R-CNN", 2015), without scale factors.

    Args:
        boxes: float, shape (..., 4): left, top, right, bottom, in the units of the anchors; width and height > 0.
        anchors: float, shape (..., 4): y_center, x_center, height, width.

    Returns:
        float32, shape (..., 4): ty, tx, th, tw.
    """
    size = np.maximum(np.stack([boxes[..., 3] - boxes[..., 1], boxes[..., 2] - boxes[..., 0]], axis=-1), 1e-8)
    center = np.stack([boxes[..., 1] + boxes[..., 3], boxes[..., 0] + boxes[..., 2]], axis=-1) / 2
    codes = np.concatenate([(center - anchors[..., :2]) / anchors[..., 2:], np.log(size / anchors[..., 2:])], axis=-1)
    return codes.astype(np.float32)


def decode_boxes(codes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decode box codes relative to anchors; the inverse of `encode_boxes`.

    Args:
        codes: float, shape (..., 4): ty, tx, th, tw.
        anchors: float, shape (..., 4): y_center, x_center, height, width.

    Returns:
        float32, shape (..., 4): left, top, right, bottom in the units of the anchors, not clipped.
    """
    center = codes[..., :2] * anchors[..., 2:] + anchors[..., :2]
    half = np.exp(np.minimum(codes[..., 2:], _MAX_LOG_RATIO)) * anchors[..., 2:] / 2
    top_left, bottom_right = center - half, center + half
    return np.concatenate([top_left[..., ::-1], bottom_right[..., ::-1]], axis=-1).astype(np.float32)

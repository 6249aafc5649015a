"""The smear that movement leaves while the shutter is open."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray


def motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """Give the blur of a straight movement over `length` pixels in the direction `angle`, in radians."""
    side = 2 * math.ceil(length / 2) + 3
    mask = np.zeros((side, side), dtype=np.uint8)
    half = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    path = ((np.stack([-half, half]) + side // 2) * 16).round().astype(np.int32)
    cv2.polylines(mask, [path], False, 255, 1, cv2.LINE_AA, 4)
    return np.asarray(mask / mask.sum(dtype=np.float64), dtype=np.float32)

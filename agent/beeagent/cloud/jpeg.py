"""Encodes frames as JPEG, as they are sent to the cloud model and collected."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.errors import BeeagentError

# Of `Image.Bytes`, before base64, in botocore's model of Rekognition (2016-06-27).
_REKOGNITION_MAX_BYTES: Final = 5_242_880

_MIN_QUALITY: Final = 40
_QUALITY_STEP: Final = 15
_SIDE_STEP: Final = 0.75


def encode_jpeg(
    pixels: NDArray[np.uint8], *, longest_side: int, quality: int, max_bytes: int = _REKOGNITION_MAX_BYTES
) -> bytes:
    """Encode an image as JPEG of at most `max_bytes`.

    If it is too large, its quality is reduced first, down to 40, and then its size.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        longest_side: in pixels; larger images are shrunk to it, smaller ones are not enlarged.
        quality: of the JPEG, 1 to 100.
        max_bytes: of the JPEG.

    Raises:
        BeeagentError: it cannot be encoded, not even as a single pixel within the limit.
    """
    side = min(longest_side, max(pixels.shape[:2]))
    while True:
        image = _shrink(pixels, side)
        for reduced in [quality, *range(quality - _QUALITY_STEP, _MIN_QUALITY - 1, -_QUALITY_STEP)]:
            encoded, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, reduced))
            if encoded and len(jpeg) <= max_bytes:
                return jpeg.tobytes()
        if side == 1 or not encoded:
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise BeeagentError(f"a frame of {size} cannot be encoded as a JPEG of {max_bytes} bytes")
        side = max(1, int(side * _SIDE_STEP))


def _shrink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

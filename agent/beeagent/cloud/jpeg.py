"""The form in which a frame is shown to the cloud model."""

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.errors import BeeagentError

# Of `Image.Bytes`, before base64, in botocore's model of Rekognition (2016-06-27).
API_LIMIT = 5_242_880

_LEAST_QUALITY = 40
_QUALITY_STEP = 15
_SIDE_STEP = 0.75


def jpeg_within(pixels: NDArray[np.uint8], *, longest_side: int, quality: int, limit: int = API_LIMIT) -> bytes:
    """Encode a frame as JPEG of at most `limit` bytes.

    A frame that comes out too large loses quality first, down to 40, and then size.

    Args:
        pixels: uint8, shape (height, width, 3), BGR.
        longest_side: in pixels; a larger frame is shrunk to it, a smaller one is left as it is.
        quality: of the JPEG, 1 to 100.
        limit: in bytes.

    Raises:
        BeeagentError: it cannot be encoded, not even at a single pixel within the limit.
    """
    side = min(longest_side, max(pixels.shape[:2]))
    while True:
        shown = _shrunk(pixels, side)
        for at in [quality, *range(quality - _QUALITY_STEP, _LEAST_QUALITY - 1, -_QUALITY_STEP)]:
            encoded, jpeg = cv2.imencode(".jpg", shown, (cv2.IMWRITE_JPEG_QUALITY, at))
            if encoded and len(jpeg) <= limit:
                return jpeg.tobytes()
        if side == 1 or not encoded:
            raise BeeagentError(f"a frame of {pixels.shape[1]}x{pixels.shape[0]} makes no JPEG of {limit} bytes")
        side = max(1, int(side * _SIDE_STEP))


def _shrunk(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

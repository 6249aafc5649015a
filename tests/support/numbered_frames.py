"""Images with a number in their pixels, by which a test identifies a frame."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_BLOCK = 16
_BITS = 10


def numbered_image(number: int, *, width: int = 160, height: int = 64) -> NDArray[np.uint8]:
    """Draw a number below 1024 as black and white blocks, which survive lossy compression."""
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for bit in range(_BITS):
        value = 255 if number >> bit & 1 else 0
        image[:_BLOCK, bit * _BLOCK : (bit + 1) * _BLOCK] = value
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """Read it back."""
    middles = image[_BLOCK // 2, _BLOCK // 2 : _BITS * _BLOCK : _BLOCK].mean(axis=1)
    return int(sum(1 << bit for bit, middle in enumerate(middles) if middle > 127))


def write_video(path: Path, count: int, *, codec: str = "mp4v", fps: float = 10.0) -> Path:
    """Write a video whose frames are numbered from 0."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (160, 64))
    assert writer.isOpened()
    for number in range(count):
        writer.write(numbered_image(number))
    writer.release()
    return path

"""A wrapper of cv2.VideoCapture that is silent and can be closed from another thread."""

import os
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from beeagent.camera.source import DeferredClose


def silence_opencv() -> None:
    """Prevent OpenCV and its FFmpeg from writing to standard error and standard output.

    Errors of this package report the same, and FFmpeg prints addresses with their passwords. OPENCV_LOG_LEVEL or
    OPENCV_FFMPEG_LOGLEVEL enables the output again. It affects the whole process; call it before the first
    VideoCapture, while no other thread reads the environment.
    """
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # The function is in cv2 in OpenCV 4, in a submodule in OpenCV 5. 0 is LOG_LEVEL_SILENT in both.
        set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_log_level(0)
    if "OPENCV_FFMPEG_DEBUG" not in os.environ:
        # Read by each VideoCapture that uses FFmpeg. -8 is FFmpeg's AV_LOG_QUIET.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class VideoReader:
    """A cv2.VideoCapture that may be closed from another thread at any time.

    Args:
        name: a path or address for the backend.
        backend: `cv2.CAP_V4L2` or `cv2.CAP_FFMPEG`.
        parameters: properties and their values, alternating, which are set while opening, as required for time-outs.
    """

    def __init__(self, name: str, backend: int, parameters: Sequence[int] = ()) -> None:
        self._capture = cv2.VideoCapture(name, backend, list(parameters))
        self._handle = DeferredClose(self._capture.release)

    @property
    def is_open(self) -> bool:
        """True if the device, file or connection is open."""
        with self._handle.use():
            return self._capture.isOpened()

    def get(self, prop: int) -> float:
        """Return one of the `cv2.CAP_PROP_` values; negative or 0 if it is unknown."""
        with self._handle.use():
            return float(self._capture.get(prop))

    def set(self, prop: int, value: float) -> bool:
        """Request one of the `cv2.CAP_PROP_` values; return False if the backend refuses it."""
        with self._handle.use():
            return bool(self._capture.set(prop, value))

    def grab(self) -> bool:
        """Wait for the next frame and keep it undecoded; return False if none arrived, or after `close`."""
        with self._handle.use():
            return not self._handle.closing and bool(self._capture.grab())

    def retrieve(self) -> NDArray[np.uint8] | None:
        """Decode the last grabbed frame.

        Returns:
            uint8, shape (height, width, 3), BGR, owned by the caller; None if it cannot be decoded.
        """
        with self._handle.use():
            if self._handle.closing:
                return None
            try:
                decoded, pixels = self._capture.retrieve()
            except cv2.error:  # raised by some backends for a damaged frame
                return None
        return as_bgr(pixels) if decoded and pixels.size else None

    def close(self) -> None:
        """Release the device, file or connection, now or as soon as no thread uses it."""
        self._handle.close()


def as_bgr(pixels: NDArray[np.generic]) -> NDArray[np.uint8] | None:
    """Convert an image to three channels.

    Args:
        pixels: uint8, shape (height, width) or (height, width, channels) with 1, 3 or 4 channels (grey, BGR, BGRA).

    Returns:
        uint8, shape (height, width, 3), BGR; None for anything else.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        return None
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    conversions = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
    bgr = np.asarray(pixels, dtype=np.uint8)
    if channels in conversions:
        return np.asarray(cv2.cvtColor(bgr, conversions[channels]), dtype=np.uint8)
    return bgr if channels == 3 else None

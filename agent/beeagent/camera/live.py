"""The common part of cameras and streams: requested format, frame numbers, and detection of frozen images."""

import logging
import math
import time
import zlib
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from beeagent.camera.opencv import VideoReader
from beeagent.camera.pacing import Clock
from beeagent.camera.source import BadFrameError, Frame, GrabbingSource, SourceLostError

_LOG = logging.getLogger(__name__)

_GRID = 64  # samples along the shorter side of an image
_REOPENED_TIMEOUT = 1.0
"""Seconds within which the image of a source reopened after a freeze must change: the first ones may be buffered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFormat:
    """Size and frame rate to request from a camera, which may deliver others.

    Attributes:
        width: width in pixels; None for the camera's default. Set it together with `height` or not at all.
        height: height in pixels, or None.
        fps: frames per second; None for the camera's default.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise ValueError("set both width and height, or neither")
        for name, value in (("width", self.width), ("height", self.height), ("fps", self.fps)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be above 0, not {value}")


def brightness(pixels: NDArray[np.uint8]) -> float:
    """Return the mean of all colour values of an image, 0 to 255, from a grid of samples.

    Args:
        pixels: uint8, shape (height, width, channels).
    """
    return float(_samples(pixels).mean())


def _samples(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = max(1, min(pixels.shape[:2]) // _GRID)
    return pixels[::step, ::step]


class FreezeDetector:
    """Detects a camera that repeats the same image.

    Two images of a working sensor are never identical, because of its noise; a driver or encoder that hangs repeats
    exactly the same image. Only a grid of samples is compared, about 64 along the shorter side: a hundredth of the
    image, but still tens of thousands of noisy values. A source without noise, such as a test image or an encoder that
    smooths strongly, may legitimately repeat images; so detection can be disabled completely or for dark images.

    All sources opened for one camera, one after the other, share one detector, so that a frozen camera does not count
    as working each time it is reopened.

    Args:
        freeze_timeout: seconds without any change after which the image counts as frozen, above 0.
        clock: clock for the time-out.
        dark: brightness up to which an image does not count as frozen, 0 to 255, since a camera may deliver black
            images in the dark; None for no exception.
    """

    def __init__(self, *, freeze_timeout: float, clock: Clock, dark: float | None = None) -> None:
        if not freeze_timeout > 0:
            raise ValueError(f"freeze_timeout must be above 0, not {freeze_timeout}")
        self.freeze_timeout = freeze_timeout
        self._clock = clock
        self._dark = dark
        self._fingerprint: tuple[tuple[int, ...], int] | None = None
        self._since = 0.0
        self._frozen = False

    @property
    def frozen(self) -> bool:
        """True if the image was frozen and has not changed since."""
        return self._frozen

    def begin(self) -> None:
        """Restart the time-out for a source that was just opened."""
        self._since = self._clock.now()

    def is_frozen(self, pixels: NDArray[np.uint8]) -> bool:
        """Check the next image; return True if it is frozen.

        Args:
            pixels: uint8, shape (height, width, channels).
        """
        fingerprint = (pixels.shape, zlib.crc32(_samples(pixels).tobytes()))
        now = self._clock.now()
        if fingerprint != self._fingerprint or (self._dark is not None and brightness(pixels) <= self._dark):
            self._fingerprint = fingerprint
            self._since = now
            self._frozen = False
            return False
        timeout = min(self.freeze_timeout, _REOPENED_TIMEOUT) if self._frozen else self.freeze_timeout
        if now - self._since < timeout:
            return False
        self._frozen = True
        return True


class LiveFrames:
    """Creates numbered frames from the images of a live source, and checks for frozen images.

    Args:
        description: description of the source, for errors.
        freeze: detector of frozen images; None to disable detection.
        wanted: format requested from the source; a warning is logged if the first frame has another size.
    """

    def __init__(self, description: str, freeze: FreezeDetector | None, *, wanted: CaptureFormat | None = None) -> None:
        self._description = description
        self._freeze = freeze
        self._wanted = wanted or CaptureFormat()
        self._next = 0

    def make(self, pixels: NDArray[np.uint8], *, captured_at: datetime, captured_ns: int) -> Frame:
        """Create the next frame; for the arguments, see `Frame`.

        Raises:
            SourceLostError: the image is frozen.
        """
        if self._freeze is not None and self._freeze.is_frozen(pixels):
            raise SourceLostError(
                f"{self._description}: the image has not changed for {self._freeze.freeze_timeout:g} s"
            )
        height, width = pixels.shape[:2]
        if self._next == 0 and self._wanted.width and (width, height) != (self._wanted.width, self._wanted.height):
            requested = f"{self._wanted.width}x{self._wanted.height}"
            _LOG.warning(
                "%s: frames are %dx%d, not %s as set by camera_size", self._description, width, height, requested
            )
        self._next += 1
        return Frame(pixels=pixels, captured_at=captured_at, captured_ns=captured_ns, index=self._next - 1)


class LiveReader(GrabbingSource):
    """The frames of a camera or stream that OpenCV has opened.

    Args:
        reader: an open reader; closed with this source.
        description: description of the source for logs and errors, without secrets.
        lost: error text if no frame arrives, such as `no frame came; the camera may be unplugged`.
        freeze: detector of frozen images; None to disable detection.
        wanted: format requested from the camera.
    """

    live = True

    def __init__(
        self,
        reader: VideoReader,
        *,
        description: str,
        lost: str,
        freeze: FreezeDetector | None,
        wanted: CaptureFormat | None = None,
    ) -> None:
        self.description = description
        self._reader = reader
        self._lost = lost
        self._frames = LiveFrames(description, freeze, wanted=wanted)
        self._captured_at = datetime.now(timezone.utc)
        self._captured_ns = 0

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        if not self._reader.grab():
            raise SourceLostError(f"{self.description}: {self._lost}")
        # Before decoding, which takes time.
        self._captured_ns = time.monotonic_ns()
        self._captured_at = datetime.now(timezone.utc)
        return True

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        pixels = self._reader.retrieve()
        if pixels is None:
            raise BadFrameError(f"{self.description}: a frame cannot be decoded")
        return self._frames.make(pixels, captured_at=self._captured_at, captured_ns=self._captured_ns)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._reader.close()

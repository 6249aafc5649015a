"""Frames from what OpenCV reads live: V4L2 cameras, and the part that network streams share with them."""

import time
from datetime import datetime, timezone

import cv2

from beeagent.camera.capture_format import CaptureFormat
from beeagent.camera.frame import Frame
from beeagent.camera.freeze import FreezeDetector
from beeagent.camera.live import LiveFrames
from beeagent.camera.opencv import VideoReader
from beeagent.camera.source import BadFrameError, SourceLostError
from beeagent.camera.v4l2 import CameraInfo

_BUFFERS = 2
"""One that is being read and one that the driver fills meanwhile. With one, the driver misses every frame that
comes while the last is decoded; more only make the wait longer when reading falls behind."""


class LiveReader:
    """The frames of something live that OpenCV has opened. A `GrabbingSource`.

    Args:
        reader: opened; closed with this source.
        description: for logs and errors, without secrets.
        lost: how an error says that no frame came, such as `no frame came; the camera may be unplugged`.
        freeze: what tells that the picture stands still, or None not to look.
        wanted: what the camera was asked for, if it was.
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
        # Stamped before it is decoded, which takes a while.
        self._captured_ns = time.monotonic_ns()
        self._captured_at = datetime.now(timezone.utc)
        return True

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        pixels = self._reader.retrieve()
        if pixels is None:
            raise BadFrameError(f"{self.description}: a frame cannot be decoded")
        return self._frames.make(pixels, captured_at=self._captured_at, captured_ns=self._captured_ns)

    def read(self) -> Frame | None:
        """See `FrameSource.read`."""
        return self.retrieve() if self.grab() else None

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._reader.close()


def open_v4l2(camera: CameraInfo, *, wanted: CaptureFormat, freeze: FreezeDetector | None) -> LiveReader:
    """Open a V4L2 camera.

    Motion JPEG is asked for, because over USB 2 only compressed frames come at full rate in larger sizes; a camera
    without it gives what it has.

    Args:
        camera: which, from `Cameras.by_path` or `find_cameras`.
        wanted: size and rate to ask for.
        freeze: what tells that the picture stands still, or None not to look.

    Raises:
        SourceLostError: it cannot be opened now, most often because another program has it.
    """
    description = str(camera)
    reader = VideoReader(str(camera.path), cv2.CAP_V4L2)
    if not reader.is_open:
        reader.close()
        raise SourceLostError(f"{description}: cannot be opened; another program may be using it")
    # The order matters: the size is settled for a pixel format, and the rate for a size.
    reader.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
    reader.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    if wanted.width and wanted.height:
        reader.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        reader.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
    if wanted.fps:
        reader.set(cv2.CAP_PROP_FPS, wanted.fps)
    lost = "no frame came; the camera may be unplugged"
    return LiveReader(reader, description=description, lost=lost, freeze=freeze, wanted=wanted)

"""Frames from a CSI camera of a Raspberry Pi, through picamera2.

The module follows picamera2's manual and sources. The tests run it with a fake module that checks colour order, shape
and cleanup; they do not run picamera2 itself, which needs the hardware.
"""

import importlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from beeagent.camera.live import CaptureFormat, FreezeDetector, LiveFrames
from beeagent.camera.opencv import as_bgr
from beeagent.camera.source import BadFrameError, DeferredClose, Frame, GrabbingSource, SourceLostError
from beeagent.errors import InputError

Picamera2Module = Any
"""The module picamera2, which has no type information. Used are `Picamera2.global_camera_info()`, and the methods
create_video_configuration, configure, start, capture_request, stop and close of a `Picamera2(number)`."""

# picamera2 names formats by the order of the bits in a little-endian word, like DRM: in memory, its "RGB888" has the
# order blue, green, red. So this is the BGR of OpenCV and `Frame`, and "BGR888" is not.
PIXEL_FORMAT = "RGB888"
_DEFAULT_SIZE = (1280, 720)
_MAX_AGE_NS = 10 * 10**9
"""Maximum age of an image; an older time stamp is of another clock."""


@dataclass(frozen=True, slots=True)
class CsiInfo:
    """A camera listed by libcamera.

    Attributes:
        number: number of the camera from 0, as in `csi:0`.
        model: model of the sensor, such as `imx708`.
    """

    number: int
    model: str

    def __str__(self) -> str:
        return f"csi:{self.number} ({self.model})" if self.model else f"csi:{self.number}"


def load_picamera2() -> Picamera2Module:
    """Import picamera2, which takes a second or two and exists on Raspberry Pi OS only.

    Raises:
        InputError: it is not installed or does not work.
    """
    try:
        return importlib.import_module("picamera2")
    except (ImportError, OSError, RuntimeError) as error:  # system libraries may be of other versions
        raise InputError(
            f"CSI cameras need picamera2, which cannot be imported ({error}); install it with "
            "`sudo apt install python3-picamera2`, and make beeagent's virtual environment with --system-site-packages"
        ) from error


def find_csi_cameras(*, module: Picamera2Module | None = None) -> list[CsiInfo]:
    """Return the CSI cameras; none if picamera2 is not installed.

    Args:
        module: picamera2, or a fake in a test; None to import it.
    """
    try:
        loaded = load_picamera2() if module is None else module
    except InputError:
        return []
    # libcamera lists USB cameras too; those are opened through their V4L2 nodes.
    return [
        CsiInfo(number=int(camera.get("Num", index)), model=str(camera.get("Model", "")))
        for index, camera in enumerate(loaded.Picamera2.global_camera_info())
        if "usb" not in str(camera.get("Id", "")).lower()
    ]


class CsiSource(GrabbingSource):
    """Frames of a CSI camera.

    Args:
        number: number of the camera.
        wanted: size and rate to request; 1280x720 at the camera's default rate by default.
        freeze: detector of frozen images; None to disable detection.
        module: picamera2, or a fake in a test; None to import it.

    Raises:
        InputError: picamera2 is missing, or there is no such camera.
        SourceLostError: the camera cannot be started, most often because another program uses it.
    """

    live = True

    def __init__(
        self,
        number: int,
        *,
        wanted: CaptureFormat,
        freeze: FreezeDetector | None,
        module: Picamera2Module | None = None,
    ) -> None:
        loaded = load_picamera2() if module is None else module
        cameras = find_csi_cameras(module=loaded)
        info = next((camera for camera in cameras if camera.number == number), None)
        if info is None:
            names = ", ".join(map(str, cameras)) or "none; check the ribbon cable"
            raise InputError(f"camera csi:{number}: there is no such camera; CSI cameras found: {names}")
        self.description = str(info)
        self._frames = LiveFrames(self.description, freeze, wanted=wanted)
        self._grabbed: Any = None  # a picamera2 CompletedRequest
        self._captured_at = datetime.now(timezone.utc)
        self._captured_ns = 0
        try:
            self._camera = loaded.Picamera2(number)
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceLostError(f"{self.description}: cannot be opened: {error}") from error
        self._handle = DeferredClose(self._release)
        try:
            self._start(wanted)
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise SourceLostError(f"{self.description}: cannot be started: {error}") from error

    def _start(self, wanted: CaptureFormat) -> None:
        controls = {}
        if wanted.fps:
            microseconds = round(1e6 / wanted.fps)
            controls["FrameDurationLimits"] = (microseconds, microseconds)
        configuration = self._camera.create_video_configuration(
            main={
                "size": (wanted.width or _DEFAULT_SIZE[0], wanted.height or _DEFAULT_SIZE[1]),
                "format": PIXEL_FORMAT,
            },
            controls=controls,
            # Do not queue an image for the next request: each image is captured after its request.
            queue=False,
        )
        self._camera.configure(configuration)
        self._camera.start()

    def grab(self) -> bool:
        """See `GrabbingSource.grab`."""
        with self._handle.use():
            self._release_grabbed()
            if self._handle.closing:
                raise SourceLostError(f"{self.description}: was closed")
            try:
                self._grabbed = self._camera.capture_request()
                metadata = self._grabbed.get_metadata()
            except (RuntimeError, OSError) as error:
                raise SourceLostError(f"{self.description}: delivers no more images: {error}") from error
        age = _age_ns(metadata)
        self._captured_ns = time.monotonic_ns() - age
        self._captured_at = datetime.now(timezone.utc) - timedelta(microseconds=age / 1000)
        return True

    def retrieve(self) -> Frame:
        """See `GrabbingSource.retrieve`."""
        with self._handle.use():
            if self._handle.closing:
                raise SourceLostError(f"{self.description}: was closed")
            if self._grabbed is None:
                raise RuntimeError("nothing was grabbed")
            try:
                array = self._grabbed.make_array("main")
            except (RuntimeError, ValueError, OSError) as error:
                raise BadFrameError(f"{self.description}: an image could not be read: {error}") from error
            finally:
                self._release_grabbed()
        pixels = as_bgr(array)
        if pixels is None:
            raise BadFrameError(f"{self.description}: delivered an image of shape {array.shape}, type {array.dtype}")
        return self._frames.make(pixels, captured_at=self._captured_at, captured_ns=self._captured_ns)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._handle.close()

    def _release_grabbed(self) -> None:
        if self._grabbed is not None:
            self._grabbed.release()
            self._grabbed = None

    def _release(self) -> None:
        self._release_grabbed()
        # An unplugged camera may refuse to stop, but must be closed.
        with suppress(RuntimeError, OSError):
            self._camera.stop()
        self._camera.close()


def _age_ns(metadata: Mapping[str, Any]) -> int:
    """Return the age of an image by its time stamp, which is CLOCK_BOOTTIME in nanoseconds at the start of capture."""
    stamp = metadata.get("SensorTimestamp")
    if not isinstance(stamp, int):
        return 0
    age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - stamp
    return age if 0 <= age < _MAX_AGE_NS else 0
